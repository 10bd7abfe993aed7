"""Win rates by hand, the challenge's 96 figures, HELM's folders, and every table that is refused."""

import json
import math
import random
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from oneday.cli import main
from submission.errors import TableError
from submission.helm.tables import read_suite
from submission.score.interval import intervals, with_errors
from submission.score.ranks import COLUMNS, FIGURES, SCENARIOS, Part, Submission, lower_is_better, read_submissions
from submission.score.score import Rule, agreement, helm_win_rates, published_win_rates, score
from tests.conftest import REDUCED

SVG = "{http://www.w3.org/2000/svg}"
FIRST_COLUMN, LAST_COLUMN = COLUMNS[0], COLUMNS[-1]
Row = dict[str, Any]


def row(value: float | None, **columns: float | None) -> Row:
    """A row that holds one value everywhere but in the columns that are named by their scenario."""
    found: Row = dict.fromkeys(COLUMNS, value)
    for name, other in columns.items():
        scenario = next(s for s in SCENARIOS if s.name.replace("-", "_") == name)
        found |= dict.fromkeys(scenario.columns, other)
    return found


def submissions(table: Mapping[str, Row]) -> list[Submission]:
    return [Submission(name=name, source="test", metrics=metrics) for name, metrics in table.items()]


def figures(table: Mapping[str, Row], rule: Rule = Rule.PUBLISHED) -> dict[str, dict[str, float | None]]:
    return {s.name: s.figures() for s in score(submissions(table), rule=rule)}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a table and says where."""

    def _write(table: object, name: str = "table.json") -> Path:
        path = tmp_path / name
        path.write_text(table if isinstance(table, str) else json.dumps(table))
        return path

    return _write


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as e:
        main(["score", *map(str, arguments)])
    assert isinstance(e.value.code, int)
    return e.value.code


@pytest.fixture
def leaderboard() -> Path:
    return REDUCED / "leaderboard" / "4090_full_ranks.json"


# The columns.


def test_the_columns_are_those_of_the_challenge() -> None:
    assert len(COLUMNS) == len(set(COLUMNS)) == 31
    assert {s.name: len(s.columns) for s in SCENARIOS} == {
        "MMLU": 3, "TruthfulQA": 3, "BIG-bench": 1, "GSM8K": 1, "BBQ": 1,
        "sam_sum": 5, "corr2cause": 1, "MATH": 1, "ethics": 15,
    }  # fmt: skip
    assert [s.name for s in SCENARIOS if s.part is Part.OPEN] == ["MMLU", "TruthfulQA", "BIG-bench", "GSM8K", "BBQ"]
    assert len(FIGURES) == 12


def test_only_the_four_bias_metrics_are_better_when_lower() -> None:
    assert [c for c in COLUMNS if lower_is_better(c)] == [
        "sam_sum - Stereotypes (race)",
        "sam_sum - Stereotypes (gender)",
        "sam_sum - Representation (race)",
        "sam_sum - Representation (gender)",
    ]


# One column.


@pytest.mark.parametrize(
    ("values", "published", "helm"),
    [
        ([0.1, 0.2, 0.3, 0.4], [0, 1 / 4, 2 / 4, 3 / 4], [0, 1 / 3, 2 / 3, 1]),
        ([0.5, 0.5, 0.1, 0.9], [1.5 / 4, 1.5 / 4, 0, 3 / 4], [1.5 / 3, 1.5 / 3, 0, 1]),  # a pair: the same credit
        ([0.0, 0.0, 0.0, 0.9], [1 / 12, 1 / 12, 1 / 12, 3 / 4], [1 / 3, 1 / 3, 1 / 3, 1]),  # three: 1/3 against 1
        ([0.2, None, 0.1, None], [3 / 4, 0.5 / 4, 2 / 4, 0.5 / 4], [1, None, 0, None]),  # nulls tie, or are left out
        ([0.2, None, 0.1], [2 / 3, 0, 1 / 3], [1, None, 0]),  # one null ties with nothing
        ([0.2, None, None], [2 / 3, 0.5 / 3, 0.5 / 3], [None, None, None]),  # nothing to compare with
        ([0.3, 0.3000000000000001], [0, 1 / 2], [0, 1]),  # equal bit for bit, or not
    ],
)
def test_win_rates_of_a_column(
    values: Sequence[float | None], published: Sequence[float], helm: Sequence[float | None]
) -> None:
    assert published_win_rates(values, lower_is_better=False) == pytest.approx(published)
    assert helm_win_rates(values, lower_is_better=False) == pytest.approx(helm)
    # n in the one rule, n - 1 in the other: only there the best of many reaches 1
    assert max(published_win_rates(values, lower_is_better=False)) <= 1 - 1 / len(values)


def test_where_lower_is_better_the_order_turns_and_null_stays_worst() -> None:
    assert published_win_rates([0.1, 0.4, None], lower_is_better=True) == pytest.approx([2 / 3, 1 / 3, 0])
    assert helm_win_rates([0.1, 0.4, None], lower_is_better=True) == [1, 0, None]
    assert helm_win_rates([0.1, 0.4, 0.4], lower_is_better=True) == [1, 0.25, 0.25]


# A field.


def test_scores_of_two_by_hand() -> None:
    # better wins all but the four bias columns, where less is better: 27 wins of 1/2, and 1 of sam_sum's 5
    found = figures({"worse": row(0.2), "better": row(0.4)})
    assert list(found) == ["better", "worse"]  # best first
    assert list(found["better"]) == list(FIGURES)
    assert found["better"]["sam_sum Mean Win Rate"] == pytest.approx(0.1)
    assert found["better"]["ethics Mean Win Rate"] == 0.5
    assert found["better"]["Score_open"] == pytest.approx(0.5)
    hidden = (0.1 * 0.5 * 0.5 * 0.5) ** 0.25
    assert found["better"]["Score_hidden"] == pytest.approx(hidden)
    assert found["better"]["Score_full"] == pytest.approx(0.5 / 3 + 2 * hidden / 3)
    assert found["worse"]["sam_sum Mean Win Rate"] == pytest.approx(0.4)
    assert found["worse"]["Score_full"] == 0


def test_one_lost_scenario_makes_the_geometric_mean_zero() -> None:
    field = {"a": row(0.9, GSM8K=0.0), "b": row(0.1), "c": row(0.05)}
    found = figures(field)["a"]
    assert found["GSM8K Mean Win Rate"] == 0
    assert found["Score_open"] == 0
    assert found["Score_hidden"] is not None
    assert found["Score_full"] == pytest.approx(2 * found["Score_hidden"] / 3)
    assert found["Score_hidden"] > 0


def test_a_ninth_submission_changes_every_score() -> None:
    eight = {f"s{n}": row(n / 10) for n in range(1, 9)}
    eight = {name: values | dict.fromkeys(filter(lower_is_better, COLUMNS), 0.5) for name, values in eight.items()}
    before, after = figures(eight), figures(eight | {"ninth": row(0.45)})
    for name in eight:
        if before[name]["Score_full"]:
            assert before[name]["Score_full"] != after[name]["Score_full"]
    assert after["s1"]["Score_full"] == before["s1"]["Score_full"] == 0  # last in both
    helms = figures(eight, Rule.HELM), figures(eight | {"ninth": row(0.45)}, Rule.HELM)
    assert all(helms[0][name] != helms[1][name] for name in eight)


def test_by_helms_rule_nothing_to_compare_is_no_score() -> None:
    field = {"a": row(0.9, MATH=None), "b": row(0.1), "c": row(0.5)}
    found = score(submissions(field), rule=Rule.HELM)
    assert [s.name for s in found] == ["c", "b", "a"]  # without a score: last
    assert (found[-1].win_rates["MATH"], found[-1].hidden, found[-1].full) == (None, None, None)
    assert found[-1].open == 1.0
    published = figures(field)["a"]
    assert published["MATH Mean Win Rate"] == 0  # null is worst of all there
    assert published["Score_hidden"] == 0


def test_a_submission_alone_is_told_how_to_be_compared(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(write({"mine": row(0.5)})) == 2
    assert "'mine' is alone: a win rate needs a field. Add the others' table with --against" in capsys.readouterr().err


# The real field.


def test_the_published_rule_gives_all_96_figures(leaderboard: Path) -> None:
    field = read_submissions([leaderboard])
    standings = score(field, rule=Rule.PUBLISHED)
    assert (agreement(field, standings).num_equal, agreement(field, standings).num) == (96, 96)
    published = {s.name: s.published for s in field}
    errors = [abs(v - published[s.name][k]) for s in standings for k, v in s.figures().items() if v is not None]
    assert len(errors) == 96
    assert max(errors) < 1e-15
    assert [s.name for s in standings] == [s.name for s in field]  # the file is in rank order


def test_helms_rule_gives_8_of_the_96(leaderboard: Path) -> None:
    field = read_submissions([leaderboard])
    found = agreement(field, score(field, rule=Rule.HELM))
    assert (found.num_equal, found.num) == (8, 96)


def test_what_the_winners_readme_prints_is_found_to_its_digits(leaderboard: Path) -> None:
    """Three digits. Source: README.md of Upaya07/NeurIPS-llm-efficiency-challenge, `Results` and `Top-5 Teams`."""
    standings = score(read_submissions([leaderboard]), rule=Rule.PUBLISHED)
    assert [s.full for s in standings[:5]] == pytest.approx([0.579, 0.424, 0.381, 0.371, 0.362], abs=0.00051)
    assert [standings[0].open, standings[0].hidden] == pytest.approx([0.516, 0.61], abs=0.00051)
    printed = [0.417, 0.75, 0.75, 0.625, 0.25, 0.383, 0.875, 0.75, 0.55]
    assert list(standings[0].win_rates.values()) == pytest.approx(printed, abs=0.00051)


def test_the_command_ends_with_all_figures(leaderboard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(leaderboard, "--json") == 0
    printed = capsys.readouterr()
    assert "96 of 96 figures" in printed.err
    assert "by the challenge's published rule" in printed.out
    last = json.loads(printed.out.splitlines()[-1])
    assert list(last) == ["rule", "counted", "submissions", "intervals"]
    assert last["counted"] == {s.name: list(s.columns) for s in SCENARIOS}
    assert "partial" not in printed.err
    assert last["rule"] == "published"
    for name, columns in json.loads(leaderboard.read_text()):
        assert set(last["submissions"][name]) == set(FIGURES)
        for figure, value in last["submissions"][name].items():
            assert value == pytest.approx(columns[figure], abs=1e-12)


def test_a_new_submission_in_the_real_field(
    leaderboard: Path, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    mine = write({"mine": row(0.5)}, "mine.json")
    assert run(mine, "--against", leaderboard, "--json") == 0
    printed = capsys.readouterr()
    assert "figures published" not in printed.err  # another field: they cannot agree
    assert "full before" in printed.out
    last = json.loads(printed.out.splitlines()[-1])["submissions"]
    assert len(last) == 9
    assert last["akjindal53244_neurips_submission_submission_2"]["Score_full"] != pytest.approx(0.5786, abs=1e-3)
    assert run(leaderboard, mine, "--rule", "helm", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rule"] == "helm"


# Table 2 of the paper.

PAPERS = ("Birbal", "Rank-2", "Rank-3")
DIFFERENT = {  # printed, published: the paper's own
    ("MMLU/EM(Fairness)", "Rank-3"): (0.6, 0.594),
    ("MATH/chain-of-thoughts", "Rank-3"): (0.05, 0.036),
    ("ethics_c/EM(Robustness)", "Rank-3"): (0.42, 0.43),
}
SCORES = {"Open Eval Score": "Score_open", "Closed Eval Score": "Score_hidden", "Final Score": "Score_full"}


def published_column(printed: str) -> str:
    """`ethics_j/EM(Fairness)` -> `ethics_justice - EM (Fairness)`."""
    if printed in SCORES:
        return SCORES[printed]
    scenario, _, metric = printed.rstrip("†").partition("/")
    if scenario == "MATH" and metric != "MWR":
        return "MATH (chain-of-thoughts) - Equivalent (chain of thought)"
    ethics = {column.partition(" ")[0][:8]: column.partition(" ")[0] for column in COLUMNS if column[:7] == "ethics_"}
    scenario = ethics.get(scenario, scenario)
    metric = metric.replace("(Accuracy)", "").replace("(", " (")
    return f"{scenario} Mean Win Rate" if metric == "MWR" else f"{scenario} - {metric}"


def is_printed(value: float | None, printed: float | None) -> bool:
    """Whether a table of two digits may show the value so: rounded, or cut."""
    if value is None or printed is None:
        return value is printed
    return printed in (round(value, 2), math.floor(100 * value + 1e-9) / 100)


def test_table_2_of_the_paper_is_the_field_as_we_score_it(shared_data: Path) -> None:
    """All nine scores and their order; 126 of the 129 cells, and the three in which the paper differs from the data."""
    path = shared_data / "papers" / "birbal_table2.json"
    cells = [v for v in json.loads(path.read_text())["values"] if v["table"] == "2"]
    field = read_submissions([shared_data / "leaderboard" / "4090_full_ranks.json"])
    standings = {s.name: s.figures() for s in score(field, rule=Rule.PUBLISHED)}
    ours = {rank: {**field[n].metrics, **standings[field[n].name]} for n, rank in enumerate(PAPERS)}
    assert list(standings)[:3] == [s.name for s in field[:3]]
    assert len(cells) == 129
    found = {(c["row"], c["column"]): (c["value"], ours[c["column"]][published_column(c["row"])]) for c in cells}
    assert sum(row in SCORES for row, _ in found) == 9
    different = {cell: pair for cell, pair in found.items() if not is_printed(pair[1], pair[0])}
    assert {cell: (printed, round(value or 0, 3)) for cell, (printed, value) in different.items()} == DIFFERENT


# Parts of a table, and intervals.


def only(columns: Sequence[str], value: float) -> Row:
    return dict.fromkeys(columns, value)


def test_only_columns_that_every_table_has_are_counted_and_named(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    part = ["MMLU - EM", "MMLU - EM (Fairness)", "GSM8K - EM", "BBQ - EM", "corr2cause - EM"]
    whole = {name: row(value) for name, value in (("a", 0.3), ("b", 0.4))}
    assert run(write(whole), write({"part": only(part[:4], 0.5)}, "part.json"), "--json") == 0
    printed = capsys.readouterr()
    assert (
        "partial: MMLU (2 of 3 columns), GSM8K, BBQ count; not every table has TruthfulQA, BIG-bench, sam_"
        in printed.err
    )
    last = json.loads(printed.out.splitlines()[-1])
    assert last["counted"] == {"MMLU": part[:2], "GSM8K": part[2:3], "BBQ": part[3:4]}
    assert list(last["submissions"]) == ["part", "b", "a"]
    assert last["submissions"]["part"]["Score_open"] == pytest.approx(2 / 3)
    assert last["submissions"]["part"]["Score_hidden"] is None  # nothing of it was measured
    assert last["submissions"]["part"]["Score_full"] is None
    both = figures({"x": only(part, 0.5), "y": only(part, 0.4)})
    assert both["x"]["Score_full"] == pytest.approx(0.5)
    assert run(write({"a": only(part[:1], 0.1)}), write({"b": only(part[2:3], 0.2)}, "b.json")) == 2
    assert "no column that all submissions have" in capsys.readouterr().err


def _sampled(share: float, rng: random.Random) -> float:
    return sum(rng.random() < share for _ in range(100)) / 100


def test_intervals_hold_what_new_samples_of_the_questions_would_give(leaderboard: Path) -> None:
    """A true field is measured on samples; the interval of the score holds the score of the true field in most."""
    true = {f"s{n}": only(["GSM8K - EM", "BBQ - EM", "corr2cause - EM"], 0.2 + 0.08 * n) for n in range(5)}
    expected = figures(true)["s2"]["Score_full"]
    assert expected is not None
    rng, held = random.Random(1), 0
    for _ in range(25):
        measured = {
            name: {
                c: v if lower_is_better(c) else sum(rng.random() < v for _ in range(100)) / 100 for c, v in r.items()
            }
            for name, r in true.items()
        }
        found = intervals(with_errors(submissions(measured), num_instances=100), rule=Rule.PUBLISHED)
        low, high = found["s2"].full or (1, 0)
        held += low <= expected <= high
    assert held >= 20
    field = read_submissions([leaderboard])
    assert intervals(field, rule=Rule.PUBLISHED) == {}
    few, many = (intervals(with_errors(field, num_instances=n), rule=Rule.PUBLISHED) for n in (61, 6_100))
    width = [found[field[0].name].full or (0, 0) for found in (few, many)]
    assert width[0][1] - width[0][0] > 2 * (width[1][1] - width[1][0]) > 0


def test_errors_that_a_table_gives_are_used(write: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    exact, rough = ({"a": row(0.5), "b": row(0.4) | {"GSM8K - EM (stderr)": e}, "c": row(0.3)} for e in (0.0, 0.2))
    for table, is_sure in ((exact, True), (rough, False)):
        assert run(write(table), "--json") == 0
        printed = capsys.readouterr()
        low, high = json.loads(printed.out.splitlines()[-1])["intervals"]["b"]["open"]
        assert (low == high) is is_sure
        assert "95 % interval" in printed.out
    assert run(write({"a": row(0.5), "b": row(0.4)})) == 0
    assert "no intervals: the tables have no standard errors. --instances N" in capsys.readouterr().err


# lm-eval.


def write_lm_eval(folder: Path, name: str, accuracy: float) -> Path:
    """As lm-eval 0.4.11 writes it."""
    folder.mkdir(parents=True)
    results = {
        "mmlu": {"acc,none": accuracy, "acc_stderr,none": 0.004, "alias": "mmlu"},
        "mmlu_stem": {"acc,none": 0.1, "acc_stderr,none": 0.01, "alias": " - stem"},
        "gsm8k": {"exact_match,strict-match": accuracy / 2, "exact_match_stderr,strict-match": 0.01, "alias": "gsm8k"},
        "ethics_cm": {"acc,none": accuracy, "acc_stderr,none": "N/A", "alias": "ethics_cm"},
        "piqa": {"acc,none": 0.9},
    }
    table = {"results": results, "versions": dict.fromkeys(results, 1), "configs": {}, "model_name": name}
    path = folder / "results_2026-11-27T20-00-00.000000.json"
    path.write_text(json.dumps(table))
    return path


def test_results_of_lm_eval_are_a_partial_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = write_lm_eval(tmp_path / "out" / "base", "base", 0.4), write_lm_eval(tmp_path / "tuned", "tuned", 0.5)
    (found,) = read_submissions([one])
    assert (found.name, found.is_lm_eval) == ("base", True)
    assert found.metrics == {"MMLU - EM": 0.4, "GSM8K - EM": 0.2, "ethics_commonsense - EM": 0.4}
    assert found.standard_errors == {"MMLU - EM": 0.004, "GSM8K - EM": 0.01}
    assert run(tmp_path / "out", other, "--json") == 0
    printed = capsys.readouterr()
    assert "partial: MMLU (1 of 3 columns), GSM8K, ethics (1 of 15 columns) count" in printed.err
    assert list(json.loads(printed.out.splitlines()[-1])["submissions"]) == ["tuned", "base"]


def test_figures_of_two_evaluators_are_told_apart(
    tmp_path: Path, leaderboard: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(write_lm_eval(tmp_path / "x", "mine", 0.4), "--against", leaderboard) == 0
    assert "lm-eval and HELM prompt and score in different ways" in capsys.readouterr().err


def test_results_without_a_task_of_the_challenge_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results_1.json"
    path.write_text(json.dumps({"results": {"piqa": {"acc,none": 0.9}}, "versions": {}}))
    assert run(path) == 2
    assert "none of the challenge's tasks is in it. lm-eval names them mmlu, truthfulqa_mc1" in capsys.readouterr().err


# Tables that are read.


def test_json_of_both_shapes_and_csv_are_the_same_table(write: Callable[..., Path]) -> None:
    table = {"a, b": row(0.25, MATH=None), "c": row(0.5)}
    lines = [",".join(["name", *COLUMNS])]
    for name, columns in table.items():
        lines.append(",".join([f'"{name}"', *("" if v is None else str(v) for v in columns.values())]))
    paths = [
        write(table, "a.json"),
        write(list(map(list, table.items())), "b.json"),
        write("\ufeff" + "\r\n".join(lines) + "\r\n", "c.csv"),
    ]
    tables = [[(s.name, dict(s.metrics)) for s in read_submissions([path])] for path in paths]
    assert tables[0] == tables[1] == tables[2] == list(table.items())


def test_columns_that_are_not_scored_do_no_harm(write: Callable[..., Path]) -> None:
    found = read_submissions([write({"a": row(0.5) | {"CNN/DailyMail - ROUGE-2": "0.1", "Score_full": 0.25}})])
    assert set(found[0].metrics) == set(COLUMNS)
    assert found[0].published == {"Score_full": 0.25}


def cell(value: float | None = None, description: str = "min=0, mean=0.5, max=1, sum=4 (8)") -> dict[str, Any]:
    """As HELM 0.5.16 writes it: without a value if that is None."""
    kept = {} if value is None else {"value": value, "style": {}, "run_spec_names": ["mmlu:model=neurips_local"]}
    return {**kept, "description": description, "markdown": False}


def write_suite(folder: Path, rows: Mapping[str, Row], group: str = "core_scenarios") -> Path:
    """A suite: accuracy in one table, the rest in another; the aggregate column that HELM puts first."""
    (folder / "groups" / "json").mkdir(parents=True, exist_ok=True)
    tables = []
    for title, columns in (("Accuracy", COLUMNS[::2]), ("Robustness", COLUMNS[1::2])):
        header = [{"value": name, "markdown": False, "metadata": {}} for name in ("Model", "Mean win rate", *columns)]
        body = [
            [{"value": model, "description": "", "markdown": False}, {"value": 0.5, "markdown": False}]
            + [v if isinstance(v, dict) else cell(v) for v in map(metrics.get, columns)]
            for model, metrics in rows.items()
        ]
        tables.append({"title": title, "name": title.lower(), "header": header, "rows": body, "links": []})
    (folder / "groups" / f"{group}.json").write_text(json.dumps(tables))
    return folder


def test_a_helm_suite_goes_by_its_folders_name(tmp_path: Path) -> None:
    undefined = {"sam_sum - Stereotypes (race)": cell(description="(0)")}
    suite = write_suite(tmp_path / "mine", {"Local service": row(0.5) | undefined})
    (found,) = read_submissions([suite])
    assert found.name == "mine"
    assert found.metrics["sam_sum - Stereotypes (race)"] is None
    assert found.metrics["MMLU - EM"] == 0.5


def test_a_helm_suite_of_several_models_names_each(tmp_path: Path) -> None:
    suite = write_suite(tmp_path / "both", {"Model 1": row(0.5), "Model 2": row(0.25)})
    assert [name for name, _ in read_suite(suite, COLUMNS)] == ["both: Model 1", "both: Model 2"]


def test_a_column_is_taken_from_where_the_challenge_took_it(tmp_path: Path) -> None:
    not_run = {"BBQ - EM": cell(description="No matching runs")}
    write_suite(tmp_path, {"m": row(0.1)}, "ablations")
    write_suite(tmp_path, {"m": row(0.5) | not_run}, "core_scenarios")
    write_suite(tmp_path, {"m": row(0.7)}, "targeted_evaluations")
    ((_, found),) = read_suite(tmp_path, COLUMNS)
    assert (found["MMLU - EM"], found["BBQ - EM"]) == (0.5, 0.7)


@pytest.mark.parametrize("why", ["No matching runs", "2 matching runs, but no matching metrics"])
def test_a_scenario_that_helm_did_not_run_is_missing_not_null(tmp_path: Path, why: str) -> None:
    suite = write_suite(tmp_path / "mine", {"m": row(0.5) | {"MMLU - EM": cell(description=why)}})
    (found,) = read_submissions([suite])
    assert set(COLUMNS) - set(found.metrics) == {"MMLU - EM"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no groups/*.json in it. Run helm-summarize"),
        ("{}", "not tables of helm-summarize"),
        ('[{"header": [{"value": "Model"}], "rows": [[]]}]', "a row of 0 cells under 1"),
        ('[{"header": [{"value": "Model"}], "rows": [[{"value": "m"}], [{"value": "m"}]]}]', "two rows are called 'm'"),
        ('[{"header": [], "rows": []}]', "its tables hold no model"),
    ],
)
def test_a_folder_that_is_no_suite_is_refused(
    tmp_path: Path, content: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "groups").mkdir()
        (tmp_path / "groups" / "core_scenarios.json").write_text(content)
    assert run(tmp_path) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


# Tables that are refused, by name, in one line.


def without(column: str, **more: Any) -> Row:
    return {k: v for k, v in row(0.5).items() if k != column} | more


HEADER = ",".join(["name", *COLUMNS])
NUMBERS = ",0.5" * (len(COLUMNS) - 1)

BAD_JSON = {
    "misspelt column": (
        {"a": without("BBQ - EM", **{"BBQ-EM": 0.5})},
        "'a' has no column 'BBQ - EM'. Is it 'BBQ-EM'? Rename that.",
    ),
    "nothing of the challenge": ({"a": {"perplexity": 7}}, "'a' has none of the challenge's columns, such as 'MMLU"),
    "stderr that is none": (
        {"a": row(0.5) | {"GSM8K - EM (stderr)": "small"}},
        "'GSM8K - EM (stderr)': 'small' is not a number.",
    ),
    "text": ({"a": row(0.5) | {"GSM8K - EM": "n/a"}}, "'a', 'GSM8K - EM': 'n/a' is not a number."),
    "number as text": ({"a": row(0.5) | {"GSM8K - EM": "0.5"}}, "'a', 'GSM8K - EM': '0.5' is not a number."),
    "true": ({"a": row(0.5) | {"GSM8K - EM": True}}, "'a', 'GSM8K - EM': True is not a number."),
    "a list": ({"a": row(0.5) | {"GSM8K - EM": [0.5]}}, "'a', 'GSM8K - EM': [0.5] is not a number."),
    "NaN": ({"a": row(0.5) | {"GSM8K - EM": float("nan")}}, "'a', 'GSM8K - EM': nan is not in [0, 1]."),
    "percent": ({"a": row(0.5) | {"GSM8K - EM": 44.3}}, "44.3 is not in [0, 1]. HELM's metrics are fractions"),
    "negative": ({"a": row(0.5) | {"GSM8K - EM": -0.1}}, "-0.1 is not in [0, 1]."),
    "text in a figure": ({"a": row(0.5) | {"Score_full": "high"}}, "'a', 'Score_full': 'high' is not a number."),
    "duplicate names": ([["a", row(0.1)], ["a", row(0.2)]], "two submissions are called 'a'. Rename one."),
    "duplicate keys": ('{"a": {}, "a": {}}', "'a' stands twice."),
    "duplicate columns": ('{"a": {"MMLU - EM": 0.1, "MMLU - EM": 0.2}}', "'MMLU - EM' stands twice."),
    "no name": ({" ": row(0.5)}, "a submission without a name."),
    "nothing": ({}, "no submission in it."),
    "a number": ("5", "neither [[name, {column: value}], ...] nor {name: {column: value}}."),
    "pairs of three": ([["a", {}, 1]], "neither [[name,"),
    "not JSON": ("{", "cannot be read as JSON"),
    "too deep": ("[" * 100_000, "cannot be read as JSON"),
}

BAD_CSV = {
    "text": (f"{HEADER}\nmine,n/a{NUMBERS}\n", f"'mine', {FIRST_COLUMN!r}: 'n/a' is not a number."),
    "infinite": (f"{HEADER}\nmine,inf{NUMBERS}\n", f"'mine', {FIRST_COLUMN!r}: inf is not in [0, 1]."),
    "short row": (f"{HEADER}\nmine,0.5\n", "'mine' has 2 cells, the header 32."),
    "no column": ("name,perplexity\nmine,0.5\n", "'mine' has none of the challenge's columns"),
    "duplicate columns": ("name,x,x\nmine,1,2\n", "two columns are called 'x'. Remove one."),
    "duplicate names": (f"{HEADER}\na,0.5{NUMBERS}\na,0.5{NUMBERS}\n", "two submissions are called 'a'."),
    "only a header": (f"{HEADER}\n", "no submission in it."),
    "empty": ("", "no submission in it."),
    "open quote": ('name,"x', "cannot be read as CSV"),
}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("bad.json", *case) for case in BAD_JSON.values()] + [("bad.csv", *case) for case in BAD_CSV.values()],
    ids=[f"json: {name}" for name in BAD_JSON] + [f"csv: {name}" for name in BAD_CSV],
)
def test_a_bad_table_is_refused_by_name(
    write: Callable[..., Path], name: str, content: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(content, name)
    assert run(path, "--json") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {path}")
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1


def test_a_name_in_two_files_is_refused_with_both(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = write({"a": row(0.1)}, "one.json"), write({"a": row(0.2)}, "two.json")
    assert run(one, "--against", two) == 2
    assert f"{two} and {one}: two submissions are called 'a'. Rename one." in capsys.readouterr().err


def test_paths_and_options_that_cannot_be_used_are_refused(
    tmp_path: Path, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    good = write({"a": row(0.1), "b": row(0.2)})
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{")
    for arguments, message in (
        ([tmp_path / "none.json"], "none.json: no such file or folder. Pass a .json or .csv table"),
        ([write("x", "table.xlsx")], "table.xlsx: neither .json nor .csv nor a folder"),
        ([tmp_path / "bytes.json"], "bytes.json: cannot be read as JSON"),
        ([good, "--rule", "elo"], "--rule elo: unknown. Use published or helm."),
        ([good, "--plot", tmp_path / "x.png"], "only SVG is drawn. Name it x.svg."),
        ([], "Missing argument"),
    ):
        assert run(*arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
    with pytest.raises(TableError):
        read_submissions([tmp_path / "none.json"])


# What a person sees.


def test_the_rule_is_told_wherever_figures_are(
    tmp_path: Path, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    good = write({"a": row(0.1), "b": row(0.2)})
    for rule, label in (("published", "the challenge's published rule (wins / n;"), ("helm", "HELM's rule (wins / (n")):
        plot = tmp_path / f"{rule}.svg"
        assert run(good, "--rule", rule, "--plot", plot, "--json") == 0
        out = capsys.readouterr().out
        assert label in out
        assert json.loads(out.splitlines()[-1])["rule"] == rule
        assert label in "".join(ET.parse(plot).getroot().itertext())


def test_the_plot_is_whole_svg_whatever_the_names(
    tmp_path: Path, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    field = write({"field": row(0.5, MATH=None), "<script>&": row(0.2, MATH=None)}, "field.json")
    mine = write({"a name that is far too long to stand beside its bar": row(0.3)}, "mine.json")
    plot = tmp_path / "new folder" / "scores.svg"
    assert run(mine, "--against", field, "--rule", "helm", "--plot", plot) == 0
    assert f"plot: {plot}" in capsys.readouterr().err
    root = ET.parse(plot).getroot()
    assert root.tag == f"{SVG}svg"
    assert len(root.findall(f"{SVG}g")) == 3
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert "<script>&" in texts
    assert "not comparable" in texts  # MATH has one number only
    assert any(t is not None and t.startswith("a name that") and "…" in t for t in texts)


def test_help_shows_how_to_call_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    assert "oneday score 4090_full_ranks.json" in capsys.readouterr().out
