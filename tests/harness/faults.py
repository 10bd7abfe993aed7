"""Faults: kills a run at a chosen moment, or breaks something under it, then runs the same command again.

    python -m tests.harness.faults [--real] [--only TEXT]      # make faults

After each fault the run must end inside its budget, on the batches of its pack plan, with a whole checkpoint picked.
Most use a torch-free child that speaks the plugin's protocol; `--real` adds five with the real Axolotl. A table at the
end; exit code 1 if anything failed.
"""

import argparse
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.files import read_json
from harness.checkpoint.seal import Checkpoint, checkpoint_folders, inspect
from harness.data.pack import PackPlan
from harness.ledger.ledger import Ledger

ROOT = Path(__file__).parents[2]
LEAST_BUDGET_S = 14.0
STARTS = 8
"""A fault's budget holds so many starts of a supervisor: on a slow machine a start takes seconds."""
REAL_STARTS = 5
FAKE = {
    "FAKE_STEPS": "45", "FAKE_STEP_S": "0.05", "FAKE_SAVE": "every:8", "FAKE_EVAL_S": "0.1", "FAKE_SAVE_S": "0.2",
}  # fmt: skip

Lines = list[dict[str, Any]]
When = Callable[[Path], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to a run."""

    name: str
    when: When | None = None
    """Looked at until true; then everything is killed -9. None: nothing is killed."""
    number: signal.Signals = signal.SIGKILL
    breaks: Callable[[Path], None] = lambda run: None
    """Done to the run folder between the two commands."""
    given: dict[str, Any] = field(default_factory=dict)
    fake: dict[str, str] = field(default_factory=dict)
    because: tuple[str, ...] = ("epochs", "deadline", "killed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of it."""

    fault: str
    problems: list[str]
    charged_s: float = 0.0
    budget_s: float = 0.0
    resumes: int = 0
    steps: int = 0
    picked: str = ""


def events(run: Path) -> Lines:
    return lines(run / "07_train" / "metrics.jsonl")


def lines(path: Path) -> Lines:
    found = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def at_step(step: int) -> When:
    return lambda run: any(e["event"] == "step" and e["step"] >= step for e in events(run))


def in_phase(phase: str, nth: int, after_s: float = 0.0) -> When:
    """In the n-th evaluation or save."""

    def true(run: Path) -> bool:
        found = [e for e in events(run) if e["event"] == "phase" and e["phase"] == phase]
        if len(found) < nth:
            return False
        time.sleep(after_s)
        return True

    return true


def in_ledger(phase: str, after_s: float = 0.0) -> When:
    def true(run: Path) -> bool:
        if not any(r.get("phase") == phase for r in lines(run / "ledger.jsonl")):
            return False
        time.sleep(after_s)
        return True

    return true


def damage(name: str, how: str) -> Callable[[Path], None]:
    """Of the newest checkpoint."""

    def do(run: Path) -> None:
        path = checkpoint_folders(run / "07_train" / "output")[-1] / name
        content = path.read_bytes()
        if how == "truncated":
            path.write_bytes(content[: len(content) // 2])
        elif how == "flipped":
            path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        else:
            path.unlink()

    return do


def faults(*, real: dict[str, Any] | None = None) -> Iterator[Fault]:
    """All of them.

    Args:
        real: What the rehearsal of the real Axolotl measured; None: without its five.
    """
    for n, after in enumerate((0.0, 0.02, 0.05, 0.1, 0.3)):
        yield Fault(name=f"prepare {n + 1}", when=in_ledger("pack" if n < 3 else "load", after))
    for step in (2, 7, 8, 19, 41):
        yield Fault(name=f"train, step {step}", when=at_step(step))
    for nth, after in ((1, 0.0), (2, 0.03), (3, 0.05), (4, 0.08), (5, 0.01)):
        yield Fault(name=f"evaluate {nth}", when=in_phase("evaluate", nth, after))
    for nth, after in ((1, 0.0), (2, 0.1), (3, 0.14), (4, 0.18), (2, 0.05)):
        yield Fault(name=f"save {nth} after {after} s", when=in_phase("save", nth, after))
    for after in (0.0, 0.1, 0.2, 0.3, 0.39):
        yield Fault(name=f"pick after {after} s", when=in_ledger("pick", after), given={"pick_s": 0.4})
    yield Fault(name="SIGTERM", when=at_step(10), number=signal.SIGTERM)
    yield Fault(name="SIGHUP", when=at_step(10), number=signal.SIGHUP)
    for name, how in (
        ("adapter_model.safetensors", "truncated"), ("optimizer.pt", "flipped"), ("trainer_state.json", "missing"),
        ("SEAL.json", "truncated"),
    ):  # fmt: skip
        yield Fault(name=f"{name} {how}", when=at_step(20), breaks=damage(name, how))
    yield Fault(name="disk full at step 16", fake={"FAKE_FULL_AT": "16"})
    yield Fault(name="clock an hour forward", given={"jump_s": 3_600.0})
    yield Fault(name="clock an hour back", given={"jump_s": -3_600.0})
    yield Fault(name="clock back, then killed", given={"jump_s": -3_600.0}, when=at_step(30))
    yield Fault(name="loss is not a number", fake={"FAKE_NAN_AT": "20"}, because=("not_finite",))
    yield Fault(name="the trainer hangs", fake={"FAKE_HANG_AT": "12"}, given={"silence_s": 1.5})
    # The deadline ends it, and not the watchdog: a slow machine's budget is long enough to find it silent three times.
    yield Fault(
        name="deaf at the end",
        fake={"FAKE_END": "hang", "FAKE_STEPS": "20"},
        given={"silence_s": 3_600.0},
        because=("killed", "deadline"),
    )
    if real:
        given = {"real": real, "start_s": start_s()}
        yield Fault(name="real Axolotl: prepare", when=in_ledger("load", real["load_s"] / 3), given=given)
        yield Fault(name="real Axolotl: step 7", when=at_step(7), given=given)
        yield Fault(name="real Axolotl: step 12", when=at_step(12), given=given)
        yield Fault(name="real Axolotl: evaluate 2", when=in_phase("evaluate", 2), given=given)
        yield Fault(name="real Axolotl: save 2", when=in_phase("save", 2), given=given)


def start_s() -> float:
    """Seconds that a supervisor takes here and now until it can begin: its imports. Other work comes and goes."""
    began = time.monotonic()
    imports = "import harness.run, harness.data.dataset, transformers, tokenizers; transformers.AutoTokenizer"
    subprocess.run([sys.executable, "-c", imports], cwd=ROOT, check=True, capture_output=True)
    return time.monotonic() - began


def rehearsed(folder: Path, mix: Path, base: Path) -> dict[str, Any]:
    """What the real Axolotl costs on this machine now."""
    from harness.budget.rehearse import rehearse
    from tests.harness.test_run import make_job

    return asdict(rehearse(make_job(folder, mix, base, budget_s=3_600.0)))


def inflict(fault: Fault, folder: Path, mix: Path, base: Path) -> Outcome:
    """The run, its fault, the same command again, and what is wrong with the result."""
    run = folder / "run"
    now_s = start_s()
    if real := fault.given.get("real"):
        slower = max(1.0, now_s / fault.given["start_s"])  # than at its rehearsal
        budget_s = REAL_STARTS * real["load_s"] * slower + 15.0
    else:
        budget_s = max(LEAST_BUDGET_S, STARTS * now_s)
    given = {"mix": str(mix), "base": str(base), "run": str(run), "budget_s": budget_s, **fault.given}
    if fault.when is not None:
        first = _start(given, fault.fake)
        killed = _strike(first, fault, run)
        if not killed:
            return Outcome(fault=fault.name, problems=["the run ended before the fault"])
        fault.breaks(run)
    done = _start(given, fault.fake)
    output, error = done.communicate()
    if done.returncode != 0:
        return Outcome(fault=fault.name, problems=[f"exit code {done.returncode}: {error.strip()[-300:]}"])
    return _judge(fault, run, json.loads(output.splitlines()[-1]))


def _start(given: dict[str, Any], fake: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.harness.supervised", json.dumps(given)],
        cwd=ROOT,
        env={**os.environ, **FAKE, **fake},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _strike(process: "subprocess.Popen[str]", fault: Fault, run: Path) -> bool:
    """Waits for the moment. A kill takes supervisor and trainer together, as a power cut would."""
    assert fault.when is not None
    while not fault.when(run):
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    process.send_signal(fault.number)
    if fault.number is signal.SIGKILL:
        for pid in {e["pid"] for e in events(run)}:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
    process.communicate()
    time.sleep(0.3)  # a trainer that gave no sign yet ends with its supervisor, but not in the same instant
    return process.returncode in (-signal.SIGKILL, 3)


def _judge(fault: Fault, run: Path, said: dict[str, Any]) -> Outcome:
    problems = []
    report = Ledger.of_run(run / "ledger.jsonl").report()
    if report.overshoot_s > 0:
        problems.append(f"over the budget by {report.overshoot_s} s")
    if said["because"] not in fault.because:
        problems.append(f"ended because of {said['because']}")
    picked = inspect(run / "07_train" / "output" / said["picked"])
    if not isinstance(picked, Checkpoint):
        problems.append(f"picked {said['picked']}: {picked}")
    for name, candidate in ((c["checkpoint"], c) for c in read_json(run / "08_pick" / "picked.json")["candidates"]):
        if (
            name != "base"
            and isinstance(picked, Checkpoint)
            and candidate["validation_loss"] < (picked.validation_loss or 0)
        ):
            problems.append(f"{name} is better than what was picked")
    if not (run / "08_pick" / "adapter" / "adapter_model.safetensors").is_file():
        problems.append("no adapter was published")
    problems += _wrong_batches(run, real=bool(fault.given.get("real")))
    return Outcome(
        fault=fault.name,
        problems=problems,
        charged_s=report.charged_s,
        budget_s=report.budget_s,
        resumes=report.resumes,
        steps=said["steps"],
        picked=said["picked"],
    )


def _wrong_batches(run: Path, *, real: bool) -> list[str]:
    """Every step must be there, and its last occurrence must have trained on what the plan says."""
    logged = {record["step"]: record["batch"] for record in lines(run / "07_train" / "batches.jsonl")}
    if sorted(logged) != list(range(1, max(logged) + 1)):
        return ["steps are missing"]
    if real:  # the hash is of tokens: equal steps must have equal hashes in all attempts
        all_of = {(r["step"], r["batch"]) for r in lines(run / "07_train" / "batches.jsonl")}
        return [] if len(all_of) == len(logged) else ["a resumed step trained on another batch"]
    packs = PackPlan.read(run / "07_train" / "packs.jsonl")
    wrong = [
        step
        for step, batch in logged.items()
        if hashlib.sha256(json.dumps(packs.micro_batches[step - 1]).encode()).hexdigest()[:16] != batch
    ]
    return [f"wrong batches at steps {wrong[:5]}"] if wrong else []


def main() -> int:
    from rich.console import Console
    from rich.table import Table

    from tests.conftest import DEMO_BASE, write_small_mix

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--times", type=int, default=1, help="how often each fault is inflicted")
    arguments = parser.parse_args()
    table = Table("fault", "result", "charged s", "of", "resumes", "steps", "picked")
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        mix = write_small_mix(Path(folder) / "mix")
        real = rehearsed(Path(folder) / "rehearsal", mix, DEMO_BASE) if arguments.real else None
        chosen = [f for f in faults(real=real) if arguments.only in f.name for _ in range(arguments.times)]
        for number, fault in enumerate(chosen):
            outcome = inflict(fault, Path(folder) / str(number), mix, DEMO_BASE)
            bad += bool(outcome.problems)
            result = "; ".join(outcome.problems) or "recovered"
            print(f"{fault.name}: {result}", file=sys.stderr, flush=True)
            table.add_row(
                fault.name, result, f"{outcome.charged_s:.1f}", f"{outcome.budget_s:g}", str(outcome.resumes),
                str(outcome.steps), outcome.picked,
            )  # fmt: skip
    Console(width=150).print(table)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
