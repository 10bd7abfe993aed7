"""Generates and scores for a study: `oneday generate` and `oneday evaluate`, in processes that end at the deadline."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from core.files import file_sha256, make_folder, read_as
from evaluation.difference import LANGUAGE
from evaluation.errors import EvaluationError
from evaluation.scoring import Figure, Scores
from evaluation.suite import Template as Asks
from evaluation.suites import load_suite
from harness.data.template import Template
from harness.ledger.account import Account
from oneday.bounded_process import run_within
from oneday.commands.evaluation.asked_model import template_of_run
from oneday.commands.evaluation.evaluate import SCORES, run_evaluate
from oneday.display.console import Console
from oneday.requests.evaluating import EvaluateRequest, GenerateRequest
from oneday.requests.request import Request
from studies.errors import StudyError
from studies.running.runner import GenerationWork, Responses
from studies.selection import ALL, MetricRow
from studies.study import Suite

RESPONSES, ITEMS = "responses.jsonl", "items"
GENERATE = "oneday.commands.evaluation.generate:run_generate"
EVALUATE = "oneday.commands.studying.evaluator:score_within"


class CommandEvaluator:
    """Runs the commands."""

    def not_run(self, suite: Suite, items: Path) -> str:
        """Why a suite cannot be run here; empty: it can."""
        if not items.exists():
            return f"its items are not here: {items}"
        try:
            for score in suite.scores:
                load_suite(score, items, suite.settings_of(score))
        except EvaluationError as e:
            return str(e)
        return ""

    def generate(self, work: GenerationWork, account: Account) -> Responses:
        """Generates, or goes on with what was interrupted.

        Raises:
            StudyError: it failed, or its time ended before all items were answered.
        """
        sampling, path = work.suite.generation, work.folder / RESPONSES
        if sampling.temperature:
            raise StudyError(f"temperature {sampling.temperature:g}: responses are generated greedily. Set it to 0.")
        request = GenerateRequest(
            suite=work.suite.scores[0],
            items=_items(work),
            model=str(work.run or work.base),
            template=_template(work),
            precision=work.precision,
            set=_settings(work, work.suite.scores[0]),
            out=path,
            max_new_tokens=sampling.max_new_tokens,
            repetition_penalty=sampling.repetition_penalty,
            response_prefix=sampling.response_prefix or None,
            stop=sampling.stop,
        )
        _bounded("generate", GENERATE, request, work, account)
        return Responses(path=path, sha256=file_sha256(path))

    def score(self, work: GenerationWork, responses: Responses, account: Account) -> Sequence[MetricRow]:
        """The metrics of the suites that score these responses.

        Raises:
            StudyError: scoring failed, or its time ended.
        """
        rows: list[MetricRow] = []
        for score in work.suite.scores:
            out = work.folder / score
            request = EvaluateRequest(
                suite=score, items=_items(work), responses=responses.path, out=out, set=_settings(work, score)
            )
            _bounded("evaluate", EVALUATE, request, work, account)
            rows += metric_rows(score, read_as(Scores, out / SCORES), work.suite.languages)
        return rows


def score_within(request: EvaluateRequest, console: Console, *, deadline: float) -> None:
    """`oneday evaluate` as the work of a process that its starter ends at a deadline."""
    run_evaluate(request, console)


def _bounded(command: str, runs: str, request: Request, work: GenerationWork, account: Account) -> None:
    code = run_within(command, runs, request, deadline=account.deadline, beat=account.beat)
    if code is None:
        raise StudyError(f"{work.folder}: its time ended before {command} was done. What is there is kept.")
    if code:
        raise StudyError(f"{work.folder}: {command} ended with exit code {code}; its error is shown above.")


def _template(work: GenerationWork) -> Literal["chat", "alpaca"] | None:
    """As the arm was trained. Of the base, and where rows are texts, the study decides; None: the model itself."""
    trained = template_of_run(work.run) if work.run is not None else None
    if trained is not None:
        return "chat" if trained is Asks.CHAT else "alpaca"
    return None if work.template == Template.AUTO else "alpaca" if work.template == Template.ALPACA else "chat"


def _settings(work: GenerationWork, score: str) -> tuple[str, ...]:
    """Of a suite, as `set` takes them."""
    return tuple(f"{key}={value}" for key, value in work.suite.settings_of(score).items())


def _items(work: GenerationWork) -> Path:
    """The items; of a folder with a file for each language, a folder with those that are asked."""
    if not work.items.is_dir():
        return work.items
    files = [path for path in sorted(work.items.iterdir()) if path.is_file()]
    others = {tag for path in files for tag in _tags(path)} - set(work.suite.languages)
    if not others:
        return work.items
    chosen = make_folder(work.folder / ITEMS)
    for path in files:
        if not others & set(_tags(path)) and not (chosen / path.name).exists():
            (chosen / path.name).symlink_to(path.absolute())
    return chosen


def _tags(path: Path) -> list[str]:
    """`modifiers.ru.types` -> ["ru"]."""
    return [part for part in path.name.split(".")[1:] if len(part) == 2 and part.isalpha() and part != "gz"]


def metric_rows(score: str, found: Scores, languages: Sequence[str]) -> Iterator[MetricRow]:
    """Figures of its one language, or by language where the suite has them; then those of the other breakdowns."""
    only = languages[0] if len(languages) == 1 else ""
    by_language = {} if only else found.by.get(LANGUAGE, {})
    for metric, figure in found.metrics.items():
        parts = {language: figures[metric] for language, figures in by_language.items() if metric in figures}
        together = {ALL: figure} if len(parts) > 1 else {}
        for language, part in {**(parts or {only: figure}), **together}.items():
            yield _row(f"{score}.{metric}", language, part)
    for dimension, labels in found.by.items():
        for label, figures in labels.items() if dimension != LANGUAGE else ():
            for metric, part in figures.items():
                yield replace(_row(f"{score}.{metric}", only, part), dimension=dimension, label=label)
    for metric, why in found.not_run.items():
        yield MetricRow(metric=f"{score}.{metric}", language="", value=None, note=why)


def _row(metric: str, language: str, figure: Figure) -> MetricRow:
    return MetricRow(
        metric=metric, language=language, value=figure.value, k=figure.k, n=figure.n, interval=figure.interval
    )  # fmt: skip
