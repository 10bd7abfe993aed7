"""The timed picker against measuring every checkpoint on every row: what its choice costs, and what time it takes.

    python benchmarks/timed_pick.py [--seeds 20] [--share 0.5] [--budget 90s] [--rows 1500]

Trains the demo's base on made rows with the real Axolotl until 12 checkpoints are kept, forgets their losses, measures
all of them on 1,500 validation rows (exhaustive), then picks once per seed within `--share` of that time. Both load the
base and publish. Prints one JSON line: regret in nats against the exhaustive choice, and the time ratio. A tiny model:
this shows the race's mechanics; how far apart the checkpoints of a 7B run lie it does not.
"""

import argparse
import json
import random
import statistics
import tempfile
from pathlib import Path

from core.files import write_jsonl
from core.model.token_ids import RowIds
from core.run_folder import TRAIN
from harness.budget.clock import uptime
from harness.budget.duration import seconds
from harness.budget.gpu_profile import get_gpu_profile
from harness.checkpoint.adapter import find_adapters
from harness.checkpoint.pick import BASE, Picked
from harness.checkpoint.race import Race
from harness.checkpoint.timed_pick import PickJob, timed_pick
from harness.dataset import read_dataset_rows
from harness.job import TrainJob
from harness.recipe import read_recipe
from harness.supervise import OUTPUT
from oneday.commands.training.train import rehearse_and_train
from oneday.demo.demo import DEMO_BASE, RECIPE
from oneday.demo.tasks import DEMO_TASKS, draw_pairs
from oneday.display.console import Console

CHECKPOINTS = 12


def write_mix(folder: Path, *, train: int, validation: int) -> None:
    """Rows of all demo tasks, evenly."""
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
    """The pick and the seconds it took."""
    began = uptime()
    good, rejected = find_adapters(output)
    slices: list[tuple[int, int]] = []

    def note(race: Race) -> None:
        slices.append((race.num_rows, len(race.field)))

    picked = timed_pick(
        PickJob(
            folder=folder, checkpoints=good, rejected=rejected, base=DEMO_BASE, precision="4bit", rows=rows, seed=seed,
            until=began + until,
        ),
        on_slice=note,
    )  # fmt: skip
    return picked, uptime() - began


def main() -> None:
    """Prints the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--budget", default="90s")
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--keep", type=Path, help="Work here, and take the checkpoints that are there.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        write_mix(folder / "mix", train=1500, validation=60)
        write_mix(folder / "more", train=1, validation=arguments.rows)
        recipe = read_recipe(RECIPE).model_copy(
            update={"eval_steps": 45, "save_steps": 45, "save_total_limit": CHECKPOINTS, "learning_rate": 0.001}
        )
        job = TrainJob(
            run=folder / "run", mix=folder / "mix", base=DEMO_BASE, recipe=recipe, card=get_gpu_profile("cpu"),
            budget_s=seconds(arguments.budget),
        )  # fmt: skip
        rehearse_and_train(job, Console())
        output = folder / "run" / TRAIN / OUTPUT
        rows = read_dataset_rows(folder / "more" / "validation.jsonl", DEMO_BASE)
        exhaustive, whole_s = run_pick(folder / "all", output, rows, seed=0, until=float("inf"))
        exact = {c.checkpoint: c.validation_loss for c in exhaustive.candidates if c.checkpoint != BASE}
        regrets, ratios, dropped = [], [], []
        for seed in range(arguments.seeds):
            picked, took_s = run_pick(folder / "raced", output, rows, seed=seed, until=arguments.share * whole_s)
            regrets.append(exact[picked.checkpoint] - min(exact.values()))
            ratios.append(took_s / whole_s)
            dropped.append(sum("dropped" in c.verdict for c in picked.candidates))
    print(
        json.dumps(
            {
                "checkpoints": len(exact),
                "rows": len(rows),
                "exhaustive_s": round(whole_s, 2),
                "losses": [round(loss, 4) for loss in sorted(exact.values())],
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
