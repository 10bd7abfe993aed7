"""What a study has found, as tables."""

from harness.budget.duration import pretty
from oneday.display.console import Console
from studies.running.results import ArmResult
from studies.running.run import StudyResult


def show_results(result: StudyResult, console: Console) -> None:
    """Arms by metrics, what was selected, and where the budget went."""
    results, arms = result.results, list(result.results.arms.values())
    names = [f"{metric} {language}".strip() for metric, language in results.columns]
    figures = [[_value(arm, *column) for column in results.columns] for arm in arms]
    is_wide = len(names) > max(3, len(arms))
    console.table(
        f"study {results.study}",
        ["arm", "state", "eval loss", *([] if is_wide else names)],
        [
            [name, arm.stopped or arm.state, _figure(arm.eval_loss), *([] if is_wide else values)]
            for (name, arm), values in zip(results.arms.items(), figures, strict=True)
        ],
    )
    if is_wide:
        rows = [[name, *values] for name, *values in zip(names, *figures, strict=True)]
        console.table("figures of the arms", ["metric", *results.arms], rows)
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


def _value(arm: ArmResult, metric: str, language: str) -> str:
    figure = arm.metrics.get(metric, {}).get(language)
    return _figure(figure.value if figure else None)
