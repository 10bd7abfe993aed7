"""The folder of a study: what is finished lies in it by identity, so that the same command goes on.

    runs/finnish/
      study.json          the study as it was resolved            ledger.jsonl   where the budget went, by account
      data/KEY/           the rows of a stage                     state.json     what is done, runs, waits or failed
      trainings/ID/       run folders; trained.json when done     results.json   arms, metrics, selections, paper
      responses/ID/       responses; scores.json when scored      report.html
      clocks/N.jsonl      of each GPU of a cluster                questions/     about the tasks that data hold out

Where it sits: below the loop (run.py), `oneday watch` and `oneday report`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from core.files import file_sha256, read_as, read_json, write_json
from core.run_folder import OUTPUT, TRAIN
from harness.checkpoint.seal import share_saved
from studies.errors import LinkError, StudyError
from studies.graph import Generation
from studies.identity import cut_identity, digest
from studies.running.runner import Responses, Trained, Weights
from studies.selection import MetricRow

STUDY, STATE, RESULTS, LEDGER = "study.json", "state.json", "results.json", "ledger.jsonl"
TRAININGS, RESPONSES = "trainings", "responses"
TRAINED, GENERATED, SCORES, SPEED = "trained.json", "generated.json", "scores.json", "speed.json"
PAUSED, RACES = "paused.json", "races.json"
SHORT = 16
"""Characters of an identity that name a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRecord:
    """What stands in `trained.json`. Nothing in it depends on how long something took."""

    identity: str
    """Of these weights; of a training that was cut, not that of the whole one."""
    planned: str
    """The identity that was to be trained."""
    parent: str
    """Hash of the weights that it started from; empty: the base."""
    weights: str
    """Folder, relative to the study's."""
    sha256: str
    step: int
    of_steps: int
    eval_loss: float | None
    stopped: str = ""
    """Why it ended before its declared length; empty: it did not."""

    @property
    def is_whole(self) -> bool:
        """Whether it has its declared length."""
        return not self.stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class _Speed:
    tokens_per_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    scoring: str
    """As in the graph's generation."""
    rows: tuple[MetricRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Generated:
    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFolder:
    """A study's folder."""

    path: Path

    def training(self, identity: str) -> Path:
        """Where a training runs."""
        return self.path / TRAININGS / identity[:SHORT]

    def responses(self, identity: str) -> Path:
        """Where responses are generated."""
        return self.path / RESPONSES / identity[:SHORT]

    def claim(self, study: str, resolved: object) -> None:
        """Records the study; refuses a folder that holds another one.

        Raises:
            StudyError: it does.
        """
        path = self.path / STUDY
        if path.is_file() and (found := read_as(str, path, key="study")) != study:
            raise StudyError(f"{self.path}: holds the study {found}. Give {study} a folder of its own with `run=`.")
        write_json(path, resolved)

    def trained(self, identity: str) -> TrainedRecord | None:
        """The finished training; None: it is not finished.

        Raises:
            StudyError: the folder belongs to another training.
        """
        path = self.training(identity) / TRAINED
        if not path.is_file():
            return None
        record = read_as(TrainedRecord, path)
        if record.planned != identity:
            raise StudyError(f"{path}: is of another training ({record.planned[:SHORT]}). Remove its folder.")
        return record

    def finish_training(self, identity: str, trained: Trained, *, parent: str, stopped: str = "") -> None:
        """Records a finished training, last of all: what has no record is gone on with."""
        ended = "diverged after" if trained.diverged else "cut at"
        why = stopped or (f"{ended} step {trained.step} of {trained.of_steps}" if trained.is_cut else "")
        record = TrainedRecord(
            identity=cut_identity(identity, trained.step) if why else identity,
            planned=identity,
            parent=parent,
            weights=str(trained.weights.path.relative_to(self.path)),
            sha256=trained.weights.sha256,
            step=trained.step,
            of_steps=trained.of_steps,
            eval_loss=trained.eval_loss,
            stopped=why,
        )
        write_json(self.training(identity) / TRAINED, asdict(record))

    def share_saved(self, identity: str) -> float:
        """How much of its steps an interrupted training need not do again, in [0, 1]."""
        return share_saved(self.training(identity) / TRAIN / OUTPUT)

    def paused(self, identity: str) -> Trained | None:
        """The training that stopped where it was told to; None: it did not."""
        path = self.training(identity) / PAUSED
        if not path.is_file():
            return None
        paused = read_as(Trained, path)
        where = self.path / paused.weights.path
        return replace(paused, weights=Weights(path=where, sha256=paused.weights.sha256))

    def note_paused(self, identity: str, trained: Trained) -> None:
        """Records that a training stopped where it was told to."""
        relative = {"path": str(trained.weights.path.relative_to(self.path)), "sha256": trained.weights.sha256}
        write_json(self.training(identity) / PAUSED, {**asdict(trained), "weights": relative})

    def race(self, arm: str) -> dict[str, str] | None:
        """Identity -> why it was stopped, of the candidates that lost the race of an arm's sweep; None: not raced."""
        path = self.path / RACES
        return read_as(dict[str, dict[str, str]], path).get(arm) if path.is_file() else None

    def finish_race(self, arm: str, stopped: Mapping[str, str]) -> None:
        """Records a race."""
        path = self.path / RACES
        before = read_as(dict[str, dict[str, str]], path) if path.is_file() else {}
        write_json(path, {**before, arm: dict(stopped)})

    def weights(self, record: TrainedRecord) -> Weights:
        """The weights of a finished training, as they are on the disk.

        Raises:
            LinkError: they are not what the training wrote.
        """
        path = self.path / record.weights
        found = weights_sha256(path)
        if found != record.sha256:
            raise LinkError(
                f"{path}: changed since it was trained ({found[:SHORT]} instead of {record.sha256[:SHORT]}). Restore "
                f"it, or remove {self.training(record.planned)} to train it again."
            )
        return Weights(path=path, sha256=found)

    def generated(self, identity: str) -> Responses | None:
        """The finished responses; None: they are not.

        Raises:
            LinkError: they were changed.
        """
        path = self.responses(identity) / GENERATED
        if not path.is_file():
            return None
        record = read_as(_Generated, path)
        if file_sha256(self.path / record.path) != record.sha256:
            raise LinkError(f"{record.path}: changed since it was generated. Restore it, or remove {path.parent}.")
        return Responses(path=self.path / record.path, sha256=record.sha256)

    def finish_generation(self, identity: str, responses: Responses) -> None:
        """Records finished responses."""
        relative = str(responses.path.relative_to(self.path))
        write_json(self.responses(identity) / GENERATED, {"path": relative, "sha256": responses.sha256})

    def scores(self, generation: Generation) -> Sequence[MetricRow] | None:
        """The metrics of scored responses; None: they are not scored, or by something else."""
        path = self.responses(generation.identity) / SCORES
        if not path.is_file():
            return None
        record = read_as(_Scored, path)
        return record.rows if record.scoring == generation.scoring else None

    def finish_scores(self, generation: Generation, rows: Sequence[MetricRow]) -> None:
        """Records metrics."""
        record = _Scored(scoring=generation.scoring, rows=tuple(rows))
        write_json(self.responses(generation.identity) / SCORES, asdict(record))

    def speed(self, folder: Path) -> float | None:
        """Tokens per second of what was done in a folder."""
        path = folder / SPEED
        return read_as(_Speed, path).tokens_per_s if path.is_file() else None

    def note_speed(self, folder: Path, tokens_per_s: float | None) -> None:
        """Records it beside the result, of which it is no part."""
        write_json(folder / SPEED, {"tokens_per_s": tokens_per_s})


def weights_sha256(folder: Path) -> str:
    """One hash over the names and contents of all files of a folder.

    Of JSON files the values count: a set that was written as a list comes in another order from every process. The
    path of an adapter's base does not count, for the link to it is its hash.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest({path.relative_to(folder).as_posix(): _content_sha256(path) for path in files})


def _content_sha256(path: Path) -> str:
    return digest(_ordered(read_json(path))) if path.suffix == ".json" else file_sha256(path)


_PATHS = ("base_model_name_or_path", "_name_or_path")


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(inner) for key, inner in value.items() if key not in _PATHS}
    if isinstance(value, list):
        return sorted(value) if all(isinstance(inner, str) for inner in value) else list(map(_ordered, value))
    return value
