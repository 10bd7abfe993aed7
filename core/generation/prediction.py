"""A prediction: what a model answered to one instance, as a line of `predictions.jsonl`.

    for prediction in read_predictions(Path("predictions.jsonl")):
        print(prediction.task, prediction.prediction)

Where it sits: predictor -> **prediction** -> score.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from core.errors import PredictionError
from core.files import read_jsonl
from core.generation.request import Kind, Request
from core.generation.signals import Signals, signals_of


def canonical_name(name: str) -> str:
    """The spelling of a task's name in lists of tasks: `-` becomes `_`, and the name ends at the first `.`.

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
    """The engine's text up to the stop string; leading white space is kept."""
    request_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPrediction(Prediction):
    """A prediction with the signals of its row."""

    signals: Signals


def prediction_of(request: Request, key: str, text: str, signals: Signals | None = None) -> Prediction:
    """The prediction that is stored for an answered request."""
    prediction = Prediction(
        task=request.task,
        id=request.id,
        kind=request.kind,
        num_shots=request.num_shots,
        references=request.references,
        prediction=text,
        request_sha256=key,
    )
    return prediction if signals is None else _measured(prediction, signals)


def _measured(prediction: Prediction, signals: Signals) -> MeasuredPrediction:
    columns = {field.name: getattr(prediction, field.name) for field in fields(Prediction)}
    return MeasuredPrediction(**columns, signals=signals)


_KINDS = {kind.value: kind for kind in Kind}


def read_predictions(path: Path) -> Iterator[Prediction]:
    """Reads predictions of this tool, or of the form `{task, id | ni_id, references, prediction, [shots], [kind]}`.

    A record without `kind` counts as generation, because ROUGE-L can score any answer.

    Raises:
        PredictionError: a record lacks a field. The message has its number; blank lines are not counted.
    """
    for number, row in enumerate(read_jsonl(path), start=1):
        yield parse_prediction(row, f"{path}: record {number}")


def parse_prediction(row: Mapping[str, object], where: str) -> Prediction:
    """Checks one record and returns it as a prediction.

    Raises:
        PredictionError: it lacks a field. The message begins with `where`.
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
    prediction = Prediction(
        task=task,
        id=instance_id,
        kind=kind,
        num_shots=num_shots,
        references=tuple(references),
        prediction=text,
        request_sha256=str(row.get("request_sha256", "")),
    )
    given_signals = row.get("signals")
    return prediction if given_signals is None else _measured(prediction, _signals(given_signals, where))


def _signals(given: object, where: str) -> Signals:
    try:
        return signals_of(given if isinstance(given, dict) else {})
    except (KeyError, TypeError, ValueError) as e:
        raise PredictionError(
            f"{where} has signals {given!r}. Give num_tokens, loss and loss_alone as numbers, or leave it out."
        ) from e
