"""Seconds from `oneday train` to the first step of a mix of 200,000 rows: this checkout against an earlier one.

    python benchmarks/first_step.py --before ../checkout-of-an-earlier-commit [--rows 200000] [--rounds 3]

A row joins some questions of one of the demo's tasks and their answers, 190 tokens in the mean, as a sample of Natural
Instructions has in the winner's mix. Each round gives the same command to both checkouts in turn: the demo's base, the
CPU recipe with three epochs, as the recipes for a 7B base have, and with the rehearsal. Wall-clock seconds depend on
what else runs on the machine, so the CPU seconds of all processes up to the first step are printed beside them.
Prints one JSON line with the medians.
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
QUESTIONS = (1, 16)
"""Of a row: at least, and less than. Chosen for 190 tokens in the mean."""

LOOK_EVERY_S = 0.05
PATIENCE_S = 3_600.0


def write_mix(folder: Path, *, train: int, validation: int) -> Path:
    """Makes the rows."""
    rng = random.Random(7)
    pools = [(task, draw_pairs(task, rng, 120)) for task in DEMO_TASKS]
    folder.mkdir(parents=True)
    for name, num in (("train", train), ("validation", validation)):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for number in range(num):
                task, pool = pools[rng.randrange(len(pools))]
                pairs = rng.sample(pool, rng.randrange(*QUESTIONS))
                row = {
                    "id": f"{name}-{number}", "source": task.name, "instruction": task.definition,
                    "input": "\n".join(given for given, _ in pairs), "output": "\n".join(answer for _, answer in pairs),
                }  # fmt: skip
                file.write(json.dumps(row) + "\n")
    return folder


def cpu_s(process: psutil.Process) -> float:
    """Of a process, its living descendants, and those that have ended."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(one.cpu_times()[:4])
    return total


def end(process: subprocess.Popen[bytes]) -> None:
    """The run saves and ends; whatever is left of it is killed."""
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
    """One start of one checkout."""
    command = ["train", "--mix", mix, "--config", recipe, "--card", "cpu", "--base", DEMO_BASE, "--run", run]
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_WAIT_POLICY": "passive"}
    log = run.with_suffix(".log")
    first = run / "07_train" / "batches.jsonl"
    rehearsed = run / "06_plan" / "done.json"
    found = {"load": os.getloadavg()[0]}
    with log.open("wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "oneday.cli", *map(str, command), "--budget", "2h"],
            cwd=tree, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        while not (first.is_file() and first.stat().st_size):
            if process.poll() is not None or time.monotonic() - began > PATIENCE_S:
                raise SystemExit(f"{tree}: no first step.\n{log.read_text()[-2_000:]}")
            if rehearsed.is_file() and "rehearsed_s" not in found:
                found["rehearsed_s"] = time.monotonic() - began
            time.sleep(LOOK_EVERY_S)
        found |= {"first_step_s": time.monotonic() - began, "cpu_s": cpu_s(psutil.Process(process.pid))}
    finally:
        end(process)
    return found


def main() -> None:
    """Prints the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--before", type=Path, help="A checkout of an earlier commit.")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=3)
    arguments = parser.parse_args()
    trees = {"before": arguments.before, "now": ROOT} if arguments.before else {"now": ROOT}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        mix = write_mix(folder / "mix", train=arguments.rows, validation=200)
        recipe = folder / "recipe.yml"
        recipe.write_text(yaml.safe_dump({**yaml.safe_load(RECIPE.read_text()), "num_epochs": arguments.epochs}))
        for number in range(arguments.rounds):
            for name, tree in trees.items():
                run = folder / f"{name}-{number}"
                found[name].append(measure(tree.resolve(), mix, recipe, run))
                print(name, found[name][-1], file=sys.stderr)
    medians = {
        name: {key: round(statistics.median(r[key] for r in rounds), 1) for key in rounds[0]}
        for name, rounds in found.items()
    }
    line = {"rows": arguments.rows, "epochs": arguments.epochs, "rounds": arguments.rounds, **medians}
    if "before" in medians:
        line["ratio"] = {k: round(medians["now"][k] / medians["before"][k], 3) for k in ("first_step_s", "cpu_s")}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
