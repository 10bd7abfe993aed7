"""Stored predictions instead of a model: re-bucketing without a GPU.

A record is found by (task, id). Task names are compared canonically, and v1's `subtask003_x` is `task003_x`.
"""

from collections.abc import Sequence
from pathlib import Path

from curation.errors import PredictionError
from curation.predict import Prediction, Request, read_predictions
from curation.stage import file_sha256
from curation.task import canonical_name


class ReplayPredictor:
    """Answers from a file of predictions.

    Args:
        path: JSON lines as `curation.predict.read_predictions` takes them. Where one (task, id) occurs more than
            once (several numbers of shots), the record with most shots answers, the first of equals.
    Raises:
        PredictionError: the file is empty or a record lacks a field.
    """

    def __init__(self, path: Path) -> None:
        self._by_id: dict[tuple[str, str], Prediction] = {}
        for prediction in read_predictions(path):
            key = (_v2_name(prediction.task), prediction.id)
            known = self._by_id.get(key)
            if known is None or prediction.num_shots > known.num_shots:
                self._by_id[key] = prediction
        if not self._by_id:
            raise PredictionError(
                f"{path}: no prediction in it. --predictor replay needs a file of stored predictions."
            )
        self._revision = f"replay:{file_sha256(path)}"

    @property
    def revision(self) -> str:
        """The hash of the replayed file."""
        return self._revision

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Nothing is too long to be looked up."""
        return True

    def complete(self, requests: Sequence[Request]) -> list[str | None]:
        """The stored answers; None where there is none."""
        found = (self._by_id.get((canonical_name(r.task), r.id)) for r in requests)
        return [prediction.prediction if prediction else None for prediction in found]


def _v2_name(task: str) -> str:
    return canonical_name(task.removeprefix("sub"))
