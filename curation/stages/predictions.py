"""02_predictions: the base model answers every chosen instance, few-shot."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from core.errors import MixError, PredictionError
from core.files import read_jsonl
from core.generation.answer_store import AnswerStore
from core.generation.ask import ask
from core.generation.prediction import Prediction, prediction_of
from core.generation.replay import NO_STORED_PREDICTION
from core.generation.request import REFUSED_BY_SERVER, Kind, Refused, Request
from core.generation.signals import Asked as AskedRequest
from core.generation.signals import SignalPredictor, Signals, SignalStore, with_signals
from core.run_folder import PREDICTIONS
from core.stage import Dropped, Stage, Summary
from curation.asking.adaptive import TaskProgress
from curation.asking.rounds import Asked, AskingDetails, adaptive_inputs, ask_rounds
from curation.ni.few_shot import build_requests
from curation.ni.instances import INSTANCES, InstanceStore
from curation.ni.select import SelectedTask, own_name, read_selected
from curation.ni.task import Instance
from curation.stages.context import ANSWERS, SIGNALS, Curation
from curation.stages.measured import Measured, MeasuredDetails

_MENDS = {
    "prompt_too_long": "Pass `prompts.max_shots=0`, or a base with a longer context.",
    NO_STORED_PREDICTION: "Check that task and id of `predictions=` are those of `tasks=`.",
    REFUSED_BY_SERVER: "Check the predictor: the server's log says why.",
}
"""Reason -> how to correct it; used for the reason of most instances."""

POPULATIONS = "populations.jsonl"
"""A `Population` for each task that was asked adaptively."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """How far a task was asked."""

    task: str
    instances: int
    asked: int
    usable: int
    """Rows that may be trained on, before policies and duplicates."""
    risk: float
    """Probability that an exact-match task's bucket would be another one if all were asked."""
    reason: str
    """Why the other instances were not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionsDetails:
    """What the stage's `summary.json` says besides its tallies."""

    requests_by_num_shots: Mapping[str, int]
    asking: AskingDetails | None
    """None: every instance was asked."""
    signals: MeasuredDetails | None = None
    """None: none were measured."""


def read_populations(path: Path) -> Iterator[Population]:
    """The records of `populations.jsonl`; none if there is no such file."""
    return (Population(**row) for row in (read_jsonl(path) if path.is_file() else ()))


def predict_stage(curation: Curation, chosen: Stage, asked: Asked | None = None) -> Stage:
    """Asks the base what is not answered yet, and writes the predictions.

    Args:
        asked: What `with_rounds` asked.

    Raises:
        MixError: nothing is answered.
        PredictionError: the engine is gone, or cannot measure the signals that are wanted.
    """
    parameters = curation.parameters
    inputs = {
        "tasks": chosen.output_digest(),
        "prompts": parameters.fingerprint()["prompts"],
        "model": curation.predictor.revision,
        "adaptive": adaptive_inputs(curation),
        "take_all": parameters.samples.take_all,
        "control": parameters.samples.control,
        **({"signals": True} if parameters.signals else {}),
    }
    stage = curation.stage(PREDICTIONS, inputs)
    if stage.is_done:
        return stage
    keeps = curation.predictor.keeps_answers
    with (
        AnswerStore(curation.run / ANSWERS) if keeps else nullcontext() as store,
        SignalStore(curation.run / SIGNALS) if keeps and parameters.signals else nullcontext() as signals,
    ):
        if curation.parameters.adaptive is not None and asked is None:
            asked = ask_rounds(curation, chosen, store)
        return _Predicting(curation, chosen, stage, store, asked, signals).run()


def _populations(asked: Asked) -> Iterator[Population]:
    for t in asked.tasks:
        yield Population(
            task=t.task, instances=len(t.order), asked=t.num_asked, usable=t.num_usable,
            risk=0.0 if t.kind is Kind.GENERATION else t.risk, reason=asked.reason(t) if t.num_left else "",
        )  # fmt: skip


class _Predicting:
    """One run of the stage."""

    def __init__(
        self, curation: Curation, chosen: Stage, stage: Stage, store: AnswerStore | None, asked: Asked | None,
        signals: SignalStore | None,
    ) -> None:  # fmt: skip
        self.curation, self.chosen, self.stage, self.store, self.asked = curation, chosen, stage, store, asked
        self.instances = InstanceStore(chosen.path(INSTANCES))
        self.total = sum(s.block.num_instances for s in self._selected())
        self.done = 0
        self.num_ahead = 0
        """Answers that were given and stored, of requests that are not counted yet."""
        self.num_shots: Counter[str] = Counter()
        self.signals = signals
        self.measured = Measured() if curation.parameters.signals else None

    def run(self) -> Stage:
        progress = self.asked.tasks if self.asked else ()
        if self.asked:
            self.stage.write_rows(POPULATIONS, _populations(self.asked))
        kept = self.stage.write_rows("predictions.jsonl", self._predictions({t.task: t for t in progress}))
        if kept == 0 and self.total:
            self.stage.give_up()
            raise MixError(self._why_none())
        if kept and self.measured and not self.measured.num:
            self.stage.give_up()
            raise PredictionError(
                "`signals=true`: no stored prediction holds signals. Curate once with `predictor=transformers`."
            )
        details = PredictionsDetails(
            requests_by_num_shots=dict(sorted(self.num_shots.items())),
            asking=self.asked.details() if self.asked else None,
            signals=self.measured.details() if self.measured else None,
        )
        tally = self.stage.tally("instance", read=self.total, kept=kept)
        self.stage.finish(Summary(tallies={"instance": tally}, details=details))
        return self.stage

    def _why_none(self) -> str:
        """The reasons for which all instances were left out, and how to correct the most frequent one."""
        reasons = {reason: n for (_, reason), n in self.stage.num_dropped.most_common()}
        told = ", ".join(f"{n:,} {reason}" for reason, n in reasons.items())
        mend = _MENDS.get(next(iter(reasons), ""), "Check the predictor.")
        return f"none of {self.total} instances has a prediction ({told}; each in {self.stage.directory}). {mend}"

    def _selected(self) -> Iterator[SelectedTask]:
        """The tasks that the base is asked about; see `SampleParameters.asks`."""
        samples = self.curation.parameters.samples
        for selected in read_selected(self.chosen.path("tasks.jsonl")):
            if samples.asks(is_own=own_name(selected.categories) is not None):
                yield selected

    def _predictions(self, progress: Mapping[str, TaskProgress]) -> Iterator[Prediction]:
        """Every prediction, in the order of tasks and instances. Instances without one are dropped."""

        def requests() -> Iterator[Request]:
            for selected in self._selected():
                instances = self.instances.read(selected.block)
                if selected.name in progress:
                    instances = self._without_unasked(instances, progress[selected.name])
                for request in self._requests(selected, instances, self._drop_record):
                    self.num_shots[str(request.num_shots)] += 1
                    yield request

        asked = ask(requests(), self.curation.predictor, self.store, on_answered=self._count_ahead)
        for (request, key, answer), signals in self._with_signals(asked):
            self.num_ahead = max(0, self.num_ahead - 1)
            if isinstance(answer, Refused):
                self._drop(request.id, answer.reason, request.task, answer.detail)
            else:
                if self.measured:
                    self.measured.add(signals)
                yield prediction_of(request, key, answer, signals)
            self._count(1)

    def _with_signals(self, asked: Iterable[AskedRequest]) -> Iterator[tuple[AskedRequest, Signals | None]]:
        predictor = self.curation.predictor
        if self.measured is None:
            return ((one, None) for one in asked)
        assert isinstance(predictor, SignalPredictor), "`Curation` refuses others"
        return with_signals(asked, predictor, predictor.revision, self.signals)

    def _without_unasked(self, instances: Iterable[Instance], task: TaskProgress) -> Iterator[Instance]:
        """The instances that were asked; the others are dropped with the reason."""
        assert self.asked is not None
        asked_ids, reason = set(task.order[: task.num_asked]), self.asked.reason(task)
        for instance in instances:
            if instance.id in asked_ids:
                yield instance
            else:
                self._drop(instance.id, reason, task.task)
                self._count(1)

    def _requests(
        self, selected: SelectedTask, instances: Iterable[Instance], drop: Callable[[Dropped], None]
    ) -> Iterator[Request]:
        parameters, fits = self.curation.parameters.prompts, self.curation.predictor.fits
        return build_requests(selected, selected.kind, instances, parameters, fits, drop)

    def _drop(self, instance: str, reason: str, task: str, detail: str = "") -> None:
        self._drop_record(Dropped(unit="instance", id=instance, reason=reason, detail=detail, source=task))

    def _drop_record(self, record: Dropped) -> None:
        self.stage.drop(record)

    def _count(self, num: int) -> None:
        self.done += num
        if self.done % 64 == 0 or self.done >= self.total:
            self.curation.on_progress(PREDICTIONS, self.done, self.total)

    def _count_ahead(self, num: int) -> None:
        """Shows answers as they come: 128 of them may take a quarter of an hour on a CPU."""
        self.num_ahead += num
        self.curation.on_progress(PREDICTIONS, min(self.done + self.num_ahead, self.total), self.total)
