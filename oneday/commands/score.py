"""`oneday score`: ranks submissions by the challenge's rules."""

from collections.abc import Collection, Mapping, Sequence

from oneday.display.console import Console
from oneday.requests.submission import ScoreRequest
from submission.score.plot import check_plot, short, write_plot
from submission.score.ranks import SCENARIOS, Submission, read_submissions
from submission.score.score import DESCRIPTION, Rule, Standing, agreement, score


def run_score(request: ScoreRequest, console: Console) -> None:
    """Reads tables, scores them, and shows or plots the ranking, with the field's scores before the tables joined."""
    tables, against, plot, chosen = request.tables, request.against, request.plot, Rule(request.rule)
    if plot is not None:
        check_plot(plot)
    submissions = read_submissions([*tables, *([against] if against else [])])
    field = [s for s in submissions if s.source == str(against)]
    new = {s.name for s in submissions if against and s.source != str(against)}
    standings = score(submissions, rule=chosen)
    title = f"{len(submissions)} submissions, by {_LABEL[chosen]} ({DESCRIPTION[chosen]})"
    if plot is not None:
        write_plot(plot, standings, title=title, new=new)
        console.say(f"plot: {plot}")
    before = {s.name: s.full for s in score(field, rule=chosen)} if len(field) > 1 else {}
    _show(standings, title, new, before, console)
    if not against:
        _show_agreement(submissions, standings, console)
    console.result({"rule": chosen, "submissions": {s.name: s.figures() for s in standings}})


_LABEL = {Rule.PUBLISHED: "the challenge's published rule", Rule.HELM: "HELM's rule"}


def _show(
    standings: Sequence[Standing],
    title: str,
    new: Collection[str],
    before: Mapping[str, float | None],
    console: Console,
) -> None:
    """Shows scores, then mean win rates, best first."""
    columns = ["submission", "full", "open", "hidden", *(["full before"] if new else [])]
    rows = []
    for place, s in enumerate(standings, start=1):
        was = ["new" if s.name in new else _figure(before.get(s.name))] if new else []
        rows.append([f"{place}. {short(s.name, 48)}", *map(_figure, (s.full, s.open, s.hidden)), *was])
    console.table(title, columns, rows)
    console.table(
        "mean win rates",
        ["submission", *(scenario.name for scenario in SCENARIOS)],
        [
            [f"{place}. {short(s.name, 20)}", *map(_figure, s.win_rates.values())]
            for place, s in enumerate(standings, start=1)
        ],
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _show_agreement(submissions: Sequence[Submission], standings: Sequence[Standing], console: Console) -> None:
    """Shows how many figures in the tables are reproduced."""
    reproduced = agreement(submissions, standings)
    if reproduced.num:
        console.say(f"{reproduced.num_equal} of {reproduced.num} figures published in the tables are equal to 1e-12")
