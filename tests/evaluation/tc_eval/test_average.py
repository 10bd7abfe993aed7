import json
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.scoring import Evaluation
from evaluation.tc_eval.average import METRICS, average
from evaluation.tc_eval.suites import Drcd, Fgc, ImdbTc, Penguins, TcEvalParameters, Tmmlu, Ttqa, XsumTc
from tests.evaluation.tc_eval.conftest import constant

KINDS = (Drcd, Fgc, Ttqa, Tmmlu, XsumTc, ImdbTc, Penguins)


@pytest.fixture
def evaluations(folder: Path) -> Callable[[str], dict[str, Evaluation]]:
    return lambda text: {kind.name: constant(kind(folder, TcEvalParameters()), text) for kind in KINDS}


def test_the_average_is_the_plain_mean_of_seven_and_a_missing_task_leaves_none(
    evaluations: Callable[[str], dict[str, Evaluation]],
) -> None:
    pytest.importorskip("sumeval", reason="sumeval and jieba (extra `eval`) are not installed")
    found = evaluations("A 北部")
    figure = average(found)
    assert figure.value == pytest.approx((0.5 + 0 + 0.5 + 0.5 + 0 + 0 + 0) / 7)
    assert figure.interval is not None
    assert figure.interval[0] < figure.value < figure.interval[1]
    assert average({name: e for name, e in found.items() if name != "fgc"}).value is None


def test_the_papers_averages_and_counts_re_derive(shared_data: Path) -> None:
    rows: dict[str, dict[str, dict[str, object]]] = defaultdict(dict)
    for entry in json.loads((shared_data / "papers" / "taiwan.json").read_text())["values"]:
        if entry["table"] == "3":
            rows[entry["row"]][entry["column"]] = entry
    off = {}
    for name, columns in rows.items():
        printed = columns.pop("Avg")["value"]
        assert len(columns) == len(METRICS)
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
