"""What a budget holds: the lowest priority leaves first, the anchor stays, shared work counts once."""

from pathlib import Path

import pytest

from studies.arm import resolve_arms
from studies.budget import fit, share_of
from studies.errors import StudyError
from studies.estimate import Speeds, estimate, speed_key
from studies.graph import Graph, build_graph
from studies.identity import Known
from studies.study import Study
from tests.studies.studies import SMALL, study_of


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return study_of(SMALL, tmp_path)


@pytest.fixture
def graph(study: Study) -> Graph:
    return build_graph(study, resolve_arms(study), Known(), {})


@pytest.fixture
def hours(graph: Graph) -> dict[str, float]:
    """An hour for a training, nothing for a generation."""
    return dict.fromkeys(graph.trainings, 3600.0) | dict.fromkeys(graph.generations, 0.0)


def dropped(study: Study, graph: Graph, seconds: dict[str, float], hours: float) -> tuple[str, ...]:
    return fit(study, graph, seconds, budget_s=hours * 3600).dropped


def test_shared_work_counts_once_and_arms_leave_by_priority(
    study: Study, graph: Graph, hours: dict[str, float]
) -> None:
    assert dropped(study, graph, hours, 7) == ()  # three SFT, three candidates, dpo-en
    assert dropped(study, graph, hours, 6) == ("masked",)
    assert dropped(study, graph, hours, 5) == ("masked", "dpo-en")
    assert dropped(study, graph, hours, 4.9) == ("masked", "dpo-en", "dpo-both")
    assert dropped(study, graph, hours, 1) == ("masked", "dpo-en", "dpo-both", "tenth")
    with pytest.raises(StudyError, match=r"`budget=59m24s` is too small: the anchor whole alone needs 1h00m00s"):
        dropped(study, graph, hours, 0.99)


def test_the_anchor_stays_once_it_is_begun(study: Study, graph: Graph, hours: dict[str, float]) -> None:
    fitted = fit(study, graph, hours, budget_s=10.0, is_running=True)
    assert fitted.arms == ("whole",)


def test_of_equal_priorities_the_later_arm_leaves(tmp_path: Path) -> None:
    study = study_of(SMALL.replace("priority: 90", "priority: 40"), tmp_path)
    graph = build_graph(study, resolve_arms(study), Known(), {})
    hours = dict.fromkeys([*graph.trainings, *graph.generations], 1.0)
    assert fit(study, graph, hours, budget_s=len(hours) - 1).dropped == ("masked",)
    assert fit(study, graph, hours, budget_s=len(hours) - 4).dropped == ("masked", "tenth")


def test_an_arm_whose_work_another_needs_does_not_leave_for_nothing(tmp_path: Path) -> None:
    """dpo-en takes the value that is selected on dpo-both's candidates."""
    study = study_of(SMALL.replace("dpo-both: {priority: 80}", "dpo-both: {priority: 10}"), tmp_path)
    graph = build_graph(study, resolve_arms(study), Known(), {})
    hours = dict.fromkeys(graph.trainings, 1.0) | dict.fromkeys(graph.generations, 0.0)
    assert fit(study, graph, hours, budget_s=6).dropped == ("masked",)
    assert fit(study, graph, hours, budget_s=5).dropped == ("masked", "dpo-en")
    assert fit(study, graph, hours, budget_s=3).dropped == ("masked", "dpo-en", "dpo-both")


def test_what_is_done_costs_nothing(study: Study, graph: Graph, hours: dict[str, float]) -> None:
    done = {identity: 0.0 for identity, training in graph.trainings.items() if training.stage.name == "sft"}
    assert dropped(study, graph, {**hours, **done}, 4) == ()


def test_a_share_leaves_the_others_what_they_need() -> None:
    seconds = {"a": 10.0, "b": 20.0, "c": 10.0}
    assert share_of("a", seconds, seconds, left_s=40) == 10  # nothing is over
    assert share_of("a", seconds, seconds, left_s=45) == 15  # what is over
    assert share_of("a", seconds, seconds, left_s=100) == 30  # no more than three times, for it might hang
    assert share_of("a", seconds, seconds, left_s=400) == 100  # but its proportion
    assert share_of("a", seconds, seconds, left_s=20) == 5  # too little for all
    assert share_of("c", {"c"}, seconds, left_s=25) == 25
    assert share_of("c", {"c"}, seconds, left_s=-1) == 0


def test_a_measured_speed_replaces_the_profile(study: Study, graph: Graph) -> None:
    by_profile = estimate(study, graph, Speeds())
    (sft, *_) = graph.trainings.values()
    assert not by_profile[sft.identity].measured
    measured = estimate(study, graph, Speeds(training={speed_key(sft): 1.0}))[sft.identity]
    assert measured.measured
    assert measured.tokens == 3 * 2 * 1000 * 500
    assert measured.seconds > measured.tokens
    assert measured.steps == -(-measured.tokens // (8 * 2048))  # packed rows


def test_a_base_of_unknown_size_is_asked_for(tmp_path: Path) -> None:
    study = study_of(SMALL, tmp_path, {"base": "models/unknown"})
    graph = build_graph(study, resolve_arms(study), Known(), {})
    with pytest.raises(StudyError, match="the size of models/unknown is not given"):
        estimate(study, graph, Speeds())
