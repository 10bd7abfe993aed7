from pathlib import Path
from types import SimpleNamespace

from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from core.model.language_model import LanguageModel
from harness.checkpoint.content import EMA_WEIGHTS
from harness.inside.ema import MovingAverage, decay_at
from tests.conftest import DEMO_BASE

NOTHING = SimpleNamespace()


def test_the_decay_rises_with_the_steps() -> None:
    assert [round(decay_at(step, 0.9), 3) for step in (1, 2, 10, 1_000)] == [0.182, 0.25, 0.55, 0.9]


def test_the_average_follows_its_recurrence_and_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    """With a trained module of the base, whose name PEFT changes in the file."""
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["norm"], task_type="CAUSAL_LM")
    model = get_peft_model(LanguageModel.load(DEMO_BASE).model, config)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    average = MovingAverage(model, decay=0.5, resume_from=None)
    average.on_train_begin(NOTHING, NOTHING, NOTHING)
    expected = {name: weight.detach().clone() for name, weight in trained.items()}
    for step in (1, 2, 30):
        for name, weight in trained.items():
            weight.data += step
            decay = decay_at(step, 0.5)
            expected[name] = decay * expected[name] + (1 - decay) * weight.detach()
        average.on_step_end(NOTHING, SimpleNamespace(global_step=step), NOTHING)
    average.save(tmp_path)
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / EMA_WEIGHTS)
    assert saved.keys() == load_file(tmp_path / "adapter_model.safetensors").keys()
    assert any(name.endswith("model.norm.weight") for name in saved)
    for name, mean in expected.items():
        in_file = name.replace(".default", "").replace(".modules_to_save", "")
        assert saved[in_file].allclose(mean, atol=1e-5)

    again = MovingAverage(model, decay=0.5, resume_from=str(tmp_path))
    again.on_train_begin(NOTHING, NOTHING, NOTHING)
    for number, moving in enumerate((average, again)):
        moving.update(31)
        (tmp_path / str(number)).mkdir()
        moving.save(tmp_path / str(number))
    assert (tmp_path / "0" / EMA_WEIGHTS).read_bytes() == (tmp_path / "1" / EMA_WEIGHTS).read_bytes()
