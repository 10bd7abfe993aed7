"""Regret and time of the timed picker against the evaluation of every checkpoint on every row.

    python benchmarks/timed_pick.py [--seeds 20] [--share 0.5] [--budget 90s] [--rows 1500]

Trains the demo's base on synthetic rows with the real Axolotl until 12 checkpoints exist, ignores their losses,
evaluates all of them on 1,500 validation rows (exhaustive), and then picks once per seed within `--share` of that time.
Both picks include loading the base and publishing. Prints one JSON line: the regret in nats against the exhaustive
choice, and the time ratio. The tiny model shows how the race works, but not how far apart the checkpoints of a 7B run
are.
"""

import argparse
import json
import random
import statistics
import tempfile
from pathlib import Path

from core.files import write_jsonl
from core.model.token_ids import RowIds
from core.run_folder import OUTPUT, TRAIN
from harness.budget.clock import uptime
from harness.budget.duration import seconds
from harness.budget.gpu_profile import get_gpu_profile
from harness.checkpoint.adapter import find_adapters
from harness.checkpoint.pick import BASE, Picked
from harness.checkpoint.race import Race
from harness.checkpoint.timed_pick import PickJob, timed_pick
from harness.data.dataset import read_dataset_rows
from harness.job import TrainJob
from harness.recipe import read_recipe
from oneday.commands.training.train import rehearse_and_train
from oneday.demo.demo import DEMO_BASE, RECIPE
from oneday.demo.tasks import DEMO_TASKS, draw_pairs
from oneday.display.console import Console

CHECKPOINTS = 12


def write_mix(folder: Path, *, train: int, validation: int) -> None:
    """Writes an equal number of rows of each demo task."""
    for name, number, seed in (("train", train, 1), ("validation", validation, 2)):
        rng = random.Random(seed)
        rows = [
            {"id": f"{task.name}-{n}", "instruction": task.definition, "input": query, "output": answer}
            for task in DEMO_TASKS
            for n, (query, answer) in enumerate(draw_pairs(task, rng, -(-number // len(DEMO_TASKS))))
        ]
        rng.shuffle(rows)
        write_jsonl(folder / f"{name}.jsonl", rows[:number])


def run_pick(folder: Path, output: Path, rows: list[RowIds], *, seed: int, until: float) -> tuple[Picked, float]:
    """Returns the pick and its time in seconds."""
    started = uptime()
    checkpoints, rejected = find_adapters(output)
    slices: list[tuple[int, int]] = []

    def record_slice(race: Race) -> None:
        slices.append((race.num_rows, len(race.active)))

    picked = timed_pick(
        PickJob(
            folder=folder, checkpoints=checkpoints, rejected=rejected, base=DEMO_BASE, precision="4bit", rows=rows,
            seed=seed, until=started + until,
        ),
        on_slice=record_slice,
    )  # fmt: skip
    return picked, uptime() - started


def main() -> None:
    """Runs the benchmark and prints its JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--budget", default="90s")
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--keep", type=Path, help="folder to work in; its checkpoints are used if they exist")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        write_mix(folder / "mix", train=1500, validation=60)
        write_mix(folder / "more", train=1, validation=arguments.rows)
        recipe = read_recipe(RECIPE).model_copy(
            update={"eval_steps": 455, "save_total_limit": CHECKPOINTS, "learning_rate": 0.001}
        )
        job = TrainJob(
            run=folder / "run", mix=folder / "mix", base=DEMO_BASE, recipe=recipe, card=get_gpu_profile("cpu"),
            budget_s=seconds(arguments.budget),
        )  # fmt: skip
        rehearse_and_train(job, Console())
        output = folder / "run" / TRAIN / OUTPUT
        rows = read_dataset_rows(folder / "more" / "validation.jsonl", DEMO_BASE)
        exhaustive, whole_s = run_pick(folder / "all", output, rows, seed=0, until=float("inf"))
        exact_losses = {c.checkpoint: c.validation_loss for c in exhaustive.candidates if c.checkpoint != BASE}
        regrets, ratios, dropped = [], [], []
        for seed in range(arguments.seeds):
            picked, took_s = run_pick(folder / "raced", output, rows, seed=seed, until=arguments.share * whole_s)
            regrets.append(exact_losses[picked.checkpoint] - min(exact_losses.values()))
            ratios.append(took_s / whole_s)
            dropped.append(sum("dropped" in c.verdict for c in picked.candidates))
    print(
        json.dumps(
            {
                "checkpoints": len(exact_losses),
                "rows": len(rows),
                "exhaustive_s": round(whole_s, 2),
                "losses": [round(loss, 4) for loss in sorted(exact_losses.values())],
                "seeds": arguments.seeds,
                "regret_nats": {"median": round(statistics.median(regrets), 5), "max": round(max(regrets), 5)},
                "within_0.005": sum(regret <= 0.005 for regret in regrets),
                "time_ratio": {"median": round(statistics.median(ratios), 3), "max": round(max(ratios), 3)},
                "dropped": {"median": statistics.median(dropped)},
            }
        )
    )


if __name__ == "__main__":
    main()
