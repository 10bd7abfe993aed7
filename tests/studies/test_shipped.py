"""The shipped studies resolve to the trainings that their papers counted, and declare where they depart from them."""

import json
from collections import Counter
from pathlib import Path

import pytest

from studies.arm import resolve_arms
from studies.deviations import UNDECLARED, deviations
from studies.estimate import Speeds
from studies.identity import Known
from studies.metrics import check_metrics
from studies.plan import StudyPlan, plan_study
from studies.study import Study, find_study, read_presets, read_study, shipped

PRESETS = [(path.stem, preset) for path in shipped() for preset in read_presets(path)]


def study_of(name: str, preset: str = "paper") -> Study:
    return read_study(find_study(Path(name)), preset=preset)


def plan_of(name: str, preset: str = "paper") -> StudyPlan:
    return plan_study(study_of(name, preset), known=Known(), speeds=Speeds())


def stages(plan: StudyPlan) -> dict[str, int]:
    return dict(Counter(training.stage.name for training in plan.graph.trainings.values()))


def test_there_are_four_with_two_presets_each() -> None:
    names = ("birbal", "finnish", "taiwan", "transfer")
    assert [(name, preset) for name in names for preset in ("paper", "published")] == PRESETS


@pytest.mark.parametrize("preset", ["paper", "published"])
def test_finnish_is_nine_sft_and_five_dpo_on_one_parent(preset: str) -> None:
    plan = plan_of("finnish", preset)
    assert stages(plan) == {"sft": 9, "dpo": 5}
    dpo = [training for training in plan.graph.trainings.values() if training.stage.name == "dpo"]
    assert len({training.parent for training in dpo}) == 1
    assert sorted(t.stage.beta or 0 for t in dpo if t.arms == ("dpo-both",)) == [0.01, 0.05, 0.1]
    assert {t.arms: t.waits_for for t in dpo if t.waits_for} == {("dpo-en",): "dpo-both", ("dpo-fi",): "dpo-both"}
    checkpoints = {generation.training for generation in plan.graph.generations.values()}
    assert (len(checkpoints), len(plan.graph.generations)) == (14, 28)


@pytest.mark.parametrize("preset", ["paper", "published"])
def test_transfer_is_seven_configurations_at_three_rates(preset: str) -> None:
    plan = plan_of("transfer", preset)
    assert stages(plan) == {"sft": 21}
    assert {name: len(group.candidates) for name, group in plan.graph.groups.items()} == dict.fromkeys(plan.arms, 3)
    asked = sum(g.num_items for g in plan.graph.generations.values() if g.suite == "crosslingual")
    assert asked == 21 * 452
    modifiers = [g for g in plan.graph.generations.values() if g.suite == "modifiers"]
    assert [(g.arms, g.languages, g.num_items) for g in modifiers] == [(("13b-dolly-en",), ("en", "ru"), 2 * 251)]


def test_taiwan_in_sequence_shares_two_stages_of_the_smaller_size() -> None:
    plan = plan_of("taiwan")
    assert stages(plan) == {"cpt": 4, "sft": 5, "feedback": 5}
    assert {training.arms for training in plan.shared()} == {("7b", "7b-no-feedback")}
    assert [training.stage.name for training in plan.shared()] == ["cpt", "sft"]
    assert sum(generation.num_items for generation in plan.graph.generations.values()) == 6 * 17_138


def test_taiwan_merged_has_no_feedback_stage_and_table_2_sums() -> None:
    plan = plan_of("taiwan", "published")
    assert stages(plan) == {"cpt": 4, "sft": 6}
    study = plan.study
    assert study.stage("sft").data.amount(study.sources).rows == 517_642


def test_choosing_trains_three_arms_for_equal_tokens_and_asks_the_base_too() -> None:
    plan = plan_study(read_study(find_study(Path("choosing"))), known=Known(), speeds=Speeds())
    trainings = plan.graph.trainings
    assert len({(plan.costs[i].steps, plan.costs[i].tokens) for i in trainings}) == 1
    controls = {t.arms[0]: t.stage.data.model_dump()["control"] for t in trainings.values()}
    assert controls == {"recommended": "none", "random": "random", "balanced": "balanced"}
    asked = {generation.arms[0]: generation.num_items for generation in plan.graph.generations.values()}
    assert asked == dict.fromkeys([*controls, "base"], 200)


def test_birbal_is_three_mixes_with_three_two_and_one_epochs() -> None:
    plan = plan_of("birbal")
    epochs = {t.arms[0]: t.stage.num_epochs for t in plan.graph.trainings.values()}
    assert epochs == {"200k": 3, "400k": 2, "700k": 1}


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_a_preset_fits_its_budget_and_is_whole(name: str, preset: str) -> None:
    study = study_of(name, preset)
    check_metrics(study)
    plan = plan_of(name, preset)
    assert plan.fitted.dropped == ()
    assert json.loads(json.dumps(plan.as_json()))["dropped"] == []


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_an_arm_differs_from_the_anchor_by_exactly_what_it_declares(name: str, preset: str) -> None:
    study = study_of(name, preset)
    arms = resolve_arms(study)
    anchor = study.arms[study.anchor]
    for arm_name, arm in arms.items():
        declared = study.arms[arm_name]
        skipped = set(declared.skip) ^ set(anchor.skip)
        resolved = {change.key for change in arm.difference if change.key not in skipped}
        assert skipped <= {change.key for change in arm.difference}
        for key in resolved:
            assert any(key == said or key.startswith(f"{said}.") for said in declared.changes), (arm_name, key)
        for said in declared.changes:
            assert any(key == said or key.startswith(f"{said}.") for key in resolved), (arm_name, said)


def undeclared(study: Study) -> list[str]:
    """Returns the keys that differ from the paper's without a line that says why."""
    return [line.what for line in deviations(study, resolve_arms(study)) if line.why == UNDECLARED]


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_no_value_differs_from_the_papers_without_a_reason(name: str, preset: str) -> None:
    study = study_of(name, preset)
    assert undeclared(study) == []


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_every_reason_is_of_something_that_differs_in_some_preset(path: Path) -> None:
    found = set()
    for preset in read_presets(path) or [None]:
        study = read_study(path, preset=preset)
        found |= {line.what for line in deviations(study, resolve_arms(study))}
    assert found == {line.what for line in read_study(path).deviations}


def test_an_option_that_departs_from_the_paper_is_a_deviation() -> None:
    study = read_study(find_study(Path("finnish")), changes={"sft.learning_rate": 1e-4, "dpo.micro_batch_size": 1})
    assert undeclared(study) == ["sft.learning_rate", "dpo.batch_sequences"]


@pytest.mark.parametrize("path", [p for p in shipped() if p.stem != "choosing"], ids=lambda path: path.stem)
def test_rows_and_columns_are_those_of_the_papers_file(path: Path, shared_data: Path) -> None:
    paper = read_study(path, changes={"data_folder": str(shared_data)}).paper
    assert paper is not None
    values = json.loads((shared_data / paper.file).read_text())["values"]
    assert set(paper.rows.values()) <= {v["row"] for v in values} | {v["column"] for v in values}
    assert set(paper.columns.values()) <= {v["column"] for v in values}


@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("finnish", {"sft.learning_rate", "sft.warmup_ratio", "dpo.learning_rate", "dpo.warmup_ratio"}),
        ("transfer", {"sweep.values"}),
    ],
)
def test_what_is_said_of_the_paper_is_what_its_file_says(file: str, keys: set[str], shared_data: Path) -> None:
    paper = study_of(file).paper
    assert paper is not None
    data = json.loads((shared_data / paper.file).read_text())
    if file == "transfer":
        assert paper.settings["sweep.values"] == data["learning_rates_tried"]
        return
    for key in keys:
        stage, name = key.split(".")
        assert paper.settings[key] == data["hyperparameters"][stage][name]
    assert paper.settings["sweep.values"] == data["hyperparameters"]["dpo"]["beta_tried"]
    assert paper.settings["sft.batch_sequences"] == data["hyperparameters"]["sft"]["global_batch"]
    assert paper.settings["dpo.batch_sequences"] == data["hyperparameters"]["dpo"]["global_batch"]
