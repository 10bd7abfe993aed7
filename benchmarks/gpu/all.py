"""Runs the GPU benchmarks one after the other, each in a process of its own, the most valuable first.

`all.sh` calls this script. If a part fails or takes too long, all processes that it started are killed and the next
part begins. A part is left out if less time is left than its minimum. Parts write their own lines; this script adds a
line for each part that says how it ended. It imports only the standard library, so that no broken package can stop it.
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
KILL_GRACE_S = 10.0
"""Grace period after a part's time limit before it is killed."""

TINY_TIME_FACTOR = 4
"""Factor of the time limits with `--tiny`, on a CPU."""

GPU_FREE_TIMEOUT_S = 15.0
"""Time to wait until a GPU's memory is free after a part was killed."""

OCCUPIED_GIB = 2.0
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A benchmark that runs in a process of its own. Its seconds are estimates for an H100."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    tiny: tuple[str, ...] = ()
    """Additional arguments with `--tiny`."""
    min_s: float
    """The part is left out if less time is left."""
    max_s: float


PARTS = (
    Part(name="base", module="base", min_s=20, max_s=75),
    Part(name="rehearsal", module="rehearsal", arguments=("--cards", "rtx4090"), min_s=40, max_s=110),
    Part(name="levers", module="levers", min_s=40, max_s=110, tiny=("--rounds", "2")),
    Part(name="training", module="training", min_s=140, max_s=180),
    Part(name="lora", module="lora", min_s=25, max_s=60),
    Part(name="serving", module="serving", min_s=50, max_s=90),
    Part(name="selection", module="selection", min_s=1, max_s=60),
    Part(name="a100", module="rehearsal", arguments=("--cards", "a100-40gb"), min_s=60, max_s=110),
    Part(
        name="winner", module="rehearsal", arguments=("--cards", "rtx4090", "--settings", "winner"), min_s=60,
        max_s=110,
    ),
    Part(
        name="compiled", module="levers", arguments=("--only", "ours_packed_once", "ours_compiled", "--no-grid"),
        min_s=60, max_s=180, tiny=("--rounds", "1"),
    ),
)  # fmt: skip
"""In the order of value. The A100's recipe is the 4090's, so the first rehearsal already shows that it fits."""


def main() -> int:
    """Runs the selected parts; returns 0 if each of them succeeded or was left out for lack of time."""
    options = _arguments().parse_args()
    end = time.monotonic() + options.seconds - max(0.0, time.time() - (options.started or time.time()))
    _adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # `finally` below ends the children
    work = Path(tempfile.mkdtemp(prefix="oneday-gpu-", dir=options.scratch))
    out = options.out or (work if options.tiny else ROOT / "benchmarks" / "results" / "gpu")
    out.mkdir(parents=True, exist_ok=True)
    bases = options.bases or (work if options.tiny else _folder_for_bases(work))
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
            print(figures_of(lines.path))
    return 0 if all(ending in ("well", "left out") for ending in ended) else 1


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=480.0, help="time for everything, including the installation")
    parser.add_argument("--out", type=Path, help="folder for results; default: benchmarks/results/gpu, or temporary")
    parser.add_argument("--parts", nargs="+", choices=[p.name for p in PARTS], default=[p.name for p in PARTS])
    parser.add_argument("--scratch", type=Path, help="parent of the temporary folder; default: the system's")
    parser.add_argument("--bases", type=Path, help="folder for random bases, 17 GB; default: /dev/shm if it has room")
    parser.add_argument("--kit", type=Path, help="folder with the tokenizer")
    parser.add_argument("--started", type=float, help="start of the caller, in seconds since 1970")
    parser.add_argument("--tiny", action="store_true", help="test the scripts with tiny models on the CPU")
    return parser


def run(part: Part, shared: Sequence[str], *, end: float, lines: Path, log: Path, tiny: bool) -> str:
    """Runs one part and returns how it ended: `well`, `failed`, `too long` or `left out`."""
    left_s = end - time.monotonic()
    command = [sys.executable, "-m", f"benchmarks.gpu.{part.module}", "--part", part.name, *shared, *part.arguments]
    command += part.tiny if tiny else ()
    part_lines = Lines(path=lines, part=part.name, command=["python", *command[1:]])
    min_s = 1.0 if tiny else part.min_s
    if left_s < min_s:
        part_lines.write(ended="left out", why=f"{left_s:.0f} s are left, the part needs {min_s:.0f}")
        return "left out"
    max_s = part.max_s * (TINY_TIME_FACTOR if tiny else 1)
    limit_s = max(1.0, min(max_s, left_s - KILL_GRACE_S))
    command += ["--seconds", f"{limit_s:.0f}"]
    environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": ""} if tiny else {})}
    started = time.monotonic()
    with log.open("ab") as log_file:
        log_file.write(f"\n===== {part.name}: {' '.join(command[1:])}\n".encode())
        log_file.flush()
        started_at = log_file.tell()
        child = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log_file, stderr=subprocess.STDOUT
        )
    ending, exit_code = "failed", None
    try:
        exit_code = child.wait(timeout=min(limit_s + KILL_GRACE_S, left_s))
        ending = "well" if exit_code == 0 else "failed"
    except subprocess.TimeoutExpired:
        ending = "too long"
    kill_all()
    part_lines.write(
        ended=ending, seconds=time.monotonic() - started, limit_s=limit_s, exit_code=exit_code,
        last_words=None if ending == "well" else output_tail(log, started_at), card_free=card_is_free(tiny=tiny),
    )  # fmt: skip
    return ending


def figures_of(path: Path) -> str:
    """Returns the figures of all lines without command, versions, date and card, for printing."""
    shown = []
    for text in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            line = json.loads(text)
            figures = {k: v for k, v in line.items() if k not in ("command", "versions", "date", "card")}
            shown.append(json.dumps(figures))
    return "\n".join(shown)


def output_tail(log: Path, start: int) -> str:
    """Returns the end of a part's output."""
    with log.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace").strip()[-800:]


def card_is_free(*, tiny: bool) -> bool | None:
    """Waits until killed processes have released the GPU's memory; returns None without a GPU."""
    until = time.monotonic() + (0 if tiny else GPU_FREE_TIMEOUT_S)
    while True:
        card = find_card()
        if card is None:
            return None
        if card.used_gib < OCCUPIED_GIB:
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.3)


def _folder_for_bases(work: Path) -> Path:
    """Returns a folder in /dev/shm if it has enough room, because a base is read several times; otherwise `work`."""
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
    """Makes this process the parent of orphaned descendants in any session, so that `kill_all` finds them."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def kill_all() -> None:
    """Kills every descendant of this process. SIGKILL is used because a trainer saves on SIGTERM first."""
    for _ in range(50):
        pids = descendants(os.getpid())
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.1)


if __name__ == "__main__":
    raise SystemExit(main())
