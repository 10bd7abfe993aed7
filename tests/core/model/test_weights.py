"""A folder whose weights are not those of its config is refused by the names of the weights."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import PredictionError
from core.model.language_model import LanguageModel
from core.model.weight_file import has_end
from core.model.weights import check_weights

UP, NORM = "model.layers.1.mlp.up_proj.weight", "model.norm.weight"
Weights = dict[str, torch.Tensor]


def changed(folder: Path, demo_base: Path, change: Callable[[Weights], None], **config: Any) -> Path:
    """The demo base with other weights."""
    shutil.copytree(demo_base, folder, dirs_exist_ok=True)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


def one_missing(weights: Weights) -> None:
    del weights[UP]


def one_renamed(weights: Weights) -> None:
    weights["model.layers.1.mlp.w3.weight"] = weights.pop(UP)


def all_renamed(weights: Weights) -> None:
    for name in list(weights):
        weights[f"backbone.{name}"] = weights.pop(name)


def one_more(weights: Weights) -> None:
    weights["model.layers.1.self_attn.q_proj.bias"] = torch.zeros(128)


def another_shape(weights: Weights) -> None:
    weights[NORM] = torch.zeros(64)


DAMAGES: dict[str, tuple[Callable[[Weights], None], str]] = {
    "missing": (one_missing, rf"they lack {UP}\. Fetch the model again"),
    "renamed": (one_renamed, rf"they lack {UP}; they hold unknown model\.layers\.1\.mlp\.w3\.weight\. Fetch"),
    "all renamed": (all_renamed, r"they lack .*, .*, .* and \d+ more; they hold unknown backbone\..* and \d+ more\."),
    "one more": (one_more, r"they hold unknown model\.layers\.1\.self_attn\.q_proj\.bias\. Fetch"),
}


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("check", [LanguageModel.load, check_weights])
def test_weights_that_do_not_fit_are_named(
    name: str, check: Callable[[Path], object], demo_base: Path, tmp_path: Path
) -> None:
    change, message = DAMAGES[name]
    with pytest.raises(PredictionError, match=message) as e:
        check(changed(tmp_path / "base", demo_base, change))
    assert str(e.value).startswith(f"{tmp_path}/base: its weights do not fit its config.json (MistralForCausalLM)")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("check", [LanguageModel.load, check_weights])
def test_another_shape_is_an_error_too(check: Callable[[Path], object], demo_base: Path, tmp_path: Path) -> None:
    with pytest.raises((PredictionError, RuntimeError)):
        check(changed(tmp_path / "base", demo_base, another_shape))


@pytest.mark.parametrize("check", [LanguageModel.load, check_weights])
def test_tied_embeddings_and_old_buffers_are_no_fault(
    check: Callable[[Path], object], demo_base: Path, tmp_path: Path
) -> None:
    def with_buffer_and_head(weights: Weights) -> None:
        assert "lm_head.weight" not in weights, "the demo base ties its embeddings"
        weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(16)

    check(demo_base)
    check(changed(tmp_path / "base", demo_base, with_buffer_and_head))


@pytest.mark.parametrize("check", [LanguageModel.load, check_weights])
def test_an_output_layer_that_is_not_tied_must_be_there(
    check: Callable[[Path], object], demo_base: Path, tmp_path: Path
) -> None:
    folder = changed(tmp_path / "base", demo_base, lambda weights: None, tie_word_embeddings=False)
    with pytest.raises(PredictionError, match=r"they lack lm_head\.weight"):
        check(folder)


def test_weights_in_several_files_are_one_model(demo_base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(demo_base, folder)
    LanguageModel.load(demo_base).model.save_pretrained(folder, max_shard_size="300KB")
    (folder / "model.safetensors").unlink()
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    check_weights(folder)
    LanguageModel.load(folder)


def as_pickle(folder: Path, demo_base: Path) -> Path:
    """The demo base as torch wrote models until 2023."""
    shutil.copytree(demo_base, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder / "pytorch_model.bin"


def test_a_pickle_file_holds_the_same_model_and_is_checked_as_well(demo_base: Path, tmp_path: Path) -> None:
    path = as_pickle(tmp_path / "base", demo_base)
    check_weights(path.parent)
    ids = torch.tensor([[1, 5, 9]])
    logits = [LanguageModel.load(folder).model(ids).logits for folder in (demo_base, path.parent)]
    assert torch.equal(*logits)
    torch.save({NORM: torch.zeros(128)}, path)
    with pytest.raises(PredictionError, match="they lack"):
        check_weights(path.parent)


class Payload:
    """Runs code when it is unpickled without care."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch ran",)


def test_a_pickle_file_that_is_cut_short_or_holds_code_is_refused(
    demo_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = as_pickle(tmp_path / "base", demo_base)
    path.write_bytes(path.read_bytes()[:-100])
    monkeypatch.chdir(tmp_path)
    assert not has_end(path)
    for content in (None, {"weight": Payload()}, [torch.zeros(3)]):
        if content is not None:
            torch.save(content, path)
        with pytest.raises(PredictionError, match=r"pytorch_model\.bin: cannot be read") as e:
            check_weights(path.parent)
        assert "\n" not in str(e.value)
    assert has_end(path)
    assert not (tmp_path / "ran").exists()
