"""02_predictions: the base model answers every chosen instance, few-shot."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from core.errors import MixError
from core.files import read_jsonl
from core.generation.answer_store import AnswerStore
from core.generation.ask import ask
from core.generation.prediction import Prediction, prediction_of
from core.generation.replay import NO_STORED_PREDICTION
from core.generation.request import REFUSED_BY_SERVER, Kind, Refused, Request
from core.run_folder import PREDICTIONS
from core.score import rouge_l_scorer, score
from core.stage import Dropped, Stage, Summary
from curation.candidate import is_solved
from curation.ni.adaptive import Progress, ask_adaptively, shuffled
from curation.ni.few_shot import build_requests
from curation.ni.instances import INSTANCES, InstanceStore
from curation.ni.select import SelectedTask, own_name, read_selected
from curation.ni.task import Instance
from curation.sources.source import NI_EXACT_MATCH
from curation.stages.context import ANSWERS, Curation

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
    """How many instances of a task were asked."""

    task: str
    instances: int
    asked: int


def read_populations(path: Path) -> Iterator[Population]:
    """The records of `populations.jsonl`; none if there is no such file."""
    return (Population(**row) for row in (read_jsonl(path) if path.is_file() else ()))


def predict_stage(curation: Curation, chosen: Stage) -> Stage:
    """Raises `MixError` if nothing is answered, `PredictionError` if the engine is gone."""
    parameters = curation.parameters
    inputs = {
        "tasks": chosen.output_digest(),
        "prompts": parameters.fingerprint()["prompts"],
        "model": curation.predictor.revision,
        "adaptive": _adaptive_inputs(curation),
        "take_all": parameters.samples.take_all,
        "control": parameters.samples.control,
    }
    stage = curation.stage(PREDICTIONS, inputs)
    if stage.is_done:
        return stage
    keeps = curation.predictor.keeps_answers
    with AnswerStore(curation.run / ANSWERS) if keeps else nullcontext() as store:
        return _Asking(curation, chosen, stage, store).run()


def _adaptive_inputs(curation: Curation) -> object:
    """Everything that decides when asking a task stops; None if every instance is asked."""
    if curation.parameters.adaptive is None:
        return None
    fingerprint = curation.parameters.fingerprint()
    names = ("adaptive", "scores", "buckets", "samples", "seed")
    return {**{name: fingerprint[name] for name in names}, "target": curation.targets.get(NI_EXACT_MATCH, 0)}


class _Asking:
    """One run of the stage."""

    def __init__(self, curation: Curation, chosen: Stage, stage: Stage, store: AnswerStore | None) -> None:
        self.curation, self.chosen, self.stage, self.store = curation, chosen, stage, store
        self.instances = InstanceStore(chosen.path(INSTANCES))
        self.total = sum(s.block.num_instances for s in self._selected())
        self.done = 0
        self.doing = PREDICTIONS
        self.num_shots: Counter[str] = Counter()

    def run(self) -> Stage:
        certain = self._ask_adaptively() if self.curation.parameters.adaptive else {}
        kept = self.stage.write_rows("predictions.jsonl", self._predictions(certain))
        if kept == 0 and self.total:
            self.stage.give_up()
            raise MixError(self._why_none())
        details = {"requests_by_num_shots": dict(sorted(self.num_shots.items()))}
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

    def _predictions(self, asked_of: Mapping[str, Collection[str]]) -> Iterator[Prediction]:
        """Every prediction, in the order of tasks and instances. Instances without one are dropped."""
        self.done, self.doing = 0, PREDICTIONS

        def requests() -> Iterator[Request]:
            for selected in self._selected():
                instances = self.instances.read(selected.block)
                if selected.name in asked_of:
                    instances = self._without_certain(selected.name, instances, asked_of[selected.name])
                for request in self._requests(selected, instances, self._drop_record):
                    self.num_shots[str(request.num_shots)] += 1
                    yield request

        for request, key, answer in ask(requests(), self.curation.predictor, self.store):
            if isinstance(answer, Refused):
                self._drop(request.id, answer.reason, request.task, answer.detail)
            else:
                yield prediction_of(request, key, answer)
            self._count(1)

    def _without_certain(self, task: str, instances: Iterable[Instance], asked: Collection[str]) -> Iterator[Instance]:
        """The instances that were asked; the others are dropped, because the task's bucket is certain without them."""
        for instance in instances:
            if instance.id in asked:
                yield instance
            else:
                self._drop(instance.id, "bucket_certain", task)

    def _requests(
        self, selected: SelectedTask, instances: Iterable[Instance], drop: Callable[[Dropped], None]
    ) -> Iterator[Request]:
        parameters, fits = self.curation.parameters.prompts, self.curation.predictor.fits
        return build_requests(selected, selected.kind, instances, parameters, fits, drop)

    def _drop(self, instance: str, reason: str, task: str, detail: str = "") -> None:
        self._drop_record(Dropped(unit="instance", id=instance, reason=reason, detail=detail, source=task))
        if reason == "bucket_certain":
            self._count(1)

    def _drop_record(self, record: Dropped) -> None:
        self.stage.drop(record)

    def _count(self, num: int) -> None:
        self.done += num
        if self.done % 64 == 0 or self.done >= self.total:
            self.curation.on_progress(self.doing, self.done, self.total)

    def _ask_adaptively(self) -> dict[str, set[str]]:
        """Asks exact-match tasks until their buckets are certain. Returns the ids of the instances asked, by task."""
        parameters = self.curation.parameters
        assert parameters.adaptive is not None
        ni_tasks = (s for s in self._selected() if s.kind is Kind.EXACT_MATCH and own_name(s.categories) is None)
        selected = {s.name: s for s in ni_tasks}
        offsets = {name: self.instances.offsets(s.block) for name, s in selected.items()}
        tasks = [
            Progress(task=name, order=shuffled(list(offsets[name]), seed=parameters.seed, task=name))
            for name in selected
        ]
        rounds = ask_adaptively(
            tasks,
            lambda chunks: self._look({selected[t]: [offsets[t][i] for i in ids] for t, ids in chunks.items()}),
            target=self.curation.targets.get(NI_EXACT_MATCH, 0),
            samples=parameters.samples,
            buckets=parameters.buckets,
            parameters=parameters.adaptive,
        )
        self.doing = f"{PREDICTIONS} rounds"
        for num in rounds:
            self._count(num)
        populations = (Population(task=t.task, instances=len(t.order), asked=t.num_asked) for t in tasks)
        self.stage.write_rows(POPULATIONS, populations)
        return {t.task: set(t.order[: t.num_asked]) for t in tasks}

    def _look(self, chunks: Mapping[SelectedTask, Sequence[int]]) -> dict[str, list[tuple[bool, bool]]]:
        """Asks instances of all tasks together. Returns (right, usable) for each; without an answer, both are False.

        Args:
            chunks: Task -> offsets of instances.
        """
        parameters = self.curation.parameters
        rouge_l = rouge_l_scorer(parameters.scores)
        results: dict[str, list[tuple[bool, bool]]] = {task.name: [] for task in chunks}
        requests = (
            request
            for task, offsets in chunks.items()
            for request in self._requests(task, self.instances.at(offsets), lambda dropped: None)
        )
        for request, key, answer in ask(requests, self.curation.predictor, self.store):
            if isinstance(answer, Refused):
                continue
            value = score(prediction_of(request, key, answer), parameters.scores, rouge_l).score
            results[request.task].append((is_solved(Kind.EXACT_MATCH, value, parameters.candidates), True))
        for task, offsets in chunks.items():
            results[task.name] += [(False, False)] * (len(offsets) - len(results[task.name]))
        return results
