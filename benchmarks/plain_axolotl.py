"""Our plugin against plain Axolotl on the CPU: time per step, and equality of losses with the same order and scaling.

    python benchmarks/plain_axolotl.py [--steps 120] [--rounds 3]

Both train the demo's base with 4-bit QLoRA on the same 400 synthetic rows, in file order (Axolotl with
`curriculum_sampling` and sequential packing; ours with a pack plan in that order), at a constant learning rate, without
dropout and noise. Plain Axolotl runs with a plugin of this benchmark that seeds LoRA's random matrices as ours does,
and records the time and loss of each step. Prints one JSON line: median seconds per step (without the first ten) of
interleaved rounds, the ratio, and the largest difference of the losses.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from harness.axolotl_document import RunSettings, axolotl_document
from harness.axolotl_process import axolotl_environment
from harness.budget.clock import uptime
from harness.budget.gpu_profile import get_gpu_profile
from harness.budget.schedule import Segment, write_segment
from harness.data.dataset import prepare_dataset
from harness.data.pack import PackPlan, digest_of, pack_in_order
from harness.inside.batch_log import read_batches
from harness.inside.events import EventReader, Step
from harness.recipe import read_recipe
from oneday.demo.demo import DEMO_BASE, RECIPE

ROOT = Path(__file__).resolve().parents[1]
NUM_WARMUP_STEPS = 10

if os.environ.get("PLAIN_LOG"):
    from axolotl.integrations.base import BasePlugin
    from transformers import TrainerCallback, set_seed

    from core.model.libraries import disable_cpu_repack

    class StepRecorder(TrainerCallback):  # type: ignore[misc,unused-ignore]
        """Records the time, loss and gradient norm of each step."""

        def __init__(self) -> None:
            self.times: list[float] = []
            self.cpu_s: list[float] = []

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Records the time of the step."""
            self.times.append(time.monotonic())
            self.cpu_s.append(time.process_time())

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Writes what was recorded as JSON."""
            logged = [entry for entry in state.log_history if "loss" in entry]
            found = {"times": self.times, "cpu_s": self.cpu_s, "losses": [entry["loss"] for entry in logged]}
            found["grad_norms"] = [entry["grad_norm"] for entry in logged if "grad_norm" in entry]
            Path(os.environ["PLAIN_LOG"]).write_text(json.dumps(found))

    class RecorderPlugin(BasePlugin):  # type: ignore[misc,unused-ignore]
        """The minimum of changes that makes plain Axolotl comparable."""

        def post_model_build(self, cfg: Any, model: Any) -> None:
            """Disables the repacking of 4-bit weights, as our plugin does."""
            disable_cpu_repack(model)

        def pre_lora_load(self, cfg: Any, model: Any) -> None:
            """Seeds LoRA's initial weights, as our plugin does."""
            set_seed(cfg.seed)

        def add_callbacks_pre_trainer(self, cfg: Any, model: Any) -> list[Any]:
            """Adds the recording callback."""
            return [StepRecorder()]


def write_mix(folder: Path) -> None:
    import random

    from oneday.demo.tasks import DEMO_TASKS, draw_pairs

    folder.mkdir(parents=True)
    rng = random.Random(7)
    rows = [
        {"id": f"{task.name}-{n}", "instruction": task.definition, "input": given, "output": answer}
        for task in DEMO_TASKS[:10]
        for n, (given, answer) in enumerate(draw_pairs(task, rng, 120))
    ]
    rng.shuffle(rows)
    for name, part in (("train", rows[64:]), ("validation", rows[:64])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))


def plain_table(path: Path) -> Path:
    """Writes only the columns that Axolotl can pack; it would concatenate ids and sources as if they were tokens."""
    plain = path.with_stem(f"plain-{path.stem}")
    pq.write_table(pq.read_table(path, columns=["input_ids", "labels", "attention_mask"]), plain)
    return plain


def documents(
    folder: Path, steps: int, *, base: Path = DEMO_BASE, recipe_path: Path = RECIPE, sequence_len: int = 512
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the Axolotl configurations for our plugin and for plain Axolotl, on the rows of `folder / "mix"`."""
    never = 10 * steps
    recipe = read_recipe(recipe_path).model_copy(
        update={
            "lora_dropout": 0.0, "neftune_noise_alpha": None, "logging_steps": 1, "eval_steps": never,
            "save_steps": never, "warmup_steps": 0, "weight_decay": 0.0, "sequence_len": sequence_len,
        }
    )  # fmt: skip
    dataset = prepare_dataset(folder / "mix", base=base, sequence_len=sequence_len, out=folder / "data")
    lengths = dataset.lengths()
    batches = [
        b for b in pack_in_order(lengths, capacity=sequence_len, bins_per_batch=recipe.micro_batch_size)
        if len(b) == recipe.micro_batch_size
    ]  # fmt: skip
    packs = PackPlan(
        micro_batches=batches * (1 + steps // len(batches)),
        epoch_ends=(len(batches),),
        capacity=sequence_len,
        lengths_sha256=digest_of(lengths),
        efficiency=0.9,
    )
    packs.write(folder / "packs.jsonl")
    write_segment(folder / "plan.jsonl", Segment(step=0, progress=0.0, horizon=10**12, reason="constant"))
    settings = RunSettings(
        base_model=base, train_file=dataset.train.path, validation_file=dataset.validation.path,
        output_dir=folder / "ours", events=folder / "events.jsonl",
        plan=folder / "plan.jsonl", packs=folder / "packs.jsonl", batches=folder / "batches.jsonl", num_steps=steps,
        deadline=uptime() + 3_600, follow_plan=True,
    )  # fmt: skip
    ours = axolotl_document(recipe, settings, get_gpu_profile("cpu"))
    plain = {key: value for key, value in ours.items() if not key.startswith("oneday_")}
    plain |= {
        "plugins": ["benchmarks.plain_axolotl.RecorderPlugin"], "output_dir": str(folder / "plain"),
        "lr_scheduler": "constant", "curriculum_sampling": True, "sample_packing_sequentially": True,
        "num_epochs": 1_000, "save_strategy": "no", "dataset_prepared_path": str(folder / "prepared"),
    }  # fmt: skip
    plain.pop("save_steps")
    for key, table in (("datasets", dataset.train), ("test_datasets", dataset.validation)):
        plain[key] = [{**plain[key][0], "path": str(plain_table(table.path))}]
    return ours, plain


def run(document: dict[str, Any], path: Path, log: Path) -> None:
    path.write_text(yaml.safe_dump(document))
    environment = axolotl_environment(get_gpu_profile("cpu"))
    done = subprocess.run(
        [sys.executable, "-m", "axolotl.cli.train", str(path)],
        cwd=ROOT,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT), "PLAIN_LOG": str(log)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(done.stdout[-3_000:] + done.stderr[-3_000:])


def median_step_s(times: list[float]) -> float:
    """Median seconds between two steps, without the warm-up steps (the first step evaluates and saves)."""
    return statistics.median(b - a for a, b in itertools.pairwise(times[NUM_WARMUP_STEPS:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    step_s: dict[str, list[float]] = {"ours": [], "plain": []}
    differences = []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            write_mix(folder / "mix")
            ours, plain = documents(folder, arguments.steps)
            run(plain, folder / "plain.yml", folder / "plain.json")
            run(ours, folder / "ours.yml", folder / "unused.json")
            recorded = json.loads((folder / "plain.json").read_text())
            events = EventReader(folder / "events.jsonl", from_start=True).read()
            times = [event.up for event in events if isinstance(event, Step)]
            logged = [step.loss for step in read_batches(folder / "batches.jsonl").values()]
            step_s["ours"].append(median_step_s(times))
            step_s["plain"].append(median_step_s(recorded["times"]))
            differences.append(max(abs(a - b) for a, b in zip(recorded["losses"], logged, strict=False)))
            num_compared = min(len(recorded["losses"]), len(logged))
    medians = {name: statistics.median(values) for name, values in step_s.items()}
    print(
        json.dumps(
            {
                "steps": arguments.steps,
                "rounds": arguments.rounds,
                "tokens_per_step": 1_024,
                "median_step_s": {name: round(value, 5) for name, value in medians.items()},
                "ratio": round(medians["ours"] / medians["plain"], 4),
                "extra_ms_per_step": round(1_000 * (medians["ours"] - medians["plain"]), 3),
                "losses_compared": num_compared,
                "largest_difference": max(differences),
            }
        )
    )


if __name__ == "__main__":
    main()
