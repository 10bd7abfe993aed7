"""A stage as a recipe: every shipped one is accepted, and its keys are those that the stage declares."""

from pathlib import Path

import pytest

from harness.budget.schedule import LRSchedule, Segment
from studies.arm import resolve_arms
from studies.errors import StudyError
from studies.recipe import recipe_of
from studies.stage import Kind
from studies.study import find_study, read_presets, read_study, shipped
from tests.studies.studies import SMALL, study_of

PRESETS = [(path.stem, preset) for path in shipped() for preset in read_presets(path)]


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_the_harness_accepts_the_stages_of_every_arm(name: str, preset: str) -> None:
    study = read_study(find_study(Path(name)), preset=preset)
    stages = [stage for arm in resolve_arms(study).values() for stage in arm.stages.values()]
    for stage in stages:
        recipe = recipe_of(stage, seed=study.seed)
        assert (recipe.weights, recipe.max_steps) == (stage.weights, stage.max_steps)
        assert recipe.further["adam_beta2"] == stage.adam_beta2
        assert (recipe.is_paired, recipe.measured_beta) == (stage.kind is Kind.DPO, stage.beta)


@pytest.mark.parametrize("scheduler", ["linear", "polynomial"])
def test_the_published_rate_of_transfer_falls_to_a_tenth(scheduler: str) -> None:
    study = read_study(find_study(Path("transfer")), preset="published", changes={"sft.lr_scheduler": scheduler})
    recipe = recipe_of(study.stage("sft"), seed=study.seed)
    schedule = LRSchedule([Segment(step=0, progress=0.0, horizon=1000, reason="declared length")])
    rates = [recipe.learning_rate * recipe.curve().share(step, schedule) for step in (0, 500, 1000)]
    assert rates == pytest.approx([1e-5, 5.5e-6, 1e-6], abs=1e-12)


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({"lora_dropuot": 0.1}, r"sft\.axolotl: unknown key 'lora_dropuot' \(did you mean lora_dropout\?\)"),
        ({"weight_decay": 0.1}, r"sft\.axolotl: 'weight_decay' is a key of the stage itself"),
        ({"group_by_length": True}, r"sft\.axolotl: 'group_by_length': every batch is planned by its number"),
        ({"lora_model_dir": "x"}, r"sft: lora_model_dir: begins from another adapter"),
    ],
)
def test_a_key_of_axolotl_that_would_do_nothing_is_refused(
    further: dict[str, object], message: str, tmp_path: Path
) -> None:
    stage = study_of(SMALL, tmp_path, {"sft.axolotl": further}).stage("sft")
    with pytest.raises(StudyError, match=message):
        recipe_of(stage, seed=1)
