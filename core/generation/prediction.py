"""A prediction: what a model answered to one instance, as a line of `predictions.jsonl`.

    for prediction in read_predictions(Path("predictions.jsonl")):
        print(prediction.task, prediction.prediction)

Where it sits: predictor -> **prediction** -> score.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import PredictionError
from core.files import read_jsonl
from core.generation.request import Kind, Request


def canonical_name(name: str) -> str:
    """The spelling under which lists name a task: `-` as `_`, cut at the first `.`.

    >>> canonical_name("task1520_qa_srl-1.2_answer_generation")
    'task1520_qa_srl_1'
    """
    return name.replace("-", "_").split(".")[0]


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


_KINDS = {kind.value: kind for kind in Kind}


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
    given = row.get("kind", Kind.GENERATION)
    kind = _KINDS.get(given) if isinstance(given, str) else None
    if kind is None:
        raise PredictionError(f"{where} has kind {given!r}. Use {' or '.join(Kind)}.")
    num_shots = row.get("num_shots", row.get("shots", 0))
    if not isinstance(num_shots, int):
        raise PredictionError(f"{where} has num_shots {num_shots!r}. Give a whole number, or leave it out.")
    return Prediction(
        task=task,
        id=instance_id,
        kind=kind,
        num_shots=num_shots,
        references=tuple(references),
        prediction=text,
        request_sha256=str(row.get("request_sha256", "")),
    )
