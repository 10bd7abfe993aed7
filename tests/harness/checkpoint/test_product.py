import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.model.language_model import LanguageModel
from harness.checkpoint.adapter import average_adapters
from harness.checkpoint.product import average_products, mean_product
from harness.errors import CheckpointError
from tests.conftest import DEMO_BASE
from tests.harness.checkpoint.adapters import write_adapters


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_product_is_the_nearest_of_its_rank_to_the_mean_of_products() -> None:
    pairs = [(draw(n, 3, 20), draw(10 + n, 12, 3)) for n in range(3)]
    weights = (0.5, 0.3, 0.2)
    (a, b), held, total = mean_product(pairs, weights)
    mean = sum(w * (second @ first).double() for w, (first, second) in zip(weights, pairs, strict=True))
    assert isinstance(mean, torch.Tensor)
    u, values, v = torch.linalg.svd(mean)
    nearest = u[:, :3] * values[:3] @ v[:3]
    assert (a.shape, b.shape) == ((3, 20), (12, 3))
    assert (b @ a).allclose(nearest, atol=1e-5)
    assert total == pytest.approx(float(mean.square().sum()), rel=1e-5)
    assert held / total == pytest.approx(float(values[:3].square().sum() / values.square().sum()), rel=1e-5)


def test_a_mean_of_a_product_and_itself_loses_nothing_whatever_its_factors_are() -> None:
    """Where the mean of the factors is another product: A and B of the second pair are turned against the first."""
    a, b = draw(1, 4, 9), draw(2, 3, 4)  # the rank is higher than the number of outputs
    turn = torch.linalg.qr(draw(3, 4, 4))[0]
    (first, second), held, total = mean_product([(a, b), (turn @ a, b @ turn.T)], (0.5, 0.5))
    assert (second @ first).float().allclose(b @ a, atol=1e-5)
    assert held == pytest.approx(total)
    of_factors = (b + b @ turn.T) / 2 @ (a + turn @ a) / 2
    assert not of_factors.allclose(b @ a, atol=1e-1)


def test_the_written_adapter_loads_and_equal_adapters_keep_their_effect(tmp_path: Path) -> None:
    one, two = write_adapters(tmp_path, DEMO_BASE, {"checkpoint-1": 0.1, "checkpoint-2": 0.2})
    held = average_products([one, one], (0.5, 0.5), tmp_path / "same")
    assert held == pytest.approx(1.0)
    before, after = (
        load_file(one / "adapter_model.safetensors"),
        load_file(tmp_path / "same" / "adapter_model.safetensors"),
    )
    assert {name: (t.shape, t.dtype) for name, t in after.items()} == {n: (t.shape, t.dtype) for n, t in before.items()}
    for name in before:
        if "lora_A" in name:
            second = name.replace("lora_A", "lora_B")
            assert (after[second] @ after[name]).allclose(before[second] @ before[name], atol=1e-5)
    assert 0.5 < average_products([one, two], (0.5, 0.5), tmp_path / "both") < 1
    LanguageModel.load(DEMO_BASE, lora_adapter=tmp_path / "both")
    average_adapters([one, two], (0.5, 0.5), tmp_path / "factors")
    both, factors = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("both", "factors"))
    assert both.keys() == factors.keys()


def test_an_adapter_that_is_more_than_a_product_is_refused(tmp_path: Path) -> None:
    (one,) = write_adapters(tmp_path, DEMO_BASE, {"checkpoint-1": 0.1})
    dora = Path(shutil.copytree(one, tmp_path / "dora"))
    config = json.loads((dora / "adapter_config.json").read_text())
    (dora / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    with pytest.raises(CheckpointError, match="with use_dora an adapter is more than B A"):
        average_products([dora, one], (0.5, 0.5), tmp_path / "out")
