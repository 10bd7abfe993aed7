"""The shipped studies as they are run on a small real model, down to the plan."""

from pathlib import Path

import pytest

from benchmarks.real.studies import STUDIES, Data, write_small
from core.files import write_jsonl
from studies.arm import resolve_arms
from studies.deviations import UNDECLARED, deviations
from studies.estimate import Speeds, estimate
from studies.graph import build_graph
from studies.identity import Known
from studies.study import read_study


@pytest.fixture
def mix(tmp_path: Path) -> Path:
    rows = [{"instruction": f"Say {n}.", "input": "", "output": str(n)} for n in range(200)]
    for name in ("train", "validation"):
        write_jsonl(tmp_path / "mix" / f"{name}.jsonl", rows)
    return tmp_path / "mix"


@pytest.mark.parametrize(("name", "trainings"), [("birbal", 3), ("finnish", 10), ("transfer", 9), ("taiwan", 5)])
def test_a_small_study_keeps_its_arms_apart_and_says_where_it_departs(
    name: str, trainings: int, tmp_path: Path, shared_data: Path, mix: Path
) -> None:
    path = write_small(name, Data(shared_data, tmp_path / "data", mix), tmp_path / "base")
    study = read_study(path)
    arms = resolve_arms(study)
    assert all(stage.weights == "lora" for arm in arms.values() for stage in arm.stages.values())
    found = deviations(study, arms)
    assert UNDECLARED not in {deviation.why for deviation in found}
    assert {*STUDIES[name].replaced, "sft.weights"} <= {deviation.what for deviation in found}
    graph = build_graph(study, arms, Known(), {})
    costs = estimate(study, graph, Speeds(rehearsed={}))
    assert len(graph.trainings) == trainings
    assert sum(cost.seconds for cost in costs.values()) < 6 * 3600
    for source in study.sources.values():
        whole = study.path(source.path)
        assert (whole / "train.jsonl" if whole.is_dir() else whole).is_file()
