"""Computes what another choice would change in a finished run, from its stored predictions, without a model.

    change = Alternatives(curation).change("policies.max_words", parameters)
    change.num_rows, change.moved_tasks

It answers how many rows a preset's choice changes, and how stable the buckets are under another ROUGE, normaliser or
seed.

Where it sits: beside the pipeline. It runs the same stages in a scratch folder with links to the stages that do not
change.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import OnedayError, ScoreError
from core.files import read_as, read_jsonl
from core.generation.none import NoPredictor
from core.generation.prediction import Prediction, read_predictions
from core.generation.replay import NO_STORED_PREDICTION, ReplayPredictor
from core.generation.request import Answer, Kind, Request
from core.generation.signals import Signals
from core.run_folder import CURATION, PREDICTIONS, SAMPLES, SCORES
from core.score import EmptyRule, Normaliser, Rouge, RougeText, ScoreParameters, read_scores, rouge_l_scorer, score
from core.stage import INPUTS, SUMMARY, Summary
from curation.asking.rounds import with_rounds
from curation.ni.bucket import BucketParameters, TaskBucket, bucket_tasks, generation_bucket, read_buckets
from curation.preset import CurationParameters, differences, with_choice
from curation.stages.context import Curation, asks_anything
from curation.stages.predictions import predict_stage
from curation.stages.samples import ROWS, sample_stage
from curation.stages.scores import score_stage
from curation.stages.tasks import select_stage

NEEDS_MODEL = ("prompts.",)
"""Choices that decide the prompts, so that stored predictions cannot be used."""


class Stored:
    """Replays the predictions of a run, with the revision of the model that made them."""

    in_flight = 1
    keeps_answers = False

    def __init__(self, run: Path) -> None:
        self._replay = ReplayPredictor([run / PREDICTIONS / "predictions.jsonl"])
        self._revision = read_as(str, run / PREDICTIONS / INPUTS, key="model")

    @property
    def revision(self) -> str:
        """The model's revision, so that unchanged stages count as finished."""
        return self._revision

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Stored predictions fit any prompt."""
        return True

    def complete(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """The stored answers."""
        return self._replay.complete(requests)

    def signals(self, requests: Sequence[Request]) -> Sequence[Signals | None]:
        """The stored signals."""
        return self._replay.signals(requests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The effect of another choice."""

    what: str
    num_rows: int | None
    """Number of rows that only one of the two mixes has, the larger of the two; None: it cannot be computed."""
    moved_tasks: tuple[str, ...] = ()
    """Exact-match tasks in another bucket."""
    moved_share: float = 0.0
    """Share of generated answers in another bucket."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    rows: frozenset[tuple[str, str, int]]
    """Source, id and hash of the texts of each row."""
    tasks: Mapping[str, int]
    answers: Mapping[tuple[str, str], int]


class Alternatives:
    """Computes variants of a finished run.

    Args:
        curation: The curation that made the run. Its predictor is not used.
    """

    def __init__(self, curation: Curation) -> None:
        predictor = Stored(curation.run) if asks_anything(curation) else NoPredictor()
        as_made = replace(curation, predictor=predictor, redo=False)
        as_made, _ = with_rounds(as_made, select_stage(as_made))
        _sampled(as_made)  # raises StageError if the run was made with other options
        self._curation = replace(as_made, redo=True)
        self._as_is = self._outcome(curation.run, curation.parameters.buckets)

    @property
    def parameters(self) -> CurationParameters:
        """Of the run, with the number of rounds that it asked."""
        return self._curation.parameters

    def changes(self, other: CurationParameters) -> Iterator[Change]:
        """The change for each single choice in which `other` differs."""
        mine = self._curation.parameters
        for difference in differences(mine, other):
            if difference.key.startswith(NEEDS_MODEL):
                yield Change(what=difference.key, num_rows=None, note="decides what is asked: needs the model")
            elif difference.key.startswith("split."):
                yield Change(what=difference.key, num_rows=None, note="which rows validate, not which are taken")
            else:
                yield self.change(difference.key, with_choice(mine, difference.key, other))

    def change(self, what: str, parameters: CurationParameters) -> Change:
        """The change if the run had these parameters."""
        with tempfile.TemporaryDirectory(prefix="oneday-") as scratch:
            run = Path(scratch)
            for name in CURATION[:-1]:
                (run / name).symlink_to((self._curation.run / name).resolve(), target_is_directory=True)
            curation = replace(self._curation, run=run, parameters=parameters, on_progress=lambda *_: None)
            try:
                _sampled(curation)
            except OnedayError as e:
                return Change(what=what, num_rows=None, note=str(e))
            unanswered = _num_unanswered(run) - _num_unanswered(self._curation.run)
            if unanswered > 0:
                return Change(what=what, num_rows=None, note=f"asks {unanswered:,} more instances: needs the model")
            outcome = self._outcome(run, parameters.buckets)
        return _compare(what, self._as_is, outcome)

    @staticmethod
    def _outcome(run: Path, buckets: BucketParameters) -> _Outcome:
        return _Outcome(
            rows=frozenset(
                (row["source"], row["id"], hash((row["instruction"], row["input"], row["output"])))
                for row in read_jsonl(run / SAMPLES / ROWS)
            ),
            tasks={b.task: b.bucket for b in read_buckets(run / SCORES / "buckets.jsonl") if b.bucket is not None},
            answers={
                (s.task, s.id): generation_bucket(s.score, buckets)
                for s in read_scores(run / SCORES / "scores.jsonl")
                if s.kind is Kind.GENERATION
            },
        )


def _sampled(curation: Curation) -> None:
    """Runs the stages up to the samples."""
    chosen = select_stage(curation)
    sample_stage(curation, chosen, score_stage(curation, predict_stage(curation, chosen)))


def _num_unanswered(run: Path) -> int:
    tally = read_as(Summary, run / PREDICTIONS / SUMMARY).tallies["instance"]
    return tally.dropped.get(NO_STORED_PREDICTION, 0)


def _compare(what: str, a: _Outcome, b: _Outcome) -> Change:
    moved = tuple(sorted(task for task in a.tasks.keys() & b.tasks.keys() if a.tasks[task] != b.tasks[task]))
    both = a.answers.keys() & b.answers.keys()
    moved_answers = sum(a.answers[key] != b.answers[key] for key in both)
    return Change(
        what=what,
        num_rows=max(len(a.rows - b.rows), len(b.rows - a.rows)),
        moved_tasks=moved,
        moved_share=moved_answers / len(both) if both else 0.0,
    )


def variants(parameters: CurationParameters) -> Iterator[tuple[str, CurationParameters]]:
    """Parameters with one other normaliser, ROUGE, text, rule for empty answers, or seed."""
    for name, scores in score_variants(parameters.scores):
        yield name, replace(parameters, scores=scores)
    for seed in (parameters.samples.seed + 1, parameters.samples.seed + 2):
        yield f"draw with seed {seed}", replace(parameters, samples=replace(parameters.samples, seed=seed))


def score_variants(scores: ScoreParameters) -> Iterator[tuple[str, ScoreParameters]]:
    """Score parameters with one choice changed."""
    yield from ((f"normaliser {n}", replace(scores, normaliser=n)) for n in Normaliser if n is not scores.normaliser)
    yield from ((f"rouge {r}", replace(scores, rouge=r)) for r in Rouge if r is not scores.rouge)
    yield from ((f"rouge text {t}", replace(scores, rouge_text=t)) for t in RougeText if t is not scores.rouge_text)
    yield from ((f"empty scores {e}", replace(scores, empty=e)) for e in EmptyRule if e is not scores.empty)


def stored_changes(path: Path, scores: ScoreParameters, buckets: BucketParameters) -> Iterator[Change]:
    """Changes from a file of predictions: buckets under other scores and, if the file has several, numbers of shots.

    Shots are compared within one task: the most frequent number of shots against each other number.
    """
    predictions = sorted(read_predictions(path), key=lambda p: (p.task, p.kind, p.num_shots, p.id))
    as_is = _scored(predictions, scores, buckets)
    for name, variant in score_variants(scores):
        try:
            other = _scored(predictions, variant, buckets)
        except ScoreError as e:
            yield Change(what=name, num_rows=None, note=str(e))
            continue
        yield _compare(name, as_is, other)
    for task in sorted({p.task for p in predictions}):
        yield from _shot_changes([p for p in predictions if p.task == task], scores, buckets)


def _shot_changes(
    predictions: Sequence[Prediction], scores: ScoreParameters, buckets: BucketParameters
) -> Iterator[Change]:
    by_shots: dict[int, list[Prediction]] = {}
    for p in predictions:
        by_shots.setdefault(p.num_shots, []).append(p)
    usual = max(by_shots, key=lambda k: (len(by_shots[k]), k))
    as_is = _scored(by_shots[usual], scores, buckets, with_shots=False)
    for shots, part in sorted(by_shots.items()):
        if shots != usual:
            other = _scored(part, scores, buckets, with_shots=False)
            both = len(as_is.answers.keys() & other.answers.keys())
            change = _compare(f"{predictions[0].task}: {shots} shots for {usual}", as_is, other)
            yield replace(change, num_rows=None, note=f"{both} instances asked both ways")


def _scored(
    predictions: Sequence[Prediction], scores: ScoreParameters, buckets: BucketParameters, *, with_shots: bool = True
) -> _Outcome:
    rouge_l = rouge_l_scorer(scores)
    scored = [score(p, scores, rouge_l) for p in predictions]
    tasks: list[TaskBucket] = bucket_tasks(scored, buckets)
    shots = [f"#{p.num_shots}" if with_shots else "" for p in predictions]
    return _Outcome(
        rows=frozenset(),
        tasks={b.task: b.bucket for b in tasks if b.bucket is not None},
        answers={
            (s.task, s.id + k): generation_bucket(s.score, buckets)
            for s, k in zip(scored, shots, strict=True)
            if s.kind is Kind.GENERATION
        },
    )
