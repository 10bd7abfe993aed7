"""The runner that trains with the harness: what it refuses, before anything is built or started."""

from pathlib import Path

import pytest

from core.errors import OnedayError
from harness.budget.gpu_profile import get_gpu_profile
from studies.running.harness_runner import HarnessRunner
from studies.running.prepare import prepare
from tests.studies.fakes import FakeEvaluator, Machine
from tests.studies.studies import SMALL, study_of


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sweep.key": "learning_rate", "sweep.halving": True},
            r"sweep\.halving: .* of dpo-both: kind dpo",
        ),
        (
            {"sft.optimizer": "paged_adamw_8bit"},
            r"stage sft of .*whole.* cannot .*the recipe needs a GPU for optimizer",
        ),
        ({"sft.axolotl": {"lora_model_dir": "x"}}, r"stage sft of .*whole.* cannot .* begins from another adapter"),
    ],
)
def test_what_the_harness_cannot_train_is_refused_by_name_before_anything_is_built(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    study = study_of(SMALL, tmp_path, changes)
    folder = tmp_path / "run"
    evaluator = FakeEvaluator(Machine(), lambda identity: 0.0, lambda metric, generation: None)
    runner = HarnessRunner(card=get_gpu_profile("cpu"), folder=folder)
    with pytest.raises(OnedayError, match=message):
        prepare(study, folder=folder, runner=runner, evaluator=evaluator)
    assert not folder.exists()
