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
        ({}, r"stage dpo of dpo-both cannot be trained here: kind dpo: the harness trains kind sft alone so far"),
        ({"sft.weights": "full"}, r"stage sft of .*whole.* cannot be trained here: weights full"),
        ({"sft.adam_beta2": 0.95}, r"adam_beta1 and adam_beta2"),
        ({"sft.axolotl": {"no_such_key": 1}}, r"sft: no_such_key: "),
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
