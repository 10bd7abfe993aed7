"""`oneday evaluate`: scores recorded responses, or runs lm_eval; shows a table, writes a page and `scores.json`."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from core.files import write_json, write_jsonl
from core.manifest import versions
from evaluation.difference import NOT_DISTINGUISHED, Difference, Differences, differences
from evaluation.errors import EvaluationError
from evaluation.join import join
from evaluation.report import write_report, write_tables
from evaluation.resampling import DRAWS
from evaluation.responses import read_responses
from evaluation.scoring import Evaluation, Figure, evaluate
from evaluation.suite import Suite, Table
from evaluation.suites import SUITES, load_suite, settings_of
from oneday.commands.evaluation.lm_eval import run_harness
from oneday.display.console import Console
from oneday.requests.evaluating import EvaluateRequest

SCORES, ITEMS, REPORT = "scores.json", "items.jsonl", "report.html"


def run_evaluate(request: EvaluateRequest, console: Console) -> None:
    """Scores responses, compares them with other ones if given, runs lm_eval if asked, writes and shows the result.

    Raises:
        EvaluationError: Items, responses, tasks or the model cannot be used, or nothing is to be evaluated.
    """
    if request.folder.is_file():
        raise EvaluationError(f"{request.folder}: a file is in the place of this folder. Give another `out=`.")
    if request.suite is None:
        _only_harness(request, console)
        return
    if request.items is None or request.responses is None:
        missing = "items" if request.items is None else "responses"
        raise EvaluationError(f"`{missing}=` is missing: {request.suite} needs it. Give the file of its {missing}.")
    suite = load_suite(request.suite, request.items, settings_of(request.set))
    if request.against is not None and (reason := suite.one_file_only()):
        raise EvaluationError(f"`against={request.against}`: {reason}. Evaluate each file with its own.")
    evaluation = _evaluate(suite, request.responses, request, console)
    found = None
    if request.against is not None:
        found = differences(evaluation, _evaluate(suite, request.against, request, console), seed=request.seed)
    harness = run_harness(request, console) if request.lm_eval else None
    if harness:
        evaluation = replace(evaluation, tables=(*evaluation.tables, harness.table))
    result = evaluation.as_json() | ({"against": found.as_json()} if found else {})
    result |= {"lm_eval": harness.as_json()} if harness else {}
    _write(request, evaluation, found, result, suite.fingerprint())
    _show(evaluation, found, console)
    console.say(f"page: {request.folder / REPORT}")
    console.result(result)


def _only_harness(request: EvaluateRequest, console: Console) -> None:
    if not request.lm_eval:
        known = ", ".join(SUITES)
        raise EvaluationError(f"nothing to evaluate. Name a suite ({known}), or tasks of lm_eval: `lm_eval=TASKS`.")
    harness = run_harness(request, console)
    result = {"lm_eval": harness.as_json()}
    write_json(request.folder / SCORES, {**result, "manifest": {"versions": versions()}})
    write_tables(request.folder / REPORT, f"lm_eval: {harness.checkpoint['name']}", [harness.table])
    _show_table(harness.table, console)
    console.say(f"page: {request.folder / REPORT}")
    console.result(result)


def _show_table(table: Table, console: Console) -> None:
    console.table(table.title, list(table.columns), [list(row) for row in table.rows])


def _evaluate(suite: Suite[Any], path: Path, request: EvaluateRequest, console: Console) -> Evaluation:
    responses = read_responses(path)
    joined = join(suite, responses, partial=request.partial)
    return evaluate(
        suite,
        joined,
        responses,
        seed=request.seed,
        on_progress=lambda done, total: console.progress(f"score {suite.name}", done, total),
    )


def _write(
    request: EvaluateRequest,
    evaluation: Evaluation,
    found: Differences | None,
    result: Mapping[str, object],
    suite_sha256: str,
) -> None:
    """Writes the results, then the page."""
    evaluations = [evaluation, *([found.against] if found else [])]
    write_jsonl(request.folder / ITEMS, (row for one in evaluations for row in _rows(one)))
    decides = {
        "versions": versions(),
        "suite_sha256": suite_sha256,
        "responses_sha256": {str(one.responses.path): one.responses.sha256 for one in evaluations},
        "bootstrap_draws": DRAWS,
        "missing_ids": list(evaluation.missing),
        "unexpected_ids": list(evaluation.unexpected),
        "prompts_differ_ids": list(evaluation.other_prompts),
    }
    write_json(request.folder / SCORES, {**result, "manifest": decides})
    write_report(request.folder / REPORT, evaluation, found)


def _rows(evaluation: Evaluation) -> list[dict[str, object]]:
    """One record for each item, with the outcome of every check."""
    return [
        {
            "responses": str(evaluation.responses.path),
            "suite": row.item.suite,
            "language": row.item.language,
            "id": row.item.id,
            "cluster": row.cluster,
            "line": row.response.line,
            "outcomes": [asdict(outcome) for outcome in row.outcomes],
        }
        for row in evaluation.rows
    ]


def _show(evaluation: Evaluation, found: Differences | None, console: Console) -> None:
    for warning in evaluation.warnings:
        console.say(f"warning: {warning}")
    columns = ["", "value", "k/n", "95 %"]
    rows = [[name, *_cells(figure)] for name, figure in evaluation.metrics.items()]
    rows += [[name, "not run", "", reason] for name, reason in evaluation.not_run.items()]
    title = f"{evaluation.suite}: {evaluation.responses.name}"
    console.table(f"{title}{', partial' * bool(evaluation.missing)}", columns, rows)
    for dimension, labels in evaluation.by.items():
        names = list(dict.fromkeys(name for figures in labels.values() for name in figures))
        lines = [[label, *(_short(figures.get(name)) for name in names)] for label, figures in labels.items()]
        console.table(f"by {dimension}", ["", *names], lines)
    for table in evaluation.tables:
        _show_table(table, console)
    if found:
        _show_differences(found, console)


def _show_differences(found: Differences, console: Console) -> None:
    for setting in found.settings:
        console.say(f"warning: the files were generated with different settings: {setting}")
    theirs = found.against.metrics
    rows = [
        [name, _value(theirs[name].value), f"{of.value:+.4f}", _interval(of.interval), _verdict(of)]
        for name, of in found.metrics.items()
    ]
    columns = ["", "its value", "difference", "95 %, paired", ""]
    console.table(f"minus {found.against.responses.name}", columns, rows)


def _verdict(difference: Difference) -> str:
    if difference.interval is None:
        return ""
    return "distinguished" if difference.is_distinguished else NOT_DISTINGUISHED


def _cells(figure: Figure) -> list[str]:
    share = "" if figure.k is None else f"{figure.k}/{figure.n}"
    return [_value(figure.value), share or f"n {figure.n}", _interval(figure.interval)]


def _short(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    return f"{_value(figure.value)}{'' if figure.k is None else f'  {figure.k}/{figure.n}'}"


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"
