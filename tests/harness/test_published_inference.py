"""Our estimates of inference beside published figures: the deviation of each is printed (`pytest -s`), and bounded.

Sources: InternLM lmdeploy v0.1.0a1, docs/en/benchmark/a100_fp16.md (Llama-2-7B fp16 on an A100 80GB, static batches);
XiongjieDai, GPU-Benchmarks-on-LLM-Inference (llama.cpp, Llama-3-8B F16, one RTX 4090, 2024-05).
"""

from dataclasses import replace

import pytest

from harness.budget.gpu_profile import GpuProfile, get_gpu_profile
from harness.budget.inference import InferenceSpeed, PromptLoad, Serving, inference_speed
from harness.budget.memory import MISTRAL_7B, ModelShape

LLAMA_2_7B = ModelShape(hidden=4096, layers=32, attention=4096, kv=4096, intermediate=11008, vocab=32000)
LLAMA_3_8B = replace(MISTRAL_7B, vocab=128_256)

PUBLISHED = {  # new tokens/s; card, model, batch, prompt tokens, new tokens
    "A100, 1 answer": (102.21, "a100-80gb", LLAMA_2_7B, 1, 128, 128),
    "A100, 64 answers to short prompts": (3_024.07, "a100-80gb", LLAMA_2_7B, 64, 128, 128),
    "A100, 64 answers to long prompts": (493.46, "a100-80gb", LLAMA_2_7B, 64, 2_048, 128),
    "A100, 32 answers to long prompts": (450.43, "a100-80gb", LLAMA_2_7B, 32, 2_048, 128),
    "RTX 4090, 1 answer": (54.84, "rtx4090", LLAMA_3_8B, 1, 1, 512),
}


def speed_of(card: str, shape: ModelShape, serving: Serving) -> InferenceSpeed:
    speed = inference_speed(get_gpu_profile(card), shape, serving)
    assert speed is not None
    return speed


def load(num: int, own: float, answer: float, **changes: float) -> PromptLoad:
    values = {"shared_tokens": 0, "longest_answer": answer, "reused_by": 1, **changes}
    return PromptLoad(num_prompts=num, own_tokens=own, answer_tokens=answer, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_decoding_speed_is_near_what_was_published(name: str) -> None:
    published, card, shape, batch, prompt, answer = PUBLISHED[name]
    serving = Serving(batch_size=batch, is_continuous=True, step_s=0.0)
    estimated = batch * answer / speed_of(card, shape, serving).seconds(load(batch, prompt, answer))
    print(f"{name}: {published:,} tokens/s published, {estimated:,.0f} estimated, {estimated / published - 1:+.1%}")
    assert 0.80 * published <= estimated <= 1.10 * published


def test_prompts_are_read_at_the_low_end_of_what_was_published() -> None:
    serving = Serving(batch_size=1, is_continuous=True, step_s=0.0)
    for published, card, shape, prompt in (
        (2_048 / 0.139, "a100-80gb", LLAMA_2_7B, 2_048),
        (9_382.0, "rtx4090", LLAMA_3_8B, 512),  # F16, whose sums may be fp16: twice the peak
    ):
        estimated = prompt / speed_of(card, shape, serving).seconds(load(1, prompt, 0))
        print(
            f"{card}: {published:,.0f} tokens/s published, {estimated:,.0f} estimated, {estimated / published - 1:+.1%}"
        )
        assert 0.70 * published <= estimated <= 1.05 * published


def test_a_prefix_that_is_read_once_saves_its_reading() -> None:
    speed = speed_of("rtx4090", MISTRAL_7B, Serving.of("transformers", batch_size=32))
    alone = speed.seconds(load(1_280, 100, 0, shared_tokens=900))
    reused = speed.seconds(load(1_280, 100, 0, shared_tokens=900, reused_by=128))
    assert 7 < alone / reused < 10  # 1,000 tokens against 107, whose attention to the prefix stays


def test_plain_pytorch_is_slower_than_a_server_because_launches_and_the_longest_answer_decide() -> None:
    few_shot = load(1_280, 150, 6, shared_tokens=600, longest_answer=32, reused_by=128)
    server = speed_of("rtx4090", MISTRAL_7B, Serving.of("openai", batch_size=32)).seconds(few_shot)
    plain = speed_of("rtx4090", MISTRAL_7B, Serving.of("transformers", batch_size=32)).seconds(few_shot)
    assert plain > 2 * server


def test_a_card_without_known_bandwidth_has_no_speed() -> None:
    other = GpuProfile(name="other", memory_gib=48.0, bf16=True, tflops=100.0, utilisation=0.5)
    assert inference_speed(other, MISTRAL_7B, Serving.of("openai", batch_size=64)) is None
