"""FLOP of a training step, against the figures computed by hand for Mistral-7B."""

from pathlib import Path

import pytest

from harness.budget.flops import estimated_tokens_per_s, flops_per_token, hardware_utilisation
from harness.budget.gpu_profile import get_gpu_profile
from harness.budget.memory import ModelShape
from harness.recipe import read_recipe

MISTRAL_7B = ModelShape(hidden=4096, layers=32, attention=4096, kv=1024, intermediate=14336, vocab=32000)


def test_mistral_7b_costs_what_was_computed_by_hand() -> None:
    assert flops_per_token(MISTRAL_7B, r=128, checkpointing=True, context=160) / 1e9 == pytest.approx(45.4, abs=0.05)
    assert flops_per_token(MISTRAL_7B, r=128, checkpointing=False, context=160) / 1e9 == pytest.approx(30.7, abs=0.05)


def test_a_longer_context_costs_more_and_a_smaller_rank_less() -> None:
    base = flops_per_token(MISTRAL_7B, r=128, checkpointing=True)
    assert flops_per_token(MISTRAL_7B, r=64, checkpointing=True) < base
    assert flops_per_token(MISTRAL_7B, r=128, checkpointing=True, context=4096) > base + 8e9


def test_utilisation_is_a_share_of_the_peak_and_unknown_on_a_cpu() -> None:
    share = hardware_utilisation(3608, 45.8e9, get_gpu_profile("rtx4090"))
    assert share == pytest.approx(1.0, abs=0.01)
    assert hardware_utilisation(8000, 45.8e9, get_gpu_profile("cpu")) is None


def test_pairs_cost_the_forward_pass_of_their_reference_too() -> None:
    recipe = read_recipe(Path("axolotl_configs/mistral_7b_qlora_4090.yml"))
    card, pairs = get_gpu_profile("rtx4090"), recipe.model_copy(update={"further": {"rl": "dpo"}})
    alone, with_reference = (estimated_tokens_per_s(card, r, MISTRAL_7B) for r in (recipe, pairs))
    assert alone is not None
    assert with_reference is not None
    assert with_reference / alone == pytest.approx(45.4 / (45.4 + 14.2), abs=0.01), "7.1 G weights, 2 FLOP each"
