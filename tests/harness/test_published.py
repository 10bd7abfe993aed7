"""Our estimates beside published runs: the deviation of each is printed (`pytest -s`), and bounded.

Sources: IBM fms-acceleration, scripts/benchmarks/refs/a100_80gb.csv (Mistral-7B-v0.1 NF4, r 16 on q, k, v, o,
4 x 4,096, with checkpointing); torchtune's README (Llama-3.1-8B QLoRA, packed 2 x 2,048, compiled, RTX 4090); NVIDIA
NeMo Automodel, docs/performance-summary (Llama-3-8B LoRA bf16, r 16, 2 x 4,096, H100, 2026-08); Unsloth's table of the
longest context
that 24, 40 and 80 GB hold (Llama-3.1-8B QLoRA r 32, Hugging Face with FlashAttention 2).
"""

from dataclasses import replace

import pytest

from harness.budget.flops import estimated_tokens_per_s
from harness.budget.gpu_profile import GpuProfile, get_gpu_profile
from harness.budget.memory import GIB, LINEARS, MEMORY_MARGIN, MISTRAL_7B, ModelShape, peak_memory
from harness.recipe import AxolotlConfig, find_recipe, read_recipe

LLAMA_8B = replace(MISTRAL_7B, vocab=128_256)
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


def recipe(**changes: object) -> AxolotlConfig:
    from pathlib import Path

    shipped = read_recipe(find_recipe(Path("mistral_7b_qlora_4090.yml")))
    return AxolotlConfig(**(shipped.model_dump() | changes))


SPEEDS = {
    "A100, Mistral-7B, plain PEFT": (2_904, "a100-40gb", MISTRAL_7B, {"lora_r": 16, "lora_qkv_kernel": False}, 2_048),
    "A100, Mistral-7B, fused": (4_128, "a100-40gb", MISTRAL_7B, {"lora_r": 16}, 2_048),
    "RTX 4090, Llama-3.1-8B": (2_413, "rtx4090", LLAMA_8B, {"lora_r": 8}, 160),
    "H100, Llama-3-8B, bf16": (12_473, "h100-80gb", LLAMA_8B, {"lora_r": 16, "gradient_checkpointing": False}, 2_048),
}


@pytest.mark.parametrize("name", SPEEDS)
def test_a_speed_is_at_the_low_end_of_what_was_published(name: str) -> None:
    published, card, shape, changes, context = SPEEDS[name]
    estimated = estimated_tokens_per_s(get_gpu_profile(card), recipe(**changes), shape, context=context)
    assert estimated is not None
    print(f"{name}: {published:,} published, {estimated:,.0f} estimated, {estimated / published - 1:+.1%}")
    assert 0.88 * published <= estimated <= 1.01 * published


PEAKS = {  # GB as published: what the run needed, or what the card has when it is full
    "A100, Mistral-7B, plain PEFT": (20.7, MISTRAL_7B, 16, 4 * 4_096, False, ATTENTION),
    "A100, Mistral-7B, fused": (14.1, MISTRAL_7B, 16, 4 * 4_096, True, ATTENTION),
    "24 GB full, Llama-3.1-8B": (23.6 * GIB / 1e9, LLAMA_8B, 32, 5_789, False, LINEARS),
    "40 GB full, Llama-3.1-8B": (39.4 * GIB / 1e9, LLAMA_8B, 32, 12_264, False, LINEARS),
    "80 GB full, Llama-3.1-8B": (79.2 * GIB / 1e9, LLAMA_8B, 32, 28_454, False, LINEARS),
}


@pytest.mark.parametrize("name", PEAKS)
def test_a_peak_lies_between_what_is_computed_and_its_high_end(name: str) -> None:
    published, shape, r, tokens, fused, targets = PEAKS[name]
    peak = peak_memory(shape, lora_r=r, tokens=tokens, fused=fused, liger=fused, targets=targets)
    published_gib = published * 1e9 / GIB
    print(f"{name}: {published_gib:.1f} GiB published, {peak.gib:.1f} computed, {peak.gib / published_gib - 1:+.1%}")
    assert 0.99 * peak.gib <= published_gib <= peak.most_gib


def test_two_rows_of_8192_fit_24_gb_and_four_do_not() -> None:
    """Axolotl issue 708, Mistral-7B r 32."""
    gib = [peak_memory(MISTRAL_7B, lora_r=32, tokens=n * 8_192, fused=False, liger=False).gib for n in (2, 4)]
    print(f"2 x 8,192: {gib[0]:.1f} GiB; 4 x 8,192: {gib[1]:.1f} GiB")
    assert gib[0] * MEMORY_MARGIN < 24 < gib[1]


def test_a_card_that_is_not_known_has_no_speed() -> None:
    unknown = GpuProfile(name="other", memory_gib=16.0, bf16=True, tflops=0.0)
    assert estimated_tokens_per_s(unknown, recipe()) is None


def test_a_small_model_is_faster_in_proportion_to_its_work() -> None:
    small = ModelShape(hidden=576, layers=30, attention=576, kv=192, intermediate=1536, vocab=49_152, tied=True)
    card = get_gpu_profile("rtx4090")
    fast, slow = (estimated_tokens_per_s(card, recipe(), shape) for shape in (small, MISTRAL_7B))
    assert fast is not None
    assert slow is not None
    assert fast > 20 * slow
