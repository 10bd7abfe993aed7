"""What a study has found, as tables."""

from harness.budget.duration import pretty
from oneday.display.console import Console
from studies.running.run import StudyResult


def show_results(result: StudyResult, console: Console) -> None:
    """Arms by metrics, what was selected, and where the budget went."""
    results = result.results
    columns = ["arm", "state", "eval loss", *(f"{metric} {language}".strip() for metric, language in results.columns)]
    rows = []
    for name, arm in results.arms.items():
        found = [arm.metrics.get(metric, {}).get(language) for metric, language in results.columns]
        values = [_figure(figure.value if figure else None) for figure in found]
        rows.append([name, arm.stopped or arm.state, _figure(arm.eval_loss), *values])
    console.table(f"study {results.study}", columns, rows)
    for arm_name, choice in results.selections.items():
        scores = ", ".join(f"{value}: {score:.4f}" for value, score in choice.scores.items())
        notes = f"; {'; '.join(choice.notes)}" if choice.notes else ""
        console.line(f"selected for {arm_name}: {choice.value} ({scores}{notes})")
    if result.dropped:
        console.line(f"dropped for the budget: {', '.join(result.dropped)}")
    report = result.ledger
    console.line(
        f"{pretty(report.charged_s)} of {pretty(report.budget_s)} spent, {report.overshoot_s:.1f} s over it; "
        f"{len(report.by_account or {})} accounts"
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
