"""Prediction: what the base model answers, asked once per distinct request and never again.

    with AnswerStore(Path("answers.jsonl")) as store:
        for request, answer in ask(requests, predictor, store):
            ...

The loop is resumable: answers are appended shard by shard and fsynced, keyed by the hash of (model, prompt,
sampling). A kill costs at most the shards in flight. Batches are cut inside a shard, so neither the machine nor the
number of workers decides them.

Where it sits: prompt -> **predict** -> score.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from curation.errors import PredictionError
from curation.files import read_jsonl, sha256
from curation.kind import Kind
from curation.prompt import STOP, ShotOrder, few_shot_prefix, few_shot_prompt, ordered_shots
from curation.stage import Dropped
from curation.task import Instance, Task

SHARD_SIZE = 128
"""Requests asked together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to the base model."""

    task: str
    id: str
    kind: Kind
    prompt: str
    num_shared: int
    """Characters at the prompt's start that the task's other prompts share: preamble, definition, shots."""
    num_shots: int
    references: tuple[str, ...]
    max_new_tokens: int
    stop: tuple[str, ...]

    def key(self, revision: str) -> str:
        """Hash of all that decides the answer."""
        return sha256(orjson.dumps([revision, self.prompt, self.max_new_tokens, self.stop, "greedy"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A request that will never have an answer, and why."""

    reason: str
    detail: str = ""


Answer = str | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The base model's answer to one instance. One line of `predictions.jsonl`."""

    task: str
    id: str
    kind: Kind
    num_shots: int
    references: tuple[str, ...]
    prediction: str
    """Text as the engine gave it, cut at the stop string; leading white space is kept."""
    request_sha256: str


class Predictor(Protocol):
    """An engine that answers prompts greedily."""

    @property
    def in_flight(self) -> int:
        """How many shards it works on at once. Above 1, `complete` is called from several threads."""

    @property
    def keeps_answers(self) -> bool:
        """Whether its answers are worth storing; those of a replay are stored already."""

    @property
    def revision(self) -> str:
        """Names the weights: part of every request's key."""

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Whether prompt and answer fit into the model's context."""

    def complete(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """One answer per request of a shard, in order.

        Raises:
            PredictionError: the engine is gone; what was stored stays, the same command goes on.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptParameters:
    """How an instance is asked."""

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


def build_requests(
    task: Task,
    kind: Kind,
    instances: Iterable[Instance],
    parameters: PromptParameters,
    fits: Callable[[str, int], bool],
    drop: Callable[[Dropped], None],
) -> Iterator[Request]:
    """One request per instance, with as many shots as fit; an instance that does not fit alone is dropped.

    Args:
        fits: `Predictor.fits`.
        drop: Receives what is left out, reason `prompt_too_long`.
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


def _shots(task: Task, parameters: PromptParameters, name: str) -> Sequence[Any]:
    shots = ordered_shots(task.positive_examples, parameters.shot_order, seed=parameters.seed, name=name)
    return shots[: parameters.max_shots]


REFUSED_BY_SERVER = "refused_by_server"


def prediction_of(request: Request, key: str, text: str) -> Prediction:
    """An answered request as it is written."""
    return Prediction(
        task=request.task,
        id=request.id,
        kind=request.kind,
        num_shots=request.num_shots,
        references=request.references,
        prediction=text,
        request_sha256=key,
    )


def read_predictions(path: Path) -> Iterator[Prediction]:
    """Predictions of this tool, or of the shape `{task, id | ni_id, references, prediction, [shots], [kind]}`.

    Without `kind` a record counts as generation, which is what ROUGE-L can score in any case.

    Raises:
        PredictionError: a record lacks a field; the message has its number, blank lines not counted.
    """
    for number, row in enumerate(read_jsonl(path), start=1):
        yield parse_prediction(row, f"{path}: record {number}")


def parse_prediction(row: Mapping[str, Any], where: str) -> Prediction:
    """One record.

    Raises:
        PredictionError: it lacks a field; `where` begins the message.
    """
    references = row.get("references")
    text, task, instance_id = row.get("prediction"), row.get("task"), row.get("id", row.get("ni_id"))
    if not (isinstance(text, str) and isinstance(task, str) and isinstance(instance_id, str)):
        raise PredictionError(f"{where} lacks `task`, `id` or `prediction` as text. Add it.")
    if not isinstance(references, list) or not references or not all(isinstance(r, str) for r in references):
        raise PredictionError(f"{where} lacks `references`, a list of at least one text. Add it.")
    kind = row.get("kind", Kind.GENERATION)
    if kind not in list(Kind):
        raise PredictionError(f"{where} has kind {kind!r}. Use {' or '.join(Kind)}.")
    num_shots = row.get("num_shots", row.get("shots", 0))
    if not isinstance(num_shots, int):
        raise PredictionError(f"{where} has num_shots {num_shots!r}. Give a whole number, or leave it out.")
    return Prediction(
        task=task,
        id=instance_id,
        kind=Kind(kind),
        num_shots=num_shots,
        references=tuple(references),
        prediction=text,
        request_sha256=str(row.get("request_sha256", "")),
    )
