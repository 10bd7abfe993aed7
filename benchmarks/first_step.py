"""Seconds from `oneday train` to the first step on a mix of 200,000 rows: this checkout against an earlier one.

    python benchmarks/first_step.py --before ../checkout-of-an-earlier-commit [--rows 200000] [--rounds 3]

A row joins several questions and answers of one demo task, to 190 tokens in the mean, the length of a Natural
Instructions sample in the winner's mix. Each round runs the same command in both checkouts in turn: the demo's base,
the CPU recipe with three epochs like the recipes for a 7B base, and the rehearsal. Wall-clock seconds depend on the
load of the machine, so the CPU seconds of all processes up to the first step are reported too. Prints one JSON line
with the medians.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

from oneday.demo.demo import DEMO_BASE, RECIPE
from oneday.demo.tasks import DEMO_TASKS, draw_pairs

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS_PER_ROW = (1, 16)
"""Questions per row: the minimum, and one more than the maximum. Chosen for 190 tokens in the mean."""

POLL_INTERVAL_S = 0.05
TIMEOUT_S = 3_600.0


def write_mix(folder: Path, *, train: int, validation: int) -> Path:
    """Writes the synthetic training and validation rows."""
    rng = random.Random(7)
    pools = [(task, draw_pairs(task, rng, 120)) for task in DEMO_TASKS]
    folder.mkdir(parents=True)
    for name, num in (("train", train), ("validation", validation)):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for number in range(num):
                task, pool = pools[rng.randrange(len(pools))]
                pairs = rng.sample(pool, rng.randrange(*QUESTIONS_PER_ROW))
                row = {
                    "id": f"{name}-{number}", "source": task.name, "instruction": task.definition,
                    "input": "\n".join(given for given, _ in pairs), "output": "\n".join(answer for _, answer in pairs),
                }  # fmt: skip
                file.write(json.dumps(row) + "\n")
    return folder


def cpu_s(process: psutil.Process) -> float:
    """CPU time of a process, its living descendants, and those that have ended."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(one.cpu_times()[:4])
    return total


def end(process: subprocess.Popen[bytes]) -> None:
    """Asks the run to save and end, and kills every process that is left of it."""
    descendants: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        descendants = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=120)
    for one in descendants:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.kill()
    process.wait()


def measure(tree: Path, mix: Path, recipe: Path, run: Path) -> dict[str, float]:
    """Starts a run of one checkout and measures the time until its first step."""
    command = ["train", "--mix", mix, "--config", recipe, "--card", "cpu", "--base", DEMO_BASE, "--run", run]
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_WAIT_POLICY": "passive"}
    log = run.with_suffix(".log")
    batch_log = run / "07_train" / "batches.jsonl"
    rehearsal_done = run / "06_plan" / "done.json"
    measurements = {"load": os.getloadavg()[0]}
    with log.open("wb") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "oneday.cli", *map(str, command), "--budget", "2h"],
            cwd=tree, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        while not (batch_log.is_file() and batch_log.stat().st_size):
            if process.poll() is not None or time.monotonic() - started > TIMEOUT_S:
                raise SystemExit(f"{tree}: no first step.\n{log.read_text()[-2_000:]}")
            if rehearsal_done.is_file() and "rehearsed_s" not in measurements:
                measurements["rehearsed_s"] = time.monotonic() - started
            time.sleep(POLL_INTERVAL_S)
        measurements |= {"first_step_s": time.monotonic() - started, "cpu_s": cpu_s(psutil.Process(process.pid))}
    finally:
        end(process)
    return measurements


def main() -> None:
    """Runs the benchmark and prints its JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--before", type=Path, help="checkout of an earlier commit")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=3)
    arguments = parser.parse_args()
    trees = {"before": arguments.before, "now": ROOT} if arguments.before else {"now": ROOT}
    measurements: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        mix = write_mix(folder / "mix", train=arguments.rows, validation=200)
        recipe = folder / "recipe.yml"
        recipe.write_text(yaml.safe_dump({**yaml.safe_load(RECIPE.read_text()), "num_epochs": arguments.epochs}))
        for number in range(arguments.rounds):
            for name, tree in trees.items():
                run = folder / f"{name}-{number}"
                measurements[name].append(measure(tree.resolve(), mix, recipe, run))
                print(name, measurements[name][-1], file=sys.stderr)
    medians = {
        name: {key: round(statistics.median(r[key] for r in rounds), 1) for key in rounds[0]}
        for name, rounds in measurements.items()
    }
    line = {"rows": arguments.rows, "epochs": arguments.epochs, "rounds": arguments.rounds, **medians}
    if "before" in medians:
        line["ratio"] = {k: round(medians["now"][k] / medians["before"][k], 3) for k in ("first_step_s", "cpu_s")}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
