"""How long each training and generation of a study takes: from measured speeds, else from the card's profile.

    costs = estimate(study, graph, Speeds())
    costs[identity].seconds, costs[identity].measured

Where it sits: graph -> **estimate** -> budget.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.budget.gpu_profile import GpuProfile, get_gpu_profile
from harness.budget.memory import ModelShape
from studies.errors import StudyError
from studies.graph import Generation, Graph, Training
from studies.stage import Kind, Stage
from studies.study import ModelSize, Study

START_S = 180.0
"""Process, model, data, up to the first step. The same figure as `oneday plan` reckons with."""

CLOSING_S = 75.0
"""A last save and the pick. As above."""

EVALUATION_S = 20.0
"""An evaluation with its checkpoint. An estimate."""

LOAD_S = 60.0
"""Of a model that generates."""

DECODING_SHARE = 0.02
"""Of the card's peak that batched generation reaches. An estimate; it is replaced by what is measured."""

FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT = 2.0, 2.0, 2.0
"""FLOP for each weight and token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a rehearsal found of one kind of training."""

    tokens_per_s: float
    start_s: float
    """Start, last save and pick."""
    evaluation_s: float
    """An evaluation with its checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """What was measured in this study."""

    rehearsed: Mapping[str, Measured] = field(default_factory=dict)
    """By `speed_key`."""
    training: Mapping[str, float] = field(default_factory=dict)
    """Tokens per second of finished trainings, by `speed_key`."""
    generation: Mapping[str, float] = field(default_factory=dict)
    """New tokens per second, by base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one training or generation."""

    seconds: float
    tokens: int
    steps: int = 0
    """Optimizer steps; 0 of a generation."""
    measured: bool = False
    """False: from the card's profile."""


def estimate(study: Study, graph: Graph, speeds: Speeds, *, not_run: Collection[str] = ()) -> dict[str, Cost]:
    """Identity -> cost, of everything in the graph.

    Args:
        not_run: Suites that cannot be run, so that they cost nothing.

    Raises:
        StudyError: neither the size of a base nor a speed on the card is known.
    """
    card = get_gpu_profile(study.card)
    costs = {i: _training_cost(study, training, speeds, card) for i, training in graph.trainings.items()}
    for identity, generation in graph.generations.items():
        skipped = generation.suite in not_run
        costs[identity] = Cost(seconds=0.0, tokens=0) if skipped else _generation_cost(study, generation, speeds, card)
    return costs


def speed_key(training: Training) -> str:
    """Trainings with the same key run at the same speed."""
    stage = training.stage
    batch = f"{stage.micro_batch_size}x{stage.sequence_len}"
    return f"{training.base} {stage.kind} {stage.weights} {batch}{' packed' * stage.packs}"


def length_of(study: Study, stage: Stage) -> tuple[int, int]:
    """(optimizer steps, tokens) of a stage, from declared sizes. Padding is not counted."""
    amount = stage.data.amount(study.sources)
    rows, tokens = amount.rows, min(amount.tokens, float(amount.rows) * _longest(stage))
    per_step = stage.batch_tokens if stage.packs else stage.batch_sequences
    pass_steps = (tokens if stage.packs else rows) / per_step
    if stage.max_steps is not None:
        return stage.max_steps, round(stage.max_steps * tokens / max(pass_steps, 1e-9))
    assert stage.num_epochs is not None, "a stage has one of both lengths"
    return max(1, math.ceil(stage.num_epochs * pass_steps)), round(stage.num_epochs * tokens)


def _longest(stage: Stage) -> float:
    """Tokens of a row at most; text is split, so that none is lost; a pair has two sides."""
    if stage.kind is Kind.CPT:
        return math.inf
    return stage.sequence_len * (2 if stage.kind is Kind.DPO else 1)


def flops_per_token(stage: Stage, parameters: float) -> float:
    """Of a training step: full weights, or a frozen base under adapters; DPO also asks its reference."""
    flops = FORWARD + BACKWARD_INPUT + (BACKWARD_WEIGHT if stage.weights == "full" else 0.0)
    flops += FORWARD * stage.gradient_checkpointing
    flops += FORWARD * (stage.kind is Kind.DPO)
    return flops * parameters


def _training_cost(study: Study, training: Training, speeds: Speeds, card: GpuProfile) -> Cost:
    stage, key = training.stage, speed_key(training)
    steps, tokens = length_of(study, stage)
    rehearsed, model = speeds.rehearsed.get(key), study.models.get(training.base, ModelSize())
    found = speeds.training.get(key) or (rehearsed.tokens_per_s if rehearsed else None)
    speed = found or model.tokens_per_s
    if speed is None:
        speed = _peak(card) * card.utilisation / flops_per_token(stage, _parameters(model, training.base))
    seconds = _start_s(model, rehearsed) + tokens / speed
    seconds += (1 + steps // stage.eval_steps) * _evaluation_s(model, rehearsed)
    return Cost(seconds=seconds, tokens=tokens, steps=steps, measured=found is not None)


def _start_s(model: ModelSize, rehearsed: Measured | None) -> float:
    if rehearsed is not None:
        return rehearsed.start_s
    return START_S + CLOSING_S if model.start_s is None else model.start_s


def _evaluation_s(model: ModelSize, rehearsed: Measured | None) -> float:
    if rehearsed is not None:
        return rehearsed.evaluation_s
    return EVALUATION_S if model.start_s is None else 0.0


def least_s(study: Study, training: Training, rehearsed: Mapping[str, Measured]) -> float:
    """What a training needs that is gone on with just before its end."""
    found, model = rehearsed.get(speed_key(training)), study.models.get(training.base, ModelSize())
    return _start_s(model, found) + 2 * _evaluation_s(model, found)


def _generation_cost(study: Study, generation: Generation, speeds: Speeds, card: GpuProfile) -> Cost:
    suite, model = study.suites[generation.suite], study.models.get(generation.base, ModelSize())
    tokens = round(generation.num_items * suite.response_tokens)
    found = speeds.generation.get(generation.base)
    speed = found or model.new_tokens_per_s
    if speed is None:
        speed = _peak(card) * DECODING_SHARE / (FORWARD * _parameters(model, generation.base))
    load_s = LOAD_S if model.start_s is None else model.start_s
    return Cost(seconds=load_s + tokens / speed, tokens=tokens, measured=found is not None)


def _peak(card: GpuProfile) -> float:
    if not card.has_speed:
        raise StudyError(
            f"`card={card.name}`: no speed is known for it, so nothing can be estimated. Name another card, or give "
            "tokens_per_s and new_tokens_per_s of the model."
        )
    return card.tflops * 1e12


def _parameters(model: ModelSize, base: str) -> float:
    if model.parameters is not None:
        return model.parameters
    if (Path(base) / "config.json").is_file():
        shape = ModelShape.of(Path(base))
        return float(shape.num_linear + shape.vocab * shape.hidden * (1 if shape.tied else 2))
    raise StudyError(f"models: the size of {base} is not given. Write models: {{{base}: {{parameters: 7.0e9}}}}.")
