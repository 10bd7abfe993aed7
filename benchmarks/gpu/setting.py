"""What every GPU benchmark needs and no network gives: a random base, rows of the mix's lengths, a place for results.

The weights are random: speed and memory do not depend on them, losses mean nothing. `--tiny` is 2 layers of width 128
for a CPU, on which the scripts are tested; its figures are no one's.
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
from harness.dataset import check_rows
from harness.doctor.card import find_gpu
from harness.job import TrainJob
from harness.recipe import AxolotlConfig, find_recipe, read_recipe, recipe_for

WORDS = (
    "a", "model", "reads", "the", "question", "about", "rivers", "and", "trains", "then", "writes", "one", "short",
    "plain", "answer", "in", "few", "words",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One card, one recipe, one base, one mix."""

    card: GpuProfile
    recipe: AxolotlConfig
    base: Path
    mix: Path
    work: Path
    lines: Lines
    whole_s: float
    """The time that this process was given."""
    until: float
    """On the monotonic clock: when it should be done."""
    tiny: bool

    @property
    def left_s(self) -> float:
        """Of this process's time."""
        return self.until - time.monotonic()

    def job(self, name: str, *, budget_s: float = 600.0, **changes: Any) -> TrainJob:
        """A run of its own; `changes` replace keys of the recipe."""
        recipe = AxolotlConfig(**(self.recipe.model_dump() | changes))
        return TrainJob(
            run=self.work / name, mix=self.mix, base=self.base, recipe=recipe, card=self.card, budget_s=budget_s,
            shared_card=True,
        )  # fmt: skip

    @property
    def context(self) -> float:
        """Earlier tokens that a token of the mix attends to, in the mean."""
        return mean_context(json.loads((self.mix / "lengths.json").read_text()))

    def speed(self, recipe: AxolotlConfig, tokens_per_s: float) -> dict[str, float | None]:
        """Tokens/s, and what part of the card's peak that is."""
        return speed_of(
            ModelShape.of(self.base), tokens_per_s, r=recipe.lora_r, checkpointing=recipe.gradient_checkpointing,
            context=self.context,
        )  # fmt: skip


def mean_context(lengths: Sequence[int]) -> float:
    """Earlier tokens of its own sample that a token sees, in the mean."""
    return sum(n * n / 2 for n in lengths) / sum(lengths)


def speed_of(
    shape: ModelShape, tokens_per_s: float, *, r: int, checkpointing: bool, context: float
) -> dict[str, float | None]:
    """Tokens/s, and the share of the peak that the card's data sheet names; None where it is not known."""
    per_token = flops_per_token(shape, r=r, checkpointing=checkpointing, context=context)
    profile = _profile()
    used = hardware_utilisation(tokens_per_s, per_token, profile) if profile else None
    return {"tokens_per_s": tokens_per_s, "gflop_per_token": per_token / 1e9, "hardware_utilisation": used}


@functools.cache
def _profile() -> GpuProfile | None:
    gpu = find_gpu()
    return profile_of(gpu) if gpu else None


def arguments(description: str | None, *, part: str, base: str = "mistral-7b") -> argparse.ArgumentParser:
    """The options that all of them share."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--card", default="rtx4090", help="profile whose memory is kept to, and whose recipe is run")
    parser.add_argument("--config", type=Path, help="default: the card's recommended recipe")
    parser.add_argument("--base", choices=SHAPES, default=base, help="shape of the random base")
    parser.add_argument("--bases", type=Path, help="where bases of up to 14.5 GB are kept; default: in --work")
    parser.add_argument("--tokenizer", type=Path, help="SentencePiece file; default: the one that mistral-common has")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"), help="scratch")
    parser.add_argument("--part", default=part, help="names the part in its lines")
    parser.add_argument("--lines", type=Path, help="results are appended here; default: lines.jsonl in --work")
    parser.add_argument("--seconds", type=float, default=600.0, help="do less rather than take longer")
    parser.add_argument("--tiny", action="store_true", help="two layers on the CPU: whether the script works")
    parser.set_defaults(started=time.monotonic())
    return parser


def left_s(options: argparse.Namespace) -> float:
    """Of the time that this process was given."""
    return float(options.started + options.seconds - time.monotonic())


def shape_of(options: argparse.Namespace) -> str:
    """Name of the base's sizes."""
    return "tiny" if options.tiny else str(options.base)


def lines_of(options: argparse.Namespace) -> Lines:
    """Where results go."""
    return Lines(path=options.lines or options.work / "lines.jsonl", part=options.part)


def prepare(options: argparse.Namespace, *, num_train: int = 4_000, num_validation: int = 64) -> Setting:
    """Writes base and mix once; a later script finds them."""
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
    """The random base, written if it is not there yet."""
    name = shape_of(options)
    base: Path = (options.bases or options.work) / f"base-{name}"
    if not (base / "done").is_file():
        write_base(base, name, tokenizer=options.tokenizer)
    return base


def write_rows(folder: Path, *, train: int, validation: int) -> None:
    """Rows whose lengths are spread as the winner's mix: most are NI samples of 192 tokens in the mean, some longer."""
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
    """Tokens of a sample of the winner's mix."""
    wanted = rng.gauss(780, 150) if rng.random() < 0.12 else rng.lognormvariate(5.1, 0.6)
    return max(16, min(1_300, int(wanted)))


def remove(folder: Path) -> None:
    """What an earlier call left."""
    shutil.rmtree(folder, ignore_errors=True)


def oneday(*command: str, log: Path) -> dict[str, Any]:
    """Runs `oneday … --json`; returns its last line.

    Raises:
        SystemExit: it failed; its own words say why.
    """
    with log.open("a", encoding="utf-8") as words:
        done = subprocess.run(
            [sys.executable, "-m", "oneday.cli", *command, "--json"], stdout=subprocess.PIPE, stderr=words, text=True
        )
    if done.returncode != 0:
        raise SystemExit(f"oneday {command[0]} ended with {done.returncode}: {log.read_text()[-1500:]}")
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return last
