from pathlib import Path

import pytest

from harness.budget.gpu_profile import get_gpu_profile
from harness.budget.memory import (
    MISTRAL_7B,
    ComputedPeak,
    ModelShape,
    memory_reductions,
    peak_memory,
    recipe_peak_memory,
)
from harness.errors import ConfigError
from harness.keys.weights import Weights
from harness.recipe import read_recipe
from oneday.demo.demo import DEMO_BASE, RECIPE

TOKENS = (2_048, 4_096, 8_192, 16_384, 32_768)
TABLE = {  # GiB of Mistral-7B; plain PEFT, and Axolotl's fused kernels with Liger's loss
    (False, 64): (9.3, 10.9, 14.1, 20.5, 33.3),
    (False, 128): (12.1, 13.7, 16.9, 23.3, 36.1),
    (True, 64): (8.8, 9.6, 11.4, 15.2, 22.7),
    (True, 128): (11.6, 12.4, 14.3, 18.0, 25.5),
}


@pytest.mark.parametrize(("fused", "r"), TABLE)
def test_the_formula_gives_what_was_computed_by_hand(fused: bool, r: int) -> None:
    found = [peak_memory(MISTRAL_7B, lora_r=r, tokens=t, fused=fused, liger=fused).gib for t in TOKENS]
    assert found == pytest.approx(TABLE[fused, r], abs=0.2)


def test_the_parts_are_those_of_the_model() -> None:
    assert MISTRAL_7B.num_linear == 6_979_321_856
    assert (MISTRAL_7B.num_lora(128), MISTRAL_7B.num_lora(64)) == (335_544_320, 167_772_160)


def test_without_checkpointing_a_40_gb_card_holds_4096_tokens_and_no_more() -> None:
    def gib(tokens: int) -> float:
        return peak_memory(
            MISTRAL_7B, lora_r=128, tokens=tokens, fused=False, liger=True, checkpointing=False
        ).gib  # fmt: skip

    assert gib(1_024) < gib(2_048) < 40 < gib(4_096)
    fused = peak_memory(MISTRAL_7B, lora_r=128, tokens=4_096, fused=True, liger=True, checkpointing=False).gib
    assert fused == pytest.approx(38.6, abs=1.5)


def test_a_shape_is_read_from_a_folder(tmp_path: Path) -> None:
    demo = ModelShape.of(DEMO_BASE)
    assert (demo.hidden, demo.layers, demo.attention, demo.kv, demo.tied) == (128, 3, 128, 64, True)
    with pytest.raises(ConfigError, match=r"the sizes of a decoder are missing .*Check `base=`"):
        ModelShape.of(tmp_path)


def test_a_recipe_has_a_peak() -> None:
    winner = read_recipe(RECIPE.parent / "mistral_7b_qlora_4090.yml")
    assert 15 < recipe_peak_memory(winner, MISTRAL_7B).gib < 24


def test_smaller_settings_are_named_from_the_cheapest_to_the_dearest() -> None:
    birbal = read_recipe(RECIPE.parent / "birbal_4090.yml")
    found = memory_reductions(birbal, MISTRAL_7B, get_gpu_profile("rtx4090"))
    assert [s.gib for s in found] == sorted((s.gib for s in found), reverse=True)
    assert found[0].changes == {"liger_fused_linear_cross_entropy": True}
    assert found[1].changes == {
        "liger_fused_linear_cross_entropy": True, "micro_batch_size": 1, "gradient_accumulation_steps": 6,
    }  # fmt: skip
    assert found[-1].changes["sequence_len"] == 1_024
    assert str(found[0]).endswith(f"cross_entropy: True ({found[0].gib:.1f} GiB)")


def test_each_kind_of_weights_needs_what_it_stores() -> None:
    def peak(weights: Weights, optimizer: str = "adamw_torch") -> ComputedPeak:
        return peak_memory(
            MISTRAL_7B, lora_r=16, tokens=1, fused=True, liger=True, weights=weights, optimizer=optimizer
        )

    sizes = [peak(weights).weights / MISTRAL_7B.num_linear for weights in Weights]
    assert sizes[0] < sizes[2] < sizes[1] == sizes[3]
    assert list(Weights) == ["qlora", "lora", "lora_8bit", "full"]
    num_weights = MISTRAL_7B.num_linear + 2 * 32_000 * 4_096
    for optimizer, num_bytes in (
        ("paged_adamw_32bit", 10),
        ("adamw_torch", 6),
        ("adamw_bnb_8bit", 4),
        ("adafactor", 2),
    ):
        assert peak(Weights.FULL, optimizer).trained == pytest.approx(num_bytes * num_weights), optimizer
    assert peak(Weights.LORA).trained == 18 * MISTRAL_7B.num_lora(16)


def test_pairs_need_two_sequences_a_row_and_a_model_its_reference() -> None:
    winner = read_recipe(RECIPE.parent / "mistral_7b_qlora_4090.yml")
    plain = winner.model_copy(update={"liger_fused_linear_cross_entropy": False})
    pairs = plain.model_copy(update={"further": {"rl": "dpo"}})
    one, two = (recipe_peak_memory(recipe, MISTRAL_7B) for recipe in (plain, pairs))
    assert two.activations == 2 * one.activations
    assert two.weights == one.weights, "an adapter's reference is its base"
    whole = pairs.model_copy(update={"adapter": None, "load_in_4bit": False})
    assert recipe_peak_memory(whole, MISTRAL_7B).weights == pytest.approx(
        2 * peak_memory(MISTRAL_7B, lora_r=0, tokens=1, fused=False, liger=False, weights=Weights.FULL).weights
    )
