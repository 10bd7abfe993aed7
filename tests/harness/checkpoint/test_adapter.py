import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.errors import PredictionError
from core.generation.answer_loss import answer_losses
from core.model.language_model import LanguageModel
from core.model.token_ids import IGNORED_LABEL, rows_ids
from harness.checkpoint.adapter import average_adapters, find_adapters
from harness.checkpoint.loss import CheckpointLosses
from harness.errors import CheckpointError
from tests.conftest import DEMO_BASE
from tests.harness.checkpoint.adapters import write_adapters

NOISES = {"checkpoint-100": 0.3, "checkpoint-20": 0.0, "checkpoint-3": 0.1}


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    write_adapters(folder, DEMO_BASE, NOISES)
    return folder


@pytest.fixture
def copied(adapters: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(adapters, tmp_path / "theirs"))


def test_adapters_of_any_trainer_are_found_in_order_of_their_steps(adapters: Path) -> None:
    good, rejected = find_adapters(adapters)
    assert [(c.path.name, c.step, c.validation_loss) for c in good] == [
        ("checkpoint-3", 3, None), ("checkpoint-20", 20, None), ("checkpoint-100", 100, None),
    ]  # fmt: skip
    assert rejected == []


def test_what_is_no_usable_adapter_is_rejected_with_its_reason(copied: Path) -> None:
    (copied / "runs").mkdir()  # no adapter at all: not even a candidate
    (copied / "checkpoint-3" / "adapter_model.safetensors").rename(copied / "checkpoint-3" / "adapter_model.bin")
    (copied / "checkpoint-20" / "adapter_config.json").write_text("{")
    config = json.loads((copied / "checkpoint-100" / "adapter_config.json").read_text())
    (copied / "checkpoint-100" / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "IA3"}))
    good, rejected = find_adapters(copied)
    assert good == []
    assert {r.id: r.detail for r in rejected} == {
        "checkpoint-3": "its weights are a pickle file: save them as safetensors",
        "checkpoint-20": "adapter_config.json is missing or not a JSON object",
        "checkpoint-100": "peft_type is IA3, not LORA",
    }
    with pytest.raises(CheckpointError, match="no such folder"):
        find_adapters(copied / "gone")


def test_an_average_is_the_mean_of_every_tensor(adapters: Path, tmp_path: Path) -> None:
    parts = [adapters / "checkpoint-3", adapters / "checkpoint-100"]
    out = average_adapters(parts, (0.25, 0.75), tmp_path / "mean")
    a, b, mean = (load_file(path / "adapter_model.safetensors") for path in (*parts, out))
    for name, tensor in mean.items():
        assert tensor.dtype == a[name].dtype
        assert tensor.allclose(0.25 * a[name] + 0.75 * b[name], atol=1e-7)
    LanguageModel.load(DEMO_BASE, lora_adapter=out)


def test_adapters_of_different_shape_or_scale_have_no_average(adapters: Path, tmp_path: Path) -> None:
    wide = write_adapters(tmp_path, DEMO_BASE, {"checkpoint-1": 0.1}, rank=8)[0]
    with pytest.raises(CheckpointError, match="its shape differs"):
        average_adapters([adapters / "checkpoint-3", wide], (0.5, 0.5), tmp_path / "mean")
    other = Path(shutil.copytree(adapters / "checkpoint-3", tmp_path / "other"))
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 99}))
    with pytest.raises(CheckpointError, match="its shape differs"):
        average_adapters([adapters / "checkpoint-3", other], (0.5, 0.5), tmp_path / "mean")


def test_a_worn_adapter_equals_one_that_was_loaded(adapters: Path, tmp_path: Path) -> None:
    wide = write_adapters(tmp_path, DEMO_BASE, {"checkpoint-1": 0.2}, rank=8)[0]
    worn = LanguageModel.load(DEMO_BASE)
    ids = worn.encode("### Response:\nthe plate is hot")
    order = [adapters / "checkpoint-3", adapters / "checkpoint-100", wide, adapters / "checkpoint-3"]
    for adapter in order:  # the same shape, another, and back
        worn.load_adapter(adapter)
        loaded = LanguageModel.load(DEMO_BASE, lora_adapter=adapter)
        assert answer_losses(worn, [(ids, ids)]) == answer_losses(loaded, [(ids, ids)])


def test_an_adapter_that_cannot_be_worn_says_so_and_leaves_the_model_usable(adapters: Path, copied: Path) -> None:
    (copied / "checkpoint-3" / "adapter_model.safetensors").write_bytes(b"torn")
    model = LanguageModel.load(DEMO_BASE)
    ids = model.encode("### Response:\nyes")
    with pytest.raises(PredictionError, match="no adapter that fits"):
        model.load_adapter(copied / "checkpoint-3")
    model.load_adapter(adapters / "checkpoint-100")
    loaded = LanguageModel.load(DEMO_BASE, lora_adapter=adapters / "checkpoint-100")
    assert answer_losses(model, [(ids, ids)]) == answer_losses(loaded, [(ids, ids)])
    with pytest.raises(PredictionError, match="no adapter that fits"):
        model.load_adapter(copied / "checkpoint-3")
    model.load_adapter(adapters / "checkpoint-20")
    loaded = LanguageModel.load(DEMO_BASE, lora_adapter=adapters / "checkpoint-20")
    assert answer_losses(model, [(ids, ids)]) == answer_losses(loaded, [(ids, ids)])


def test_losses_fall_on_labelled_tokens_alone() -> None:
    model = LanguageModel.load(DEMO_BASE)
    ids = model.encode("### Response:\nyes")
    everything = answer_losses(model, [(ids, ids)])[0]
    last = answer_losses(model, [(ids, [*[IGNORED_LABEL] * (len(ids) - 1), ids[-1]])])[0]
    assert everything[1] == len(ids) - 1
    assert last[1] == 1
    assert 0 < last[0] < everything[0]


@pytest.mark.parametrize("precision", ["fp32", "4bit"])
def test_a_batch_gives_the_sums_of_rows_alone_to_rounding(precision: str) -> None:
    model = LanguageModel.load(DEMO_BASE, precision=precision)  # type: ignore[arg-type]
    rows = []
    for n in (1, 40, 7, 20, 3):
        ids = model.encode("### Response:\n" + "hot and cold " * n)
        rows.append((ids, [*[IGNORED_LABEL] * 5, *ids[5:]]))
    alone, seen = answer_losses(model, rows), []
    together = answer_losses(model, rows, batch_tokens=200, before_batch=lambda: seen.append(1))
    assert 1 < len(seen) < len(rows)
    assert [n for _, n in together] == [n for _, n in alone]
    assert [total for total, _ in together] == pytest.approx([total for total, _ in alone], rel=1e-4)


def test_the_mean_is_over_answer_tokens(adapters: Path) -> None:
    from harness.base_model import load_tokenizer

    answers = ("yes", "the plate of Fay is hot", "no no")
    rows = rows_ids(load_tokenizer(DEMO_BASE), [("### Response:\n", answer) for answer in answers])
    losses = CheckpointLosses(DEMO_BASE, precision=None, rows=rows)
    sums = losses.sums(adapters / "checkpoint-3", [0, 1, 2])
    assert losses.mean(adapters / "checkpoint-3") == pytest.approx(sum(sums) / sum(losses.num_answer_tokens))


def test_an_adapter_that_changed_the_base_leaves_it_as_it_was(adapters: Path, copied: Path) -> None:
    """PEFT's unload keeps a trained module in the model."""
    from safetensors.torch import save_file

    changed = copied / "checkpoint-3"
    config = json.loads((changed / "adapter_config.json").read_text())
    (changed / "adapter_config.json").write_text(json.dumps({**config, "modules_to_save": ["model.norm"]}))
    weights = load_file(changed / "adapter_model.safetensors")
    hidden = json.loads((DEMO_BASE / "config.json").read_text())["hidden_size"]
    weights["base_model.model.model.norm.weight"] = torch.full((hidden,), 3.0)
    save_file(weights, changed / "adapter_model.safetensors", metadata={"format": "pt"})
    worn = LanguageModel.load(DEMO_BASE)
    ids = worn.encode("### Response:\nthe plate is hot")
    for adapter in (changed, adapters / "checkpoint-100"):
        worn.load_adapter(adapter)
        loaded = LanguageModel.load(DEMO_BASE, lora_adapter=adapter)
        assert answer_losses(worn, [(ids, ids)]) == answer_losses(loaded, [(ids, ids)])
