"""`oneday score`: ranks submissions by the challenge's rules."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

from oneday.display.console import Console
from oneday.requests.submission import ScoreRequest
from submission.score.interval import Interval, ScoreIntervals, intervals, with_errors
from submission.score.plot import check_plot, short, write_plot
from submission.score.ranks import COLUMNS, SCENARIOS, Scenario, Submission, read_submissions
from submission.score.score import DESCRIPTION, Rule, Standing, agreement, counted, score


def run_score(request: ScoreRequest, console: Console) -> None:
    """Reads tables, scores them, and shows or plots the ranking, with the field's scores before the tables joined."""
    tables, against, plot, chosen = request.tables, request.against, request.plot, Rule(request.rule)
    if plot is not None:
        check_plot(plot)
    submissions = read_submissions([*tables, *([against] if against else [])])
    field = [s for s in submissions if s.source == str(against)]
    new = {s.name for s in submissions if against and s.source != str(against)}
    standings = score(submissions, rule=chosen)
    found = intervals(with_errors(submissions, num_instances=request.instances), rule=chosen)
    title = f"{len(submissions)} submissions, by {_LABEL[chosen]} ({DESCRIPTION[chosen]})"
    if plot is not None:
        write_plot(plot, standings, title=title, new=new)
        console.say(f"plot: {plot}")
    before = {s.name: s.full for s in score(field, rule=chosen)} if len(field) > 1 else {}
    scenarios = counted(submissions)
    _show(standings, title, new, before, found, console)
    for line in (*_partial(scenarios), *_mixed(submissions), *_without_intervals(found)):
        console.say(line)
    if not against:
        _show_agreement(submissions, standings, console)
    console.result(
        {
            "rule": chosen,
            "counted": {scenario.name: list(scenario.columns) for scenario in scenarios},
            "submissions": {s.name: s.figures() for s in standings},
            "intervals": {name: asdict(of_one) for name, of_one in found.items()},
        }
    )


_LABEL = {Rule.PUBLISHED: "the challenge's published rule", Rule.HELM: "HELM's rule"}


def _show(
    standings: Sequence[Standing],
    title: str,
    new: Collection[str],
    before: Mapping[str, float | None],
    found: Mapping[str, ScoreIntervals],
    console: Console,
) -> None:
    """Shows scores, then mean win rates, best first."""
    columns = ["submission", "full", "open", "hidden"]
    columns += ["full before"] if new else []
    columns += ["95 % interval"] if found else []
    rows = []
    for place, s in enumerate(standings, start=1):
        row = [f"{place}. {short(s.name, 48)}", *map(_figure, (s.full, s.open, s.hidden))]
        row += ["new" if s.name in new else _figure(before.get(s.name))] if new else []
        row += [_range(found[s.name].full or found[s.name].open or found[s.name].hidden)] if found else []
        rows.append(row)
    console.table(title, columns, rows)
    console.table(
        "mean win rates",
        ["submission", *(scenario.name for scenario in SCENARIOS)],
        [
            [f"{place}. {short(s.name, 20)}", *(_figure(s.win_rates.get(scenario.name)) for scenario in SCENARIOS)]
            for place, s in enumerate(standings, start=1)
        ],
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _range(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"


def _partial(scenarios: Sequence[Scenario]) -> list[str]:
    """Which scenarios count, unless all do."""
    if sum(len(s.columns) for s in scenarios) == len(COLUMNS):
        return []
    whole = {s.name: len(s.columns) for s in SCENARIOS}
    counts = [
        s.name if len(s.columns) == whole[s.name] else f"{s.name} ({len(s.columns)} of {whole[s.name]} columns)"
        for s in scenarios
    ]
    left_out = [s.name for s in SCENARIOS if s.name not in {c.name for c in scenarios}]
    line = f"partial: {', '.join(counts)} count"
    return [f"{line}; not every table has {', '.join(left_out)}" if left_out else line]


def _mixed(submissions: Sequence[Submission]) -> list[str]:
    """A warning if figures of two evaluators are compared."""
    if len({s.is_lm_eval for s in submissions}) < 2:
        return []
    return ["warning: lm-eval and HELM prompt and score in different ways: their figures do not compare"]


def _without_intervals(found: Mapping[str, ScoreIntervals]) -> list[str]:
    """How to get intervals, where there are none."""
    if found:
        return []
    return [
        "no intervals: the tables have no standard errors. `instances=N` computes them from the number of questions"
    ]


def _show_agreement(submissions: Sequence[Submission], standings: Sequence[Standing], console: Console) -> None:
    """Shows how many figures in the tables are reproduced."""
    reproduced = agreement(submissions, standings)
    if reproduced.num:
        console.say(f"{reproduced.num_equal} of {reproduced.num} figures published in the tables are equal to 1e-12")
