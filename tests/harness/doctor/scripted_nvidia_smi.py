"""An nvidia-smi of the test's own: a program on PATH that prints what the real one prints to the same question."""

from collections.abc import Sequence
from pathlib import Path

import pytest

SCRIPT = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/asked"
{before}
device=""
if [ "$1" = "-i" ]; then device="$2"; fi
number=0
for line in {cards}; do
  if [ -z "$device" ] || [ "$device" = "$number" ] || [ "$device" = "GPU-$number" ]; then
    case "$*" in
      *query-gpu=name*) printf '%b\\n' "$line" ;;
      *query-gpu=uuid*) echo "GPU-$number, {mig}" ;;
    esac
    known=yes
  fi
  number=$((number + 1))
done
case "$*" in
  *query-compute-apps*) {apps} ;;
  -L) printf '%b' {listed} ;;
  *) if [ -z "$known" ]; then echo "No devices were found"; exit 6; fi ;;
esac
"""


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def install(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    gpu: str | Sequence[str] = "",
    apps: str = "true",
    before: str = "",
    mig: str = "[N/A]",
    listed: str = "",
    visible: str | None = None,
) -> Path:
    """Puts it on PATH, alone but for the system's programs.

    Args:
        gpu: Lines of the query for name, total and used memory, and driver; a card each.
        apps: Shell that prints the processes.
        before: Shell that runs first; it may exit.
        mig: What each card says of MIG.
        listed: What -L prints.
        visible: CUDA_VISIBLE_DEVICES.
    """
    cards = [gpu] if isinstance(gpu, str) else gpu
    path = folder / "nvidia-smi"
    text = SCRIPT.format(
        cards=" ".join(map(quoted, cards)), apps=apps, before=before, mig=mig, listed=quoted(listed)
    )  # fmt: skip
    path.write_text(text)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    return path
