"""The plugin inside the real Axolotl: what it refuses before the first step."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.axolotl_process import Launcher
from harness.errors import TrainError
from harness.run import train
from tests.core.model.test_weights import UP, changed, one_missing
from tests.harness.test_run import MEASURED, make_job


@pytest.mark.slow
def test_a_base_with_a_missing_weight_is_not_trained_on(
    tmp_path: Path, write_mix: Callable[..., Path], demo_base: Path, axolotl: Launcher
) -> None:
    job = make_job(tmp_path, write_mix(), changed(tmp_path / "base", demo_base, one_missing), budget_s=120.0)
    with pytest.raises(TrainError, match=rf"its weights do not fit its config\.json .*: they lack {UP}"):
        train(job, MEASURED, launch=axolotl)
