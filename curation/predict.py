"""Prediction: what the base model answers, asked once per distinct request and never again.

    requests = build_requests(task, kind, parameters, predictor)
    predict_all(requests, predictor, Path("02_predictions/predictions.jsonl"))

The loop is resumable: answers are appended shard by shard and fsynced, keyed by the hash of (model, prompt,
sampling). A kill costs at most the shard in flight; a resumed file equals an uninterrupted one byte for byte,
because a shard is always asked as a whole.

Where it sits: prompt -> **predict** -> score.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from curation.errors import PredictionError
from curation.prompt import STOP, few_shot_prompt, shuffled_shots
from curation.select import Kind
from curation.stage import Dropped, read_jsonl, sha256
from curation.task import Instance, Task

UNANSWERED = "unanswered"
"""Key of a line that stands for a request without an answer."""

SHARD_SIZE = 128
"""Requests asked together. Batches are cut inside a shard, so the shard, not the machine, decides them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to the base model."""

    task: str
    id: str
    kind: Kind
    prompt: str
    num_shots: int
    references: tuple[str, ...]
    max_new_tokens: int
    stop: tuple[str, ...]

    def key(self, revision: str) -> str:
        """Hash of all that decides the answer."""
        return sha256(orjson.dumps([revision, self.prompt, self.max_new_tokens, self.stop, "greedy"]))


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
    def revision(self) -> str:
        """Names the weights: part of every request's key."""

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Whether prompt and answer fit into the model's context."""

    def complete(self, requests: Sequence[Request]) -> Sequence[str | None]:
        """One answer per request, in order. None: this engine has no answer (a replay without that record)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptParameters:
    """How an instance is asked."""

    seed: int = 2023
    max_shots: int | None = None
    """None: all positive examples, as published."""
    max_new_tokens_exact_match: int = 32
    """Source: inferred from a published sample of the winner's predictions."""
    max_new_tokens_generation: int = 128
    stop: tuple[str, ...] = (STOP,)


def build_requests(
    task: Task,
    kind: Kind,
    instances: Iterable[Instance],
    parameters: PromptParameters,
    fits: Callable[[str, int], bool],
    dropped: list[Dropped],
) -> Iterator[Request]:
    """One request per instance, with as many shots as fit; an instance that does not fit alone is dropped.

    Args:
        fits: `Predictor.fits`.
        dropped: Receives what was left out, reason `prompt_too_long`.
    """
    shots = shuffled_shots(task.positive_examples, seed=parameters.seed, task=task.name)[: parameters.max_shots]
    exact = kind is Kind.EXACT_MATCH
    max_new_tokens = parameters.max_new_tokens_exact_match if exact else parameters.max_new_tokens_generation
    for instance in instances:
        for num_shots in range(len(shots), -1, -1):
            prompt = few_shot_prompt(task.definition, shots[:num_shots], instance.input)
            if fits(prompt, max_new_tokens):
                yield Request(
                    task=task.name,
                    id=instance.id,
                    kind=kind,
                    prompt=prompt,
                    num_shots=num_shots,
                    references=instance.outputs,
                    max_new_tokens=max_new_tokens,
                    stop=parameters.stop,
                )
                break
        else:
            detail = f"{len(instance.input)} characters, longer than the model's context even without shots"
            dropped.append(Dropped(unit="instance", id=instance.id, reason="prompt_too_long", detail=detail))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What `predict_all` came to."""

    num_answered: int
    dropped: tuple[Dropped, ...]


def predict_all(
    requests: Iterable[Request],
    predictor: Predictor,
    path: Path,
    *,
    on_shard: Callable[[int], None] = lambda num: None,
) -> Asked:
    """Asks every request that `path` does not know yet.

    Args:
        requests: In a fixed order. Shards of `SHARD_SIZE` are cut from it.
        path: Append-only JSON lines of `Prediction`, in the order of the requests. A request without an answer has
            a line too, so that it is not asked again.
        on_shard: Called after each shard with its number of requests.
    """
    stored = _open_log(path)
    dropped: list[Dropped] = []
    num_answered = 0
    with path.open("r+b") as log:
        for shard in _batched(requests):
            keys = [(r.task, r.id, r.key(predictor.revision)) for r in shard]
            found = [stored[key] for key in keys if key in stored]
            if len(found) < len(shard):
                start = min((entry.offset for entry in found), default=log.seek(0, os.SEEK_END))
                stored = {key: entry for key, entry in stored.items() if entry.offset < start}
                answers = _ask(shard, keys, predictor, log, start)
            else:
                answers = [entry.answered for entry in found]
            num_answered += sum(answers)
            dropped += [
                Dropped(unit="instance", id=r.id, reason="no_stored_prediction", detail=r.task)
                for r, answered in zip(shard, answers, strict=True)
                if not answered
            ]
            on_shard(len(shard))
    return Asked(num_answered=num_answered, dropped=tuple(dropped))


_Key = tuple[str, str, str]
"""(task, instance id, request hash)."""


@dataclass(frozen=True, slots=True)
class _Entry:
    offset: int
    answered: bool


def _ask(shard: Sequence[Request], keys: Sequence[_Key], predictor: Predictor, log: Any, start: int) -> list[bool]:
    """Answers a whole shard and appends it at `start`, cutting off a partial copy of it; says which were answered."""
    answers = predictor.complete(shard)
    assert len(answers) == len(shard), f"{len(answers)} answers to {len(shard)} requests"
    lines = []
    for request, key, answer in zip(shard, keys, answers, strict=True):
        record: Any = {"task": request.task, "id": request.id, "request_sha256": key[2], UNANSWERED: True}
        if answer is not None:
            record = Prediction(
                task=request.task,
                id=request.id,
                kind=request.kind,
                num_shots=request.num_shots,
                references=request.references,
                prediction=answer,
                request_sha256=key[2],
            )
        lines.append(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
    log.seek(start)
    log.truncate()
    log.write(b"".join(lines))
    log.flush()
    os.fsync(log.fileno())
    return [answer is not None for answer in answers]


def _open_log(path: Path) -> dict[_Key, _Entry]:
    """Every whole line of the log; a torn last line is cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    stored: dict[_Key, _Entry] = {}
    offset = 0
    with path.open("r+b") as log:
        for line in log:
            try:
                row: Any = orjson.loads(line) if line.endswith(b"\n") else None
                key = (row["task"], row["id"], row["request_sha256"])
            except (orjson.JSONDecodeError, TypeError, KeyError):
                break
            stored[key] = _Entry(offset, UNANSWERED not in row)
            offset += len(line)
        log.truncate(offset)
    return stored


def _batched(requests: Iterable[Request]) -> Iterator[tuple[Request, ...]]:
    """`itertools.batched` for Python 3.11."""
    iterator = iter(requests)
    while shard := tuple(itertools.islice(iterator, SHARD_SIZE)):
        yield shard


def read_predictions(path: Path) -> Iterator[Prediction]:
    """Predictions of this tool, or of the shape `{task, id | ni_id, references, prediction, [shots], [kind]}`.

    Without `kind` a record counts as generation, which is what ROUGE-L can score in any case.

    Raises:
        PredictionError: a record lacks a field; the message has its number, blank lines not counted.
    """
    for number, row in enumerate(read_jsonl(path), start=1):
        if UNANSWERED in row:
            continue
        yield _prediction(row, f"{path}: record {number}")


def _prediction(row: dict[str, Any], where: str) -> Prediction:
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
