"""The suite `tc-eval`: all tasks of TC-Eval that have items, and their averages.

    suite = load_all(Path("tc_eval"), AllParameters(tasks="drcd,ttqa"))

`average` is Taiwan LLM's: the plain mean of seven tasks, each by its runner's metric. It is not run where a task is
missing; `macro` is the same mean over the tasks that are there, `micro` is over all their questions.

`tc_eval_macro` and `tc_eval_micro` are the same by TC-Eval's own metrics, TMMLU by question. They are the ones to read
where prompts did not open the answer for the runner's first character, as with recorded responses.

Where it sits: suites -> **all_tasks** -> scoring.
Source: Table 3 of the paper (Lin and Chen, 2023).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from evaluation.errors import EvaluationError
from evaluation.responses import Prompt, Response
from evaluation.suite import GenerationDefaults, Item, Metric, Outcome, Suite
from evaluation.tc_eval.suites import (
    Drcd,
    Fgc,
    ImdbTc,
    Penguins,
    Prompts,
    TcEvalParameters,
    TcEvalSuite,
    Tmmlu,
    Ttqa,
    XsumTc,
)

TASKS: tuple[type[TcEvalSuite[Any]], ...] = (Drcd, Fgc, Ttqa, Tmmlu, XsumTc, ImdbTc, Penguins)

RUNNER: Mapping[str, str] = {
    "drcd": "contain",
    "fgc": "contain",
    "ttqa": "first_character",
    "tmmlu": "first_character",
    "xsum-tc": "rouge_2",
    "imdb-tc": "first_character",
    "penguins": "first_character",
}
"""Task -> the metric of Taiwan LLM's runner, which the paper's column shows."""

TC_EVAL: Mapping[str, str] = {
    "drcd": "prefix",
    "fgc": "prefix",
    "ttqa": "accuracy",
    "tmmlu": "micro",
    "xsum-tc": "rouge_2",
    "imdb-tc": "accuracy",
    "penguins": "accuracy",
}
"""Task -> TC-Eval's own metric, by question."""

AVERAGE, MACRO, MICRO = "average", "macro", "micro"
OWN_MACRO, OWN_MICRO = "tc_eval_macro", "tc_eval_micro"
TASK = "task"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllParameters(TcEvalParameters):
    """Which tasks, and how they are asked."""

    tasks: str = ""
    """Names, separated by commas. Empty: every task whose items are in the folder."""

    @property
    def names(self) -> list[str]:
        """The tasks that are named.

        Raises:
            EvaluationError: one is unknown.
        """
        names = [name.strip() for name in self.tasks.split(",") if name.strip()]
        for name in names:
            if name not in RUNNER:
                raise EvaluationError(f"tasks={self.tasks}: {name} is no task. Give some of {', '.join(RUNNER)}.")
        return names


class AllTasks(Suite[Item]):
    """Several tasks at once.

    Args:
        suites: Each with its items.
    """

    name: ClassVar[str] = "tc-eval"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(name=AVERAGE, macro_over=TASK),
        Metric(name=MACRO, macro_over=TASK),
        Metric(name=MICRO),
        Metric(name=OWN_MACRO, macro_over=TASK),
        Metric(name=OWN_MICRO),
    )

    def __init__(self, suites: Sequence[TcEvalSuite[Any]], prompts: Prompts = Prompts.TAIWAN_LLM) -> None:
        self._suites = {suite.name: suite for suite in suites}
        self._prompts = prompts
        self._items = [item for suite in suites for item in suite.items()]

    def items(self) -> Sequence[Item]:
        """Task after task."""
        return self._items

    def _of(self, item: Item) -> TcEvalSuite[Any]:
        return self._suites[item.suite.partition("/")[0]]

    def prompt(self, item: Item) -> Prompt:
        """As its task asks it."""
        return self._of(item).prompt(item)

    def reference(self, item: Item) -> str:
        """As its task shows it."""
        return self._of(item).reference(item)

    def part(self, recorded: str) -> str | None:
        """The task that a row belongs to."""
        found = (suite.part(recorded) for suite in self._suites.values())
        return next((part for part in found if part is not None), None)

    def generation(self) -> GenerationDefaults:
        """None: each task has settings of its own.

        Raises:
            EvaluationError: always.
        """
        raise EvaluationError(
            f"{self.name}: each task is generated with settings of its own. Generate {', '.join(self._suites)} one by "
            "one, and put the lines of the files into one."
        )

    def not_run(self) -> Mapping[str, str]:
        """The average where one of the seven is missing; everything where none can be scored."""
        unscored = {name: reason for name, suite in self._suites.items() for reason in self._reasons(suite)}
        missing = [name for name in RUNNER if name not in self._suites or name in unscored]
        if not missing:
            return {}
        why = [f"{name}: {unscored.get(name, 'no items')}" for name in missing]
        reason = f"the mean of seven tasks; missing: {'; '.join(why)}"
        is_nothing_scored = len(unscored) == len(self._suites)
        return {m.name: reason for m in self.metrics if m.name == AVERAGE or is_nothing_scored}

    @staticmethod
    def _reasons(suite: TcEvalSuite[Any]) -> list[str]:
        reason = suite.not_run().get(RUNNER[suite.name])
        return [reason] if reason else []

    def score(self, item: Item, response: Response) -> Sequence[Outcome]:
        """The runner's metric for the averages, TC-Eval's own beside it; by task."""
        suite = self._of(item)
        skipped = self._skipped
        found: list[Outcome] = []
        for outcome in suite.score(item, response):
            by = {TASK: suite.name}
            if outcome.metric == RUNNER[suite.name]:
                prompts = {name: label for name, label in outcome.by.items() if name == "prompts"}
                names = [name for name in (AVERAGE, MACRO, MICRO) if name not in skipped]
                found += [
                    Outcome(metric=name, value=outcome.value, by=by | (prompts if name == MICRO else {}))
                    for name in names
                ]
            if outcome.metric == TC_EVAL[suite.name] and OWN_MICRO not in skipped:
                found += [Outcome(metric=name, value=outcome.value, by=by) for name in (OWN_MACRO, OWN_MICRO)]
        return found

    @cached_property
    def _skipped(self) -> Mapping[str, str]:
        return self.not_run()

    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """Which tasks, by which metric."""
        shown = ", ".join(f"{name} {RUNNER[name]}" for name in self._suites)
        return {"prompts": str(self._prompts), "tasks": shown}


def load_all(path: Path, parameters: AllParameters) -> AllTasks:
    """The suite over a folder.

    Raises:
        EvaluationError: a task that is named has no items there, or none has.
    """
    names = parameters.names
    own = TcEvalParameters(prompts=parameters.prompts)
    kinds = [kind for kind in TASKS if (kind.name in names if names else kind.is_in(path))]
    if not kinds:
        raise EvaluationError(f"{path}: no items of any task in it ({', '.join(RUNNER)}). Give their folder.")
    return AllTasks([kind(path, own) for kind in kinds], parameters.prompts)
