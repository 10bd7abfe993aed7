"""Requests of training: `rehearse`, `plan`, `train`, `pick`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from core.model.quantisation import Precision
from oneday.requests.request import RARE, Option, Redoing, Reporting, WithDryRun, WithTrainedBase


@dataclass(frozen=True, kw_only=True)
class TrainingRequest(Reporting):
    """The options that determine a training run."""

    mix: Path | None = None
    """Folder with train.jsonl and validation.jsonl, as `oneday curate` writes it."""
    data: tuple[str, ...] = ()
    """File, folder, archive or hub name to train on instead of a mix; FILE:0.3 for a share of the tokens."""
    loss: Annotated[str, Option(is_rare=True, one_of="core.encoding.rendering:Loss")] = "responses"
    """With --data: the parts of a conversation that are trained."""
    template: Annotated[str, Option(is_rare=True, one_of="harness.data.template:Template")] = "auto"
    """With --data: how examples with an answer are rendered; auto: with the chat template if any is a conversation."""
    layout: Annotated[str | None, Option(is_rare=True, one_of="core.example.layout:Layout")] = None
    """With --data: layout of the records. Default: detected."""
    validation_share: Annotated[float | None, RARE] = None
    """With --data: share that is kept for validation. Default: 0.05, and at most 512 examples."""
    long_examples: Annotated[str, Option(is_rare=True, one_of="core.encoding.long_example:LongExamples")] = "auto"
    """How an example longer than sequence_len is handled; auto splits texts and drops others."""
    config: Path | None = None
    """Recipe. Default: the one recommended for the card."""
    card: Annotated[str | None, Option(suggests="harness.budget.gpu_profile:GPU_PROFILES")] = None
    """cpu, rtx4090, a100-40gb, a100-80gb, h100-80gb, h200, or NAME-MEMORYgb. Default: the card of this machine."""
    base: Path | None = None
    """Base model: a folder, or OWNER/NAME[@REVISION] of the hub, fetched once. Default: the mix's, or the recipe's."""
    init_from: Path | None = None
    """Run to start from: its picked weights, merged, are the base."""
    run: Path | None = None
    """Run folder. Default: the one that holds the mix."""


@dataclass(frozen=True, kw_only=True)
class RehearseRequest(TrainingRequest, Redoing):
    """Measure the costs of a run on this machine, before the clock starts.

    It measures the time of start, step, evaluation and save, and whether the largest batch fits. Nothing is charged.

    Example: oneday rehearse --mix runs/200k/05_mix --config axolotl_configs/mistral_7b_qlora_4090.yml --card rtx4090
    """

    shared_card: bool = False
    """Allow other programs to use the card."""


@dataclass(frozen=True, kw_only=True)
class PlanRequest(TrainingRequest, WithDryRun):
    """Compute steps, epochs and end of a run within a budget.

    It also shows the time that the paper's mixes would take. Costs are those of the run's rehearsal if there is one,
    else estimates from the card's profile. --dry-run shows estimates for the paper's 200K mix.

    Examples: oneday plan --mix runs/200k/05_mix --card rtx4090
              oneday plan --dry-run --card a100-40gb --budget 24h
    """

    budget: str = "24h"
    """Training budget, such as 24h or 90m."""


@dataclass(frozen=True, kw_only=True)
class TrainRequest(TrainingRequest, Redoing, WithDryRun):
    """Train within a budget; the same command resumes.

    Axolotl trains; a supervisor outside of it enforces the deadline and publishes the best checkpoint.

    Examples: oneday train --mix runs/200k/05_mix --config axolotl_configs/mistral_7b_qlora_4090.yml --card rtx4090
              oneday train --data mine.jsonl --base models/Mistral-7B-v0.1 --budget 8h
              oneday train --data mine.jsonl:0.3 --data chats/ --base mistralai/Mistral-7B-v0.1 --run runs/mixed
              oneday train --data pairs.jsonl --init-from runs/mixed --config dpo.yml --run runs/preferred
    """

    budget: str = "24h"
    """Wall-clock time from the start of training to the pick, such as 24h or 90m."""
    auto_fit: bool = False
    """Use smaller settings if memory does not suffice."""
    detach: bool = False
    """Continue when this terminal is closed."""
    track: Annotated[tuple[str, ...], Option(is_rare=True, one_of="harness.tracker:Tracker")] = ()
    """Trackers that also receive the metrics. Default: none."""
    clock: Annotated[Literal["strict", "compute"], RARE] = "strict"
    """strict charges downtime, compute does not."""
    final_model: Path | None = None
    """Also write whole weights in bf16 to this folder, inside the budget. The rehearsal measures the time."""
    follow_plan: Annotated[Path | None, RARE] = None
    """The 07_train/plan.jsonl of a run to repeat."""
    questions: Annotated[int, Option(is_rare=True, low=0)] = 100
    """Of --data: held-out questions that base and tuned are compared on when the budget is over. 0: none."""
    average: Annotated[int, Option(is_rare=True, low=0, high=100)] = 0
    """Number of checkpoints whose average is tried; below 2: none."""
    average_of: Annotated[tuple[str, ...], Option(is_rare=True, one_of="harness.checkpoint.averaging:AverageKind")] = ()
    """The averages that are tried. Default: best, and moving if the recipe has ema_decay."""
    rehearsal: Annotated[bool, RARE] = True
    """Measure costs and memory before the clock starts."""
    shared_card: Annotated[bool, RARE] = False
    """Allow other programs to use the card."""


@dataclass(frozen=True, kw_only=True)
class PickRequest(Reporting, WithTrainedBase, WithDryRun):
    """Pick the checkpoint with the lowest validation loss.

    Its LoRA adapter is published in 08_pick/adapter. Checkpoints without a loss of the trainer are measured on random
    validation rows. The time is charged to the run's budget.

    Examples: oneday pick runs/200k --time 10m --average 3
              oneday pick runs/200k --scores scores.json
              oneday pick their_output --validation rows.jsonl --base models/Mistral-7B-v0.1 --precision 4bit
    """

    folder: Annotated[Path, Option(is_argument=True)]
    """Run folder, or a folder of PEFT checkpoints."""
    time: str | None = None
    """Longest time, including publishing: 10m."""
    average: Annotated[int, Option(low=0, high=100)] = 0
    """Number of checkpoints whose average is tried; below 2: none."""
    average_of: Annotated[tuple[str, ...], Option(is_rare=True, one_of="harness.checkpoint.averaging:AverageKind")] = ()
    """The averages that are tried. Default: best, and moving if the trainer kept one."""
    scores: Annotated[Path | None, RARE] = None
    """A JSON object of checkpoints and your own scores of them: the highest is picked."""
    validation: Path | None = None
    """Rows to measure on. Default: the run's."""
    precision: Precision | None = None
    """Precision of the base. Default: as in training."""
    uncharged: Annotated[bool, RARE] = False
    """Do not charge the time to the run's budget; the ledger notes it."""
    seed: Annotated[int, RARE] = 2023
    """Seed of the order of rows."""
