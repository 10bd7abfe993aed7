"""Plain text with every kind of weights, on the real Axolotl: every token is trained and measured."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.run_folder import TRAIN
from harness.axolotl_process import Launcher
from harness.data.own_mix import OwnMixParameters, own_mix
from harness.data.share import DataFile
from harness.inside.events import Evaluation
from harness.keys.acceptance import Acceptance
from harness.keys.yaml_file import read_mapping
from harness.run import train
from harness.supervise import events_of
from tests.harness.inside.test_exact import SLOW
from tests.harness.test_run import make_job

pytestmark = pytest.mark.slow
RECIPE = Path(__file__).parents[2] / "data" / "recipes" / "completion.yml"
WEIGHTS = {
    "qlora": {"adapter": "qlora", "eval_sample_packing": False, "micro_batch_size": 3},  # Axolotl drops the fourth row
    "lora": {"adapter": "lora"},
    "lora_8bit": {"adapter": "lora", "load_in_8bit": True},
    "full": {"adapter": None},
}


def write_texts(folder: Path) -> Path:
    """A mix of plain texts, four of them for validation."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"text": f"Chapter {n}. A fox met {n} hares, and all of them ran home.\n" * 3} for n in range(40)]
    (folder / "tale.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return own_mix(folder / "run", [DataFile(str(folder / "tale.jsonl"))], OwnMixParameters()).directory


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("texts"))


@pytest.mark.parametrize("weights", WEIGHTS)
def test_plain_text_is_trained(weights: str, texts: Path, tmp_path: Path, demo_base: Path, axolotl: Launcher) -> None:
    raw = {**read_mapping(RECIPE), **WEIGHTS[weights], "max_steps": 4, "eval_steps": 3, "learning_rate": 1e-3}
    found = Acceptance.of({**raw, "optimizer": "adamw_torch"})
    assert (found.objective, found.weights, found.needs) == ("completion", weights, ())
    assert found.recipe is not None
    job = replace(make_job(tmp_path, texts, demo_base, budget_s=900.0), recipe=found.recipe)
    result = train(job, SLOW, launch=axolotl)
    assert (result.stop_reason, result.steps) == ("epochs", 4)
    losses = [event for event in events_of(job.run / TRAIN) if isinstance(event, Evaluation)]
    assert [event.step for event in losses] == [1, 3, 4]
    assert losses[-1].validation_loss < losses[0].validation_loss
    validation = job.dataset().validation
    assert losses[0].answer_tokens == validation.num_tokens - validation.num_rows, "all but the first of each row"
