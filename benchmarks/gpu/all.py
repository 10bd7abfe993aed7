"""Runs the parts one after the other, each in a process of its own, the most valuable first: called by `all.sh`.

A part that fails, or takes too long, ends itself alone: all that it started is killed, and the next one begins. A part
is left out when less time is left than it needs at least. Parts write their own lines; here one is added for each, how
it ended. Nothing but the standard library is imported, so that nothing can keep this script from its end.
"""

import argparse
import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.lines import Lines, find_card
from benchmarks.gpu.processes import descendants

ROOT = Path(__file__).resolve().parents[2]
KILLED_AFTER_S = 10.0
"""A part should end by itself at its limit; it is killed so much later."""

TINY_TIMES = 4
"""So much longer may a part take on a CPU."""

FREE_WITHIN_S = 15.0
"""For a card's memory to be free after a part was killed."""

OCCUPIED_GIB = 2.0
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A process to run. Seconds are an H100's, by estimate."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    tiny: tuple[str, ...] = ()
    """Further arguments of the rehearsal on a CPU."""
    least_s: float
    """Not begun with less."""
    most_s: float


PARTS = (
    Part(name="base", module="base", least_s=20, most_s=75),
    Part(name="rehearsal", module="rehearsal", arguments=("--cards", "rtx4090"), least_s=40, most_s=110),
    Part(name="levers", module="levers", least_s=40, most_s=110, tiny=("--rounds", "2")),
    Part(name="training", module="training", least_s=140, most_s=180),
    Part(name="lora", module="lora", least_s=25, most_s=60),
    Part(name="serving", module="serving", least_s=50, most_s=90),
    Part(name="selection", module="selection", least_s=1, most_s=60),
    Part(name="a100", module="rehearsal", arguments=("--cards", "a100-40gb"), least_s=60, most_s=110),
    Part(
        name="winner", module="rehearsal", arguments=("--cards", "rtx4090", "--settings", "winner"), least_s=60,
        most_s=110,
    ),
    Part(
        name="compiled", module="levers", arguments=("--only", "ours_packed_once", "ours_compiled", "--no-grid"),
        least_s=60, most_s=180, tiny=("--rounds", "1"),
    ),
)  # fmt: skip
"""The last three if time is left. That the A100's recipe fits follows from the first rehearsal, for it is the 4090's;
how much more would fit, `levers` measures too."""


def main() -> int:
    """Runs them; 0 if every part that was asked for ended well or was left out for want of time."""
    options = _arguments().parse_args()
    end = time.monotonic() + options.seconds - max(0.0, time.time() - (options.started or time.time()))
    _adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what was started is ended first
    work = Path(tempfile.mkdtemp(prefix="oneday-gpu-", dir=options.scratch))
    out = options.out or (work if options.tiny else ROOT / "benchmarks" / "results" / "gpu")
    out.mkdir(parents=True, exist_ok=True)
    bases = options.bases or (work if options.tiny else _roomiest(work))
    lines = Lines(path=out / "lines.jsonl", part="all")
    lines.write(
        began_with=sys.argv[1:], installed_s=time.time() - options.started if options.started else None,
        bases_on=str(bases), free_gib={str(p): shutil.disk_usage(p).free / 2**30 for p in {work, bases}},
        cores=os.cpu_count(),
    )  # fmt: skip
    shared = ["--work", str(work), "--bases", str(bases), "--lines", str(lines.path)]
    shared += ["--tiny"] if options.tiny else []
    tokenizer = options.kit / "tokenizer.model" if options.kit else None
    shared += ["--tokenizer", str(tokenizer)] if tokenizer and tokenizer.is_file() else []
    ended = []
    try:
        for part in PARTS:
            if part.name in options.parts:
                ended.append(run(part, shared, end=end, lines=lines.path, log=out / "log.txt", tiny=options.tiny))
    finally:
        kill_all()
        if out != work:
            shutil.rmtree(work, ignore_errors=True)
        if options.bases is None and bases != out:
            shutil.rmtree(bases, ignore_errors=True)
        if out.is_dir():
            lines.write(ended=ended, left_s=end - time.monotonic())
            print(shown(lines.path))
    return 0 if all(how in ("well", "left out") for how in ended) else 1


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=480.0, help="for everything, the installation included")
    parser.add_argument("--out", type=Path, help="results; default: benchmarks/results/gpu, with --tiny the scratch")
    parser.add_argument("--parts", nargs="+", choices=[p.name for p in PARTS], default=[p.name for p in PARTS])
    parser.add_argument("--scratch", type=Path, help="default: the system's folder for temporary files")
    parser.add_argument("--bases", type=Path, help="for random bases, 17 GB; default: memory if it has room")
    parser.add_argument("--kit", type=Path, help="folder with the tokenizer")
    parser.add_argument("--started", type=float, help="when the caller began, in seconds since 1970")
    parser.add_argument("--tiny", action="store_true", help="everything tiny on the CPU: whether it works")
    return parser


def run(part: Part, shared: Sequence[str], *, end: float, lines: Path, log: Path, tiny: bool) -> str:
    """One part: `well`, `failed`, `too long` or `left out`."""
    left_s = end - time.monotonic()
    command = [sys.executable, "-m", f"benchmarks.gpu.{part.module}", "--part", part.name, *shared, *part.arguments]
    command += part.tiny if tiny else ()
    ends = Lines(path=lines, part=part.name, command=["python", *command[1:]])
    least_s = 1.0 if tiny else part.least_s
    if left_s < least_s:
        ends.write(ended="left out", why=f"{left_s:.0f} s are left, it needs {least_s:.0f}")
        return "left out"
    most_s = part.most_s * (TINY_TIMES if tiny else 1)
    limit_s = max(1.0, min(most_s, left_s - KILLED_AFTER_S))
    command += ["--seconds", f"{limit_s:.0f}"]
    environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": ""} if tiny else {})}
    begun = time.monotonic()
    with log.open("ab") as words:
        words.write(f"\n===== {part.name}: {' '.join(command[1:])}\n".encode())
        words.flush()
        started_at = words.tell()
        child = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=words, stderr=subprocess.STDOUT
        )
    how, exit_code = "failed", None
    try:
        exit_code = child.wait(timeout=min(limit_s + KILLED_AFTER_S, left_s))
        how = "well" if exit_code == 0 else "failed"
    except subprocess.TimeoutExpired:
        how = "too long"
    kill_all()
    ends.write(
        ended=how, seconds=time.monotonic() - begun, limit_s=limit_s, exit_code=exit_code,
        last_words=None if how == "well" else last_words(log, started_at), card_free=card_is_free(tiny=tiny),
    )  # fmt: skip
    return how


def shown(path: Path) -> str:
    """The figures alone, for whoever sees no more than what is printed."""
    told = []
    for text in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            line = json.loads(text)
            told.append(json.dumps({k: v for k, v in line.items() if k not in ("command", "versions", "date", "card")}))
    return "\n".join(told)


def last_words(log: Path, start: int) -> str:
    """The end of what a part printed."""
    with log.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace").strip()[-800:]


def card_is_free(*, tiny: bool) -> bool | None:
    """Waits until what was killed has given its memory back; None without a card."""
    until = time.monotonic() + (0 if tiny else FREE_WITHIN_S)
    while True:
        card = find_card()
        if card is None:
            return None
        if card.used_gib < OCCUPIED_GIB:
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.3)


def _roomiest(work: Path) -> Path:
    """A folder in memory, where there is enough of it: a base is read several times."""
    memory = Path("/dev/shm")  # noqa: S108
    try:
        available = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvail")]
        gib = int(available[0].split()[1]) / 2**20
        if gib > 60 and shutil.disk_usage(memory).free > 24 * 2**30:
            return Path(tempfile.mkdtemp(prefix="oneday-gpu-", dir=memory))
    except (OSError, IndexError, ValueError):
        pass
    return work


def _adopt_orphans() -> None:
    """What a part leaves behind becomes our child, whatever session it is in, and can be found and ended."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def kill_all() -> None:
    """Ends every descendant of this process, at once; a trainer that is asked would save first."""
    for _ in range(50):
        found = descendants(os.getpid())
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.1)


if __name__ == "__main__":
    raise SystemExit(main())
