import json
import math
from collections import defaultdict
from pathlib import Path

import pytest

from evaluation.errors import EvaluationError
from evaluation.join import join
from evaluation.responses import read_responses
from evaluation.scoring import evaluate
from evaluation.tc_eval.all_tasks import RUNNER, AllParameters, load_all
from tests.evaluation.tc_eval.conftest import constant


def test_the_average_is_the_plain_mean_of_seven_and_a_missing_task_leaves_none(folder: Path) -> None:
    pytest.importorskip("sumeval", reason="sumeval and jieba (extra `eval`) are not installed")
    found = constant(load_all(folder, AllParameters()), "A 北部")
    for name in ("average", "macro"):
        figure = found.metrics[name]
        assert figure.value == pytest.approx((0.5 + 0 + 0.5 + 0.5 + 0 + 0 + 0) / 7)
        assert figure.interval is not None
        assert figure.interval[0] < figure.value < figure.interval[1]
    assert found.metrics["micro"].value == pytest.approx((1 + 0 + 1 + 1 + 0 + 0 + 0) / 11)
    by_task = {name: figures["micro"].value for name, figures in found.by["task"].items()}
    assert by_task == {
        "drcd": 0.5, "fgc": 0, "ttqa": 0.5, "tmmlu": 0.5, "xsum-tc": 0, "imdb-tc": 0, "penguins": 0
    }  # fmt: skip
    (folder / "FGC_official_final.json").unlink()
    less = constant(load_all(folder, AllParameters()), "A 北部")
    assert less.not_run == {"average": "the mean of seven tasks; missing: fgc: no items"}
    assert less.metrics["macro"].value == pytest.approx(1.5 / 6)
    assert constant(load_all(folder, AllParameters(tasks="drcd")), "北部").metrics["macro"].value == 0.5
    with pytest.raises(EvaluationError, match=r"tasks=drdc: drdc is no task\. Give some of drcd, fgc"):
        load_all(folder, AllParameters(tasks="drdc"))
    with pytest.raises(EvaluationError, match="Generate drcd, ttqa"):
        load_all(folder, AllParameters()).generation()


def test_four_tasks_of_a_recorded_model(shared_data: Path) -> None:
    """Its rows of tasks without items are another suite's."""
    folder = shared_data / "tc_eval"
    suite = load_all(folder, AllParameters())
    responses = read_responses(folder / "responses" / "gpt3.5.jsonl.gz")
    found = evaluate(suite, join(suite, responses), responses)
    own = {name: figures["tc_eval_micro"] for name, figures in found.by["task"].items()}
    counts = {name: (figure.k, figure.n) for name, figure in own.items()}
    assert counts == {"drcd": (2737, 3493), "penguins": (60, 149), "tmmlu": (1799, 3343), "ttqa": (77, 103)}
    assert found.by["task"]["drcd"]["macro"].k == 3207
    first = [found.by["task"][name]["macro"].value or 0 for name in ("penguins", "tmmlu", "ttqa")]
    assert found.metrics["macro"].value == pytest.approx((3207 / 3493 + sum(first)) / 4)
    shares = (2737 / 3493, 60 / 149, 1799 / 3343, 77 / 103)
    assert found.metrics["tc_eval_macro"].value == pytest.approx(sum(shares) / 4)
    assert list(found.not_run) == ["average"]
    assert set(found.by["prompts"]) == {"not recorded"}


def test_the_papers_averages_and_counts_re_derive(shared_data: Path) -> None:
    rows: dict[str, dict[str, dict[str, object]]] = defaultdict(dict)
    for entry in json.loads((shared_data / "papers" / "taiwan.json").read_text())["values"]:
        if entry["table"] == "3":
            rows[entry["row"]][entry["column"]] = entry
    off = {}
    for name, columns in rows.items():
        printed = columns.pop("Avg")["value"]
        assert len(columns) == len(RUNNER)
        mean = sum(float(str(c["value"])) for c in columns.values()) / len(columns)
        if abs(mean - float(str(printed))) >= 0.00501:
            off[name] = (round(mean, 2), printed)
    assert len(rows) == 12
    assert off == {"13B + CommonCrawl": (46.10, 46.11)}
    implied = [(c["value"], c["implied"]) for columns in rows.values() for c in columns.values() if "implied" in c]
    shares = [(value, 100 * of["k"] / of["n"]) for value, of in implied]  # type: ignore[index]
    assert len(shares) == 72
    truncated = [value for value, share in shares if round(share, 2) != value]
    assert truncated == [87.57, 26.84]
    assert all(math.floor(100 * share) / 100 == value for value, share in shares if value in truncated)
