"""Requests of training: `rehearse`, `plan`, `train`, `pick`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from core.model.quantisation import Precision
from oneday.requests.request import RARE, Option, Redoing, Reporting, WithDryRun, WithTrainedBase


@dataclass(frozen=True, kw_only=True)
class TrainingRequest(Reporting):
    """The options that decide a training."""

    mix: Path | None = None
    """Folder with train.jsonl and validation.jsonl, as `oneday curate` writes it."""
    data: tuple[str, ...] = ()
    """In place of a mix: file, folder, archive or hub name, as it is; FILE:0.3 for a share of the tokens."""
    loss: Annotated[str, Option(is_rare=True, one_of="core.encoding.rendering:Loss")] = "responses"
    """What is trained of a conversation of --data."""
    template: Annotated[str, Option(is_rare=True, one_of="harness.data.template:Template")] = "auto"
    """How examples of --data with an answer are rendered; auto: by the chat template if one is a conversation."""
    layout: Annotated[str | None, Option(is_rare=True, one_of="core.example.layout:Layout")] = None
    """Of --data. Default: found by looking."""
    validation_share: Annotated[float | None, RARE] = None
    """Part of --data that is kept for validation. Default: 0.05, and at most 512 examples."""
    long_examples: Annotated[str, Option(is_rare=True, one_of="core.encoding.long_example:LongExamples")] = "auto"
    """What is done with an example longer than sequence_len; auto splits texts and drops others."""
    config: Path | None = None
    """Recipe. Default: the card's recommended one."""
    card: Annotated[str | None, Option(suggests="harness.budget.gpu_profile:GPU_PROFILES")] = None
    """cpu, rtx4090, a100-40gb, a100-80gb, h100-80gb, h200, or NAME-MEMORYgb. Default: the card that is here."""
    base: Path | None = None
    """Base model folder. Default: the mix's, or the recipe's."""
    run: Path | None = None
    """Run folder. Default: the one that holds the mix."""


@dataclass(frozen=True, kw_only=True)
class RehearseRequest(TrainingRequest, Redoing):
    """Measure what this run costs here, before the clock starts.

    What start, step, evaluation and save cost, and whether the worst batch fits. Nothing is charged.

    Example: oneday rehearse --mix runs/200k/05_mix --config axolotl_configs/mistral_7b_qlora_4090.yml --card rtx4090
    """

    shared_card: bool = False
    """Others may use the card."""


@dataclass(frozen=True, kw_only=True)
class PlanRequest(TrainingRequest, WithDryRun):
    """How far a budget goes: steps, epochs, finish.

    And what the paper's mixes would need. From the run's rehearsal if there is one, else from the card's profile,
    marked as an estimate; with --dry-run for the paper's 200K mix, from the card's profile.

    Examples: oneday plan --mix runs/200k/05_mix --card rtx4090
              oneday plan --dry-run --card a100-40gb --budget 24h
    """

    budget: str = "24h"
    """24h, 90m."""


@dataclass(frozen=True, kw_only=True)
class TrainRequest(TrainingRequest, Redoing, WithDryRun):
    """Train inside the budget; the same command resumes.

    Axolotl trains, a supervisor outside of it ends it at the deadline and publishes the best checkpoint.

    Examples: oneday train --mix runs/200k/05_mix --config axolotl_configs/mistral_7b_qlora_4090.yml --card rtx4090
              oneday train --data mine.jsonl --base models/Mistral-7B-v0.1 --budget 8h
              oneday train --data mine.jsonl:0.3 --data chats/ --base mistralai/Mistral-7B-v0.1 --run runs/mixed
    """

    budget: str = "24h"
    """Wall-clock from the start of training to the pick: 24h, 90m."""
    auto_fit: bool = False
    """Take smaller settings if memory is too small."""
    detach: bool = False
    """Go on when this terminal is closed."""
    track: Annotated[tuple[str, ...], Option(is_rare=True, one_of="harness.tracker:Tracker")] = ()
    """Trackers that also receive the metrics. Default: none."""
    clock: Annotated[Literal["strict", "compute"], RARE] = "strict"
    """strict charges downtime, compute does not."""
    follow_plan: Annotated[Path | None, RARE] = None
    """The 07_train/plan.jsonl of a run to repeat."""
    average: Annotated[int, Option(is_rare=True, low=0, high=100)] = 0
    """Try the average of so many of the best."""
    rehearsal: Annotated[bool, RARE] = True
    """Measure first whether and how it fits."""
    shared_card: Annotated[bool, RARE] = False
    """Others may use the card."""


@dataclass(frozen=True, kw_only=True)
class PickRequest(Reporting, WithTrainedBase, WithDryRun):
    """Pick the checkpoint with the lowest validation loss.

    Its LoRA adapter goes to 08_pick/adapter. Losses that the trainer measured are taken; the other checkpoints are
    raced over random validation rows. In a run the time is charged to its budget.

    Examples: oneday pick runs/200k --time 10m --average 3
              oneday pick their_output --validation rows.jsonl --base models/Mistral-7B-v0.1 --precision 4bit
    """

    folder: Annotated[Path, Option(is_argument=True)]
    """Run folder, or a folder of PEFT checkpoints."""
    time: str | None = None
    """At most so long, publishing included: 10m."""
    average: Annotated[int, Option(low=0, high=100)] = 0
    """Try the average of so many of the best."""
    validation: Path | None = None
    """Rows to measure on. Default: the run's."""
    precision: Precision | None = None
    """Default: as trained."""
    uncharged: Annotated[bool, RARE] = False
    """Outside of the run's budget; noted there."""
    seed: Annotated[int, RARE] = 2023
    """Of the order of rows."""
