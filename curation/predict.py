"""Prediction: what the base model answers, asked once per distinct request and never again.

    with AnswerStore(Path("answers.jsonl")) as store:
        for request, answer in ask(requests, predictor, store):
            ...

The loop is resumable: answers are appended shard by shard and fsynced, keyed by the hash of (model, prompt,
sampling). A kill costs at most the shards in flight. Batches are cut inside a shard, so neither the machine nor the
number of workers decides them.

Where it sits: prompt -> **predict** -> score.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, Self

import orjson

from curation.errors import PredictionError
from curation.prompt import STOP, ShotOrder, few_shot_prefix, few_shot_prompt, ordered_shots
from curation.select import Kind
from curation.stage import Dropped, read_jsonl, sha256
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
                    references=instance.outputs,
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


class AnswerStore:
    """Answers on disk, found by the request's hash. Append-only: one fsynced line is one shard, whole or absent.

    It outlives a changed parameter: a request that was ever answered is not asked again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._where: dict[int, tuple[int, int]] = {}
        self.num_damaged = 0
        """Lines that cannot be read."""
        self._read: tuple[int, Any] = (-1, None)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._file: IO[bytes] = path.open("r+b")
        offset = 0
        for line in self._file:
            if not line.endswith(b"\n"):  # a kill tore it
                self._file.truncate(offset)
                break
            try:
                self._index(orjson.loads(line)["keys"], offset)
            except (orjson.JSONDecodeError, TypeError, KeyError):
                self.num_damaged += 1  # its shard is asked again; the others stay
            offset += len(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return int(key[:16], 16) in self._where

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, key: str) -> Answer:
        offset, position = self._where[int(key[:16], 16)]
        if self._read[0] != offset:
            self._file.seek(offset)
            self._read = (offset, orjson.loads(self._file.readline()))
        shard = self._read[1]
        assert shard["keys"][position] == key, f"{self.path}: two requests share the first 16 digits of {key}"
        answer = shard["answers"][position]
        return answer if isinstance(answer, str) else Refused(**answer)

    def add(self, answers: Mapping[str, Answer]) -> None:
        """Appends a shard's answers in one line."""
        offset = self._file.seek(0, os.SEEK_END)
        keys = list(answers)
        line = {"keys": keys, "answers": list(answers.values())}
        self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._index(keys, offset)

    def _index(self, keys: Sequence[str], offset: int) -> None:
        for position, key in enumerate(keys):
            self._where[int(key[:16], 16)] = (offset, position)


@dataclass(slots=True)
class _Shard:
    requests: tuple[Request, ...]
    keys: tuple[str, ...]
    names: tuple[str, ...]
    """What answers are found by: with a store the keys, so that equal questions are asked once."""
    asked: dict[str, Request]
    future: Future[Sequence[Answer]] | None
    answers: dict[str, Answer] = field(default_factory=dict)
    """Filled when they arrive; what another shard asked stands there."""

    @property
    def waits(self) -> bool:
        return self.future is not None


def ask(
    requests: Iterable[Request], predictor: Predictor, store: AnswerStore | None
) -> Iterator[tuple[Request, str, Answer]]:
    """Every request with its key and answer, in order; asks only what the store does not hold.

    Args:
        requests: Shards of `SHARD_SIZE` are cut from it.
        store: None: nothing is stored, each shard is asked as it comes.
    """
    window: deque[_Shard] = deque()
    pending: set[str] = set()
    refused: dict[str, Refused] = {}
    with _Executor(predictor.in_flight) as executor:
        for batch in _batched(requests, SHARD_SIZE):
            keys = tuple(r.key(predictor.revision) for r in batch)
            names = keys if store is not None else tuple(map(str, range(len(batch))))
            missing = {
                name: r
                for name, r in zip(names, batch, strict=True)
                if store is None or not (name in pending or name in refused or name in store)
            }
            future = executor.submit(predictor.complete, tuple(missing.values())) if missing else None
            if store is not None:
                pending |= missing.keys()
            window.append(_Shard(requests=batch, keys=keys, names=names, asked=missing, future=future))
            while sum(shard.waits for shard in window) >= predictor.in_flight:
                _collect(window, store, pending, refused)
                yield from _ready(window, store, refused)
        while window:
            _collect(window, store, pending, refused)
            yield from _ready(window, store, refused)


def _collect(
    window: Iterable[_Shard], store: AnswerStore | None, pending: set[str], refused: dict[str, Refused]
) -> None:
    """Waits for one shard at least and stores what has come; if one failed, the others in flight are kept first.

    A refusal is no answer: it is not stored, so that a mended server is asked again.
    """
    waiting = [shard for shard in window if shard.future]
    wait([shard.future for shard in waiting if shard.future], return_when=FIRST_COMPLETED)
    if any(shard.future and shard.future.done() and shard.future.exception() for shard in waiting):
        wait([shard.future for shard in waiting if shard.future])
    failure: BaseException | None = None
    for shard in waiting:
        if shard.future is None or not shard.future.done():
            continue
        failure = failure or shard.future.exception()
        if shard.future.exception() is None:
            answers = shard.future.result()
            assert len(answers) == len(shard.asked), f"{len(answers)} answers to {len(shard.asked)} requests"
            shard.answers = dict(zip(shard.asked, answers, strict=True))
            if store is not None:
                refused |= {name: a for name, a in shard.answers.items() if isinstance(a, Refused)}
                accepted = {name: a for name, a in shard.answers.items() if isinstance(a, str)}
                if accepted:
                    store.add(accepted)
                elif len(store) == 0:
                    failure = failure or _all_refused(shard.answers.values())
                pending -= shard.asked.keys()
        shard.future = None
    if failure:
        raise failure


def _all_refused(answers: Iterable[Answer]) -> PredictionError | None:
    """A server that takes none of its first prompts would take none of the others."""
    said = [a for a in answers if isinstance(a, Refused)]
    if not said or any(a.reason != REFUSED_BY_SERVER for a in said):
        return None
    return PredictionError(
        f"the server refused all of the first {len(said)} prompts ({said[0].detail or 'without a word'}). Check its "
        "limits and --model."
    )


def _ready(
    window: deque[_Shard], store: AnswerStore | None, refused: Mapping[str, Refused]
) -> Iterator[tuple[Request, str, Answer]]:
    """Takes answered shards off the front. A question that an earlier shard asked is answered by then."""
    while window and not window[0].waits:
        shard = window.popleft()
        for request, key, name in zip(shard.requests, shard.keys, shard.names, strict=True):
            if store is None:
                yield request, key, shard.answers[name]
            else:
                yield request, key, refused[key] if key in refused else store[key]


class _Executor:
    """Threads if an engine takes several shards at once, else the caller's own thread."""

    def __init__(self, in_flight: int) -> None:
        self._pool = ThreadPoolExecutor(in_flight) if in_flight > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        interrupted = kind is not None and not issubclass(kind, Exception)
        if self._pool:  # Ctrl-C does not wait for an engine; closing the predictor ends its calls
            self._pool.shutdown(wait=not interrupted, cancel_futures=True)

    def submit(
        self, complete: Callable[[Sequence[Request]], Sequence[Answer]], requests: Sequence[Request]
    ) -> Future[Sequence[Answer]]:
        if self._pool:
            return self._pool.submit(complete, requests)
        done: Future[Sequence[Answer]] = Future()
        done.set_result(complete(requests))
        return done


def _batched(requests: Iterable[Request], size: int) -> Iterator[tuple[Request, ...]]:
    """`itertools.batched` for Python 3.11."""
    iterator = iter(requests)
    while shard := tuple(itertools.islice(iterator, size)):
        yield shard


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
