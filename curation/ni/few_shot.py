"""The few-shot prompts of the base model: the published layout, with as many shots as fit.

    requests = build_requests(task, kind, instances, PromptParameters(), predictor.fits, stage.drop)

Source: the published few-shot example and the data scripts of the NeurIPS 2023 winner (Birbal).

Where it sits: task -> **few_shot** -> request.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Protocol

from core.errors import PredictionError
from core.example.prompt import STOP
from core.generation.request import Kind, Request
from core.stage import Dropped
from curation.ni.task import Example, Instance

PREAMBLE = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)
"""First line of every few-shot prompt. Absent from training rows. Source: the winner's few-shot example."""


def few_shot_prefix(definition: str, shots: Sequence[Example]) -> str:
    """The part that all prompts of a task share: preamble, definition, shots, and the heading of the query."""
    return _prefix(definition, tuple(shots))


@lru_cache(maxsize=32)
def _prefix(definition: str, shots: tuple[Example, ...]) -> str:
    blocks = [f"{PREAMBLE}\n\n### Instruction:\n{definition}\n\n"]
    blocks += [f"### Input:\n{shot.input}\n\n### Response:\n{shot.output}\n\n" for shot in shots]
    blocks.append("### Input:\n")
    return "".join(blocks)


def few_shot_prompt(definition: str, shots: Sequence[Example], query: str) -> str:
    """The published few-shot layout: preamble, definition, every shot, the query.

    Args:
        definition: `Definition[0]` of the task.
        shots: Worked examples in the order in which they are shown, without their explanations.
        query: The instance's input. If it is empty (a user's row without input), there are no shots and no input block.
    """
    if not query:
        return f"{PREAMBLE}\n\n### Instruction:\n{definition}\n\n### Response:\n"
    return f"{few_shot_prefix(definition, shots)}{query}\n\n### Response:\n"


class ShotOrder(StrEnum):
    """The order of a task's positive examples in a prompt."""

    PER_TASK = "per_task"
    """Shuffled once per task. All its prompts have the same prefix, which an engine reads once."""
    PER_INSTANCE = "per_instance"
    """Shuffled for each prompt, as the winner's record suggests. No prefix is shared."""
    FILE = "file"


def ordered_shots(examples: Sequence[Example], order: ShotOrder, *, seed: int, name: str) -> tuple[Example, ...]:
    """The positive examples in an order that depends on (seed, name). The winner shuffles them without a seed."""
    shots = list(examples)
    if order is not ShotOrder.FILE:
        random.Random(f"shots-{seed}-{name}").shuffle(shots)
    return tuple(shots)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptParameters:
    """Parameters of the prompts."""

    seed: int = 2023
    max_shots: int | None = None
    """None: all positive examples, as published."""
    shot_order: ShotOrder = ShotOrder.PER_TASK
    max_new_tokens_exact_match: int = 32
    """Source: inferred from a published sample of the winner's predictions."""
    max_new_tokens_generation: int = 128
    stop: tuple[str, ...] = (STOP,)

    def __post_init__(self) -> None:
        for name in ("max_new_tokens_exact_match", "max_new_tokens_generation"):
            if getattr(self, name) < 1:
                raise PredictionError(f"prompts.{name}: {getattr(self, name)}. Give 1 or more.")
        if self.max_shots is not None and self.max_shots < 0:
            raise PredictionError(f"prompts.max_shots: {self.max_shots}. Give 0 or more, or none for all.")


class Prompted(Protocol):
    """What all prompts of a task share. A `Task` has it, and a `SelectedTask`."""

    @property
    def name(self) -> str:
        """The task's name."""

    @property
    def definition(self) -> str:
        """Its instruction."""

    @property
    def positive_examples(self) -> tuple[Example, ...]:
        """Its worked examples."""


def build_requests(
    task: Prompted,
    kind: Kind,
    instances: Iterable[Instance],
    parameters: PromptParameters,
    fits: Callable[[str, int], bool],
    drop: Callable[[Dropped], None],
) -> Iterator[Request]:
    """One request per instance, with as many shots as fit.

    Args:
        fits: `Predictor.fits`.
        drop: Receives the instances that do not fit even without shots; their reason is `prompt_too_long`.
    """
    exact = kind is Kind.EXACT_MATCH
    max_new_tokens = parameters.max_new_tokens_exact_match if exact else parameters.max_new_tokens_generation
    shots = _shots(task, parameters, task.name)
    for instance in instances:
        if parameters.shot_order is ShotOrder.PER_INSTANCE:
            shots = _shots(task, parameters, f"{task.name}-{instance.id}")
        definition = instance.instruction or task.definition
        for num_shots in range(0 if instance.instruction else len(shots), -1, -1):
            prompt = few_shot_prompt(definition, shots[:num_shots], instance.input)
            if fits(prompt, max_new_tokens):
                yield Request(
                    task=task.name,
                    id=instance.id,
                    kind=kind,
                    prompt=prompt,
                    num_shared=len(few_shot_prefix(definition, shots[:num_shots])),
                    num_shots=num_shots,
                    references=instance.references,
                    max_new_tokens=max_new_tokens,
                    stop=parameters.stop,
                )
                break
        else:
            detail = f"{len(instance.input)} characters, longer than the model's context even without shots"
            drop(Dropped(unit="instance", id=instance.id, reason="prompt_too_long", detail=detail, source=task.name))


def _shots(task: Prompted, parameters: PromptParameters, name: str) -> tuple[Example, ...]:
    shots = ordered_shots(task.positive_examples, parameters.shot_order, seed=parameters.seed, name=name)
    return shots[: parameters.max_shots]
