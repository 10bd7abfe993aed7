"""Training speed of a small real model on a CPU: our plugin, plain Axolotl, and TRL's SFTTrainer with packing.

    python -m benchmarks.real.training --base smollm2-135m --tasks natural-instructions/tasks --state runs/speed
    python -m benchmarks.real.training --state runs/speed --report               # what stands by now

All train the LoRA of learning_rate.yml in fp32 on the same packed batches in the same order, at a constant rate. The
losses and gradient norms of all steps must agree, else this fails: nobody is fast by doing less. `oneday` and `axolotl`
pad a batch to 1,024 tokens, TRL does not. TRL runs with its own defaults for the loss, which computes logits of answer
tokens only, once without gradient checkpointing, as the others (`trl`), and once with it, its default
(`trl_checkpointing`).

They take turns, round after round, and the first one rotates. Seconds of CPU are counted besides the clock's, because
they depend less on other work; the first steps of a process are left out. The same command goes on after a kill. Prints
one JSON line.
"""

import argparse
import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.plain_axolotl import ROOT, documents, run
from benchmarks.real.learning_rate import RECIPE, SEQUENCE_LEN, write_random_mix
from benchmarks.real.result import print_result
from benchmarks.real.selection import State, Unit
from core.files import file_sha256, make_folder, read_json, write_json
from core.model.folder import model_fingerprint
from harness.axolotl_process import axolotl_environment
from harness.budget.clock import uptime
from harness.budget.gpu_profile import get_gpu_profile
from harness.data.pack import PackPlan

logger = logging.getLogger("training")

OURS, PEER = "oneday", "axolotl"
CONTENDERS = (OURS, PEER, "trl", "trl_checkpointing")
NUM_WARMUP_STEPS = 2
TOLERANCE = 2e-3
"""Largest relative difference of a loss or a gradient norm: sums of floats depend on the order."""
RECORDER = "benchmarks.plain_axolotl.RecorderPlugin"
DAY_S = 86_400.0


def units(state: State, base: Path, tasks: Path, steps: int, rounds: int, names: Sequence[str]) -> Iterator[Unit]:
    """A unit trains one contender once."""
    inputs = {"model": model_fingerprint(base), "recipe": file_sha256(RECIPE), "steps": steps}
    mix = state.data / "mix"
    tokens = 2 * (steps + 1) * SEQUENCE_LEN
    yield Unit(name="data", inputs=inputs, work=partial(write_random_mix, mix, tasks=tasks, base=base, tokens=tokens))
    for number in range(rounds):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            work = partial(_train, state, base, name, number, steps)
            yield Unit(name=f"{number}-{name}", inputs=inputs, work=work)


def _train(state: State, base: Path, name: str, number: int, steps: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copytree(state.data / "mix", folder / "mix")
        ours, plain = documents(folder, steps, base=base, recipe_path=RECIPE, sequence_len=SEQUENCE_LEN)
        log = folder / "log.json"
        if name == OURS:
            document = {**ours, "plugins": [*ours["plugins"], RECORDER], "oneday_deadline": uptime() + DAY_S}
            run(document, folder / "ours.yml", log)
        elif name == PEER:
            run(plain, folder / "plain.yml", log)
        else:
            _run_trl(ours, folder, steps, log, checkpointing=name == "trl_checkpointing")
        tokens = [sum(map(len, rows)) for rows in packed(ours, steps)]
        make_folder(state.folder / "steps")
        write_json(state.folder / "steps" / f"{number}-{name}.json", {**read_json(log), "tokens": tokens})


def packed(ours: Mapping[str, Any], steps: int) -> list[list[list[int]]]:
    """The rows of each step's batch, as token ids."""
    table = pq.read_table(ours["datasets"][0]["path"], columns=["input_ids"]).column("input_ids")
    batches = PackPlan.read(Path(ours["oneday_packs"])).micro_batches[:steps]
    return [[table[row].as_py() for rows in batch for row in rows] for batch in batches]


def _run_trl(ours: Mapping[str, Any], folder: Path, steps: int, log: Path, *, checkpointing: bool) -> None:
    keys = ("base_model", "lora_r", "lora_alpha", "learning_rate", "seed")
    settings = {
        **{key: ours[key] for key in keys}, "steps": steps, "sequence_len": SEQUENCE_LEN, "out": str(folder / "trl"),
        "table": ours["datasets"][0]["path"], "packs": ours["oneday_packs"], "checkpointing": checkpointing,
    }  # fmt: skip
    (folder / "trl.json").write_text(json.dumps(settings))
    environment = {**os.environ, **axolotl_environment(get_gpu_profile("cpu")), "PLAIN_LOG": str(log)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.real.training_trl", str(folder / "trl.json")],
        cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(done.stdout[-3_000:] + done.stderr[-3_000:])


def report(state: State) -> dict[str, object]:
    """Speeds, and how far losses and gradients differ from those of plain Axolotl.

    Raises:
        SystemExit: they differ by more than `TOLERANCE`.
    """
    found: dict[str, list[Mapping[str, Any]]] = {name: [] for name in CONTENDERS}
    for path in sorted((state.folder / "steps").glob("*.json")):
        found[path.stem.partition("-")[2]].append(read_json(path))
    able = {name: runs for name, runs in found.items() if runs}
    speeds = {name: statistics.median(tokens_per_s(r, "cpu_s") for r in runs) for name, runs in able.items()}
    result: dict[str, object] = {
        "rounds": {name: len(runs) for name, runs in able.items()},
        "tokens_per_cpu_s": {name: round(value, 1) for name, value in speeds.items()},
        "tokens_per_s": {
            name: round(statistics.median(tokens_per_s(r, "times") for r in runs), 1) for name, runs in able.items()
        },
    }
    if OURS in speeds:
        result["times"] = {name: round(speeds[OURS] / value, 3) for name, value in speeds.items()}
    if PEER in able:
        result["largest_relative_difference"] = {
            name: {key: largest_difference(runs[0][key], able[PEER][0][key], f"{name}: {key}") for key in _COMPARED}
            for name, runs in able.items()
        }
    return result


_COMPARED = ("losses", "grad_norms")


def tokens_per_s(recorded: Mapping[str, Sequence[float]], clock: str) -> float:
    """Tokens without padding of the steps behind the warm-up, over their time."""
    times = recorded[clock]
    return sum(recorded["tokens"][NUM_WARMUP_STEPS : len(times)]) / (times[-1] - times[NUM_WARMUP_STEPS - 1])


def largest_difference(ours: Sequence[float], theirs: Sequence[float], what: str) -> float:
    """The largest relative difference of two lists of numbers.

    Raises:
        SystemExit: It is above `TOLERANCE`, or there is nothing to compare.
    """
    if not ours or len(ours) != len(theirs) or min(theirs) <= 0:
        sys.exit(f"{what}: {len(ours)} and {len(theirs)} values of steps, not comparable")
    found = max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True))
    if found > TOLERANCE:
        sys.exit(f"{what}: differs by {found:.2e} of plain Axolotl's; they do not train the same")
    return float(f"{found:.2e}")


def main() -> None:
    """Trains what is missing, or reports."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--state", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--base", type=Path, help="folder of the model")
    parser.add_argument("--tasks", type=Path, help="folder of NI task files")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--report", action="store_true", help="print the results so far as one JSON line")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    state, steps = State(arguments.state), arguments.steps
    if not arguments.report:
        if arguments.base is None or arguments.tasks is None:
            parser.error("--base and --tasks are needed, except with --report")
        for unit in units(state, arguments.base, arguments.tasks, steps, arguments.rounds, arguments.contenders):
            state.run(unit)
    threads = os.environ.get("OMP_NUM_THREADS") or os.cpu_count()
    command = (
        f"OMP_NUM_THREADS={threads} python -m benchmarks.real.training --base BASE --tasks TASKS --state STATE "
        f"--steps {steps} --rounds {arguments.rounds}"
    )
    print_result(command, result=report(state))


if __name__ == "__main__":
    main()
