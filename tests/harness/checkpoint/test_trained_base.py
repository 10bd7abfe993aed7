import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from core.files import write_json
from core.model.folder import model_fingerprint
from core.model.quantisation import Quantisation
from harness.budget.gpu_profile import get_gpu_profile
from harness.checkpoint.trained_base import (
    TrainedBase,
    check_same_base,
    find_trained_base,
    hub_name,
    quantisation_in_training,
    write_trained_base,
)
from harness.errors import ConfigError
from harness.recipe import AxolotlConfig, read_recipe
from oneday.demo.demo import DEMO_BASE, RECIPE

NF4 = Quantisation(load_in_4bit=True, compute_dtype="float32")


def other_weights(folder: Path) -> Path:
    """A base of the same shapes that is another model."""
    base = Path(shutil.copytree(DEMO_BASE, folder / "other"))
    weights = load_file(base / "model.safetensors")
    save_file({name: 1.25 * tensor for name, tensor in weights.items()}, base / "model.safetensors", {"format": "pt"})
    return base


@pytest.mark.parametrize(
    ("card", "changes", "four_bit", "dtype"),
    [
        ("cpu", {}, True, "float32"),
        ("rtx4090", {}, True, "bfloat16"),
        ("rtx4090", {"bf16": False}, True, "float32"),
        ("rtx4090", {"adapter": None, "load_in_4bit": False}, False, "bfloat16"),
        ("rtx4090", {"adapter": "lora", "load_in_4bit": False}, False, "bfloat16"),
    ],
)
def test_the_base_is_kept_as_axolotl_keeps_it(card: str, changes: dict[str, Any], four_bit: bool, dtype: str) -> None:
    """Source: axolotl/loaders/model.py: quantised only for `adapter: qlora`; computed in the type of the training."""
    recipe = read_recipe(RECIPE).model_copy(update=changes)
    kept = quantisation_in_training(recipe, get_gpu_profile(card))
    assert (kept.load_in_4bit, kept.compute_dtype, kept.quant_type, kept.double_quant) == (four_bit, dtype, "nf4", True)


@pytest.mark.parametrize(
    ("folder", "recipe", "name", "revision"),
    [
        ("models/Llama-3-8B", "mistralai/Mistral-7B-v0.1", None, None),
        ("models/Mistral-7B-v0.1", "mistralai/Mistral-7B-v0.1", "mistralai/Mistral-7B-v0.1", None),
        ("hub/models--org--na--me/snapshots/0123abcd", None, "org/na--me", "0123abcd"),
        ("models/own", None, None, None),
        ("models/own", "own", None, None),
    ],
)
def test_the_hubs_name_of_a_base_is_told_only_where_it_is_known(
    tmp_path: Path, folder: str, recipe: str | None, name: str | None, revision: str | None
) -> None:
    assert hub_name(tmp_path / folder, recipe) == (name, revision)


def manifest(**more: Any) -> dict[str, Any]:
    recipe: AxolotlConfig = read_recipe(RECIPE)
    train = {"base": "f" * 64, "base_path": "/gone/Mistral", "recipe": recipe.model_dump(), "card": "cpu"}
    return {"train": train | more}


@pytest.mark.parametrize("place", ["08_pick/adapter-10", "07_train/output/checkpoint-10", "08_pick/average"])
def test_an_adapter_in_a_run_is_on_the_base_of_the_run(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(parents=True)
    assert find_trained_base(tmp_path / place) is None
    recorded = Quantisation(load_in_4bit=True, compute_dtype="bfloat16", double_quant=False)
    write_json(tmp_path / "manifest.json", manifest(quantisation=asdict(recorded)))
    assert find_trained_base(tmp_path / place) == TrainedBase(quantisation=recorded, fingerprint="f" * 64)


def test_of_a_run_without_that_record_recipe_and_card_tell_it(tmp_path: Path) -> None:
    (tmp_path / "08_pick" / "adapter").mkdir(parents=True)
    write_json(tmp_path / "manifest.json", manifest())
    found = find_trained_base(tmp_path / "08_pick" / "adapter")
    assert found == TrainedBase(quantisation=NF4, fingerprint="f" * 64)
    write_json(tmp_path / "manifest.json", manifest(card="abacus"))
    assert find_trained_base(tmp_path / "08_pick" / "adapter") is None


def test_what_lies_beside_the_adapter_goes_before_what_is_around_it(tmp_path: Path) -> None:
    beside = TrainedBase(quantisation=NF4, fingerprint="a" * 64, name="org/model", revision="abc")
    write_json(tmp_path / "manifest.json", manifest())
    (tmp_path / "adapter").mkdir()
    write_trained_base(tmp_path / "adapter", beside)
    assert find_trained_base(tmp_path / "adapter") == beside


def test_another_base_of_the_same_shapes_is_refused_unless_on_purpose(tmp_path: Path) -> None:
    trained = TrainedBase(quantisation=NF4, fingerprint=model_fingerprint(DEMO_BASE))
    check_same_base(trained, Path(shutil.copytree(DEMO_BASE, tmp_path / "moved")), tmp_path)
    other = other_weights(tmp_path)
    with pytest.raises(ConfigError, match=r"other: not the base that .* trained on .*`base_changed_on_purpose=true`"):
        check_same_base(trained, other, tmp_path)
    check_same_base(trained, other, tmp_path, on_purpose=True)
    check_same_base(None, other, tmp_path)
