"""The setting that the GPU benchmarks share: options, a random base, rows with the lengths of the mix, and a result
file.

The weights are random, because speed and memory do not depend on them; the losses mean nothing. `--tiny` uses 2 layers
of width 128 to test the scripts on a CPU; its figures mean nothing either.
"""

import argparse
import functools
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.base import SHAPES, write_base
from benchmarks.gpu.lines import Lines
from harness.budget.flops import flops_per_token, hardware_utilisation
from harness.budget.gpu_profile import GpuProfile, get_gpu_profile
from harness.budget.memory import ModelShape
from harness.budget.profile_choice import profile_of
from harness.data.dataset import check_rows
from harness.doctor.card import find_gpu
from harness.job import TrainJob
from harness.recipe import AxolotlConfig, find_recipe, read_recipe, recipe_for

WORDS = (
    "a", "model", "reads", "the", "question", "about", "rivers", "and", "trains", "then", "writes", "one", "short",
    "plain", "answer", "in", "few", "words",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The GPU profile, recipe, base and mix of a benchmark."""

    card: GpuProfile
    recipe: AxolotlConfig
    base: Path
    mix: Path
    work: Path
    lines: Lines
    whole_s: float
    """Time limit of this process."""
    until: float
    """End of the time limit on the monotonic clock."""
    tiny: bool

    @property
    def left_s(self) -> float:
        """Remaining time of this process."""
        return self.until - time.monotonic()

    def job(self, name: str, *, budget_s: float = 600.0, **changes: Any) -> TrainJob:
        """Returns the job of a separate run; `changes` replace keys of the recipe."""
        recipe = AxolotlConfig(**(self.recipe.model_dump() | changes))
        return TrainJob(
            run=self.work / name, mix=self.mix, base=self.base, recipe=recipe, card=self.card, budget_s=budget_s,
            shared_card=True,
        )  # fmt: skip

    @property
    def context(self) -> float:
        """Mean number of earlier tokens that a token of the mix attends to."""
        return mean_context(json.loads((self.mix / "lengths.json").read_text()))

    def speed(self, recipe: AxolotlConfig, tokens_per_s: float) -> dict[str, float | None]:
        """Returns the tokens/s and their share of the GPU's peak."""
        return speed_of(
            ModelShape.of(self.base), tokens_per_s, r=recipe.lora_r, checkpointing=recipe.gradient_checkpointing,
            context=self.context,
        )  # fmt: skip


def mean_context(lengths: Sequence[int]) -> float:
    """Returns the mean number of earlier tokens of its own sample that a token attends to."""
    return sum(n * n / 2 for n in lengths) / sum(lengths)


def speed_of(
    shape: ModelShape, tokens_per_s: float, *, r: int, checkpointing: bool, context: float
) -> dict[str, float | None]:
    """Returns the tokens/s and their share of the peak in the GPU's data sheet (None if the GPU is unknown)."""
    per_token = flops_per_token(shape, r=r, checkpointing=checkpointing, context=context)
    profile = _profile()
    used = hardware_utilisation(tokens_per_s, per_token, profile) if profile else None
    return {"tokens_per_s": tokens_per_s, "gflop_per_token": per_token / 1e9, "hardware_utilisation": used}


@functools.cache
def _profile() -> GpuProfile | None:
    gpu = find_gpu()
    return profile_of(gpu) if gpu else None


def arguments(description: str | None, *, part: str, base: str = "mistral-7b") -> argparse.ArgumentParser:
    """Builds a parser with the options that all GPU benchmarks share."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--card", default="rtx4090", help="profile that gives the memory limit and the recipe")
    parser.add_argument("--config", type=Path, help="recipe; default: the card's recommended one")
    parser.add_argument("--base", choices=SHAPES, default=base, help="shape of the random base")
    parser.add_argument("--bases", type=Path, help="folder for bases of up to 14.5 GB; default: in --work")
    parser.add_argument("--tokenizer", type=Path, help="SentencePiece file; default: that of mistral-common")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"), help="folder for temporary files")
    parser.add_argument("--part", default=part, help="name of the part in its lines")
    parser.add_argument("--lines", type=Path, help="file to append results to; default: lines.jsonl in --work")
    parser.add_argument("--seconds", type=float, default=600.0, help="time limit; the benchmark does less to keep it")
    parser.add_argument("--tiny", action="store_true", help="test the script with two layers on the CPU")
    parser.set_defaults(started=time.monotonic())
    return parser


def left_s(options: argparse.Namespace) -> float:
    """Returns the remaining time of this process."""
    return float(options.started + options.seconds - time.monotonic())


def shape_of(options: argparse.Namespace) -> str:
    """Returns the name of the base's shape."""
    return "tiny" if options.tiny else str(options.base)


def lines_of(options: argparse.Namespace) -> Lines:
    """Returns the file of results."""
    return Lines(path=options.lines or options.work / "lines.jsonl", part=options.part)


def prepare(options: argparse.Namespace, *, num_train: int = 4_000, num_validation: int = 64) -> Setting:
    """Writes base and mix if they do not exist yet, and returns the setting."""
    card = get_gpu_profile("cpu" if options.tiny else options.card)
    recipe = read_recipe(find_recipe(options.config or recipe_for(card)))
    if options.tiny:
        recipe = recipe.model_copy(update={"micro_batch_size": 1, "gradient_accumulation_steps": 1})
        num_train, num_validation = min(num_train, 400), min(num_validation, 16)
    mix = options.work / f"mix-{num_train}-{num_validation}"
    if not (mix / "lengths.json").is_file():
        write_rows(mix, train=num_train, validation=num_validation)
    return Setting(
        card=card,
        recipe=recipe,
        base=find_base(options),
        mix=mix,
        work=options.work,
        lines=lines_of(options),
        whole_s=options.seconds,
        until=options.started + options.seconds,
        tiny=options.tiny,
    )


def find_base(options: argparse.Namespace) -> Path:
    """Returns the folder of the random base, and writes the base if it does not exist yet."""
    name = shape_of(options)
    base: Path = (options.bases or options.work) / f"base-{name}"
    if not (base / "done").is_file():
        write_base(base, name, tokenizer=options.tokenizer)
    return base


def write_rows(folder: Path, *, train: int, validation: int) -> None:
    """Writes rows with the lengths of the winner's mix: most are NI samples of 192 tokens in the mean."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    lengths = []
    for name, num in (("train", train), ("validation", validation)):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for number in range(num):
                words = [rng.choice(WORDS) for _ in range(sample_length(rng))]
                cut = len(words) * 4 // 5
                row = {
                    "id": f"{name}-{number}", "source": "made", "task": "made", "licence": "CC0",
                    "instruction": "Answer.", "input": " ".join(words[:cut]), "output": " ".join(words[cut:]),
                }  # fmt: skip
                file.write(json.dumps(row) + "\n")
                lengths.append(len(words) + 24)
    check_rows(folder)
    (folder / "lengths.json").write_text(json.dumps(lengths))


def sample_length(rng: random.Random) -> int:
    """Draws the number of tokens of a sample of the winner's mix."""
    length = rng.gauss(780, 150) if rng.random() < 0.12 else rng.lognormvariate(5.1, 0.6)
    return max(16, min(1_300, int(length)))


def remove(folder: Path) -> None:
    """Deletes a folder of an earlier call, if it exists."""
    shutil.rmtree(folder, ignore_errors=True)


def oneday(*command: str, log: Path) -> dict[str, Any]:
    """Runs `oneday … --json` and returns its last line.

    Raises:
        SystemExit: the command failed; the message holds its output.
    """
    with log.open("a", encoding="utf-8") as words:
        done = subprocess.run(
            [sys.executable, "-m", "oneday.cli", *command, "--json"], stdout=subprocess.PIPE, stderr=words, text=True
        )
    if done.returncode != 0:
        raise SystemExit(f"oneday {command[0]} ended with {done.returncode}: {log.read_text()[-1500:]}")
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return last
