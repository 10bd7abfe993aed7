"""Speed of LoRA in bf16 on Llama 3 8B's sizes, rank 16 on all linears, 2 rows of 4,096 tokens: a published setting.

    python -m benchmarks.gpu.lora [--tiny]

NeMo Automodel publishes 12,473 tokens/s for it on an H100 (docs/performance-summary.mdx, August 2026; mock data, 41 %
of 989 TFLOP/s, no recomputation counted). Every row is one sample. The lines give our kernels without and with
checkpointing, and plain PEFT with checkpointing.
"""

import random
from statistics import median

import torch

from benchmarks.gpu.model import OURS, WINNER, Kernels, LoraModel
from benchmarks.gpu.setting import arguments, left_s, lines_of, shape_of, speed_of
from benchmarks.gpu.steps import Stepper, unpacked

PUBLISHED_TOKENS_PER_S = 12_473
LORA_R, SEQUENCE_LEN = 16, 4_096
NUM_WARMUP_STEPS, NUM_TIMED_STEPS = 2, 5

CASES: dict[str, tuple[int, Kernels]] = {
    "ours": (2, OURS.but(attention="causal", checkpointing=False)),
    "ours_checkpointing": (2, OURS.but(attention="causal")),
    "plain_checkpointing": (2, WINNER.but(attention="causal")),
    "ours_one_row": (1, OURS.but(attention="causal", checkpointing=False)),
}
"""Number of rows and kernels. The last case is for GPUs on which the first does not fit."""

CPU_CASES = ("plain_checkpointing",)


def main() -> None:
    """Measures each case and writes a line for it."""
    options = arguments(__doc__, part="lora", base="llama-3-8b").parse_args()
    lines = lines_of(options)
    model = LoraModel.build(shape_of(options), lora_r=LORA_R, four_bit=False, lora_dtype=torch.bfloat16, dropout=0.0)
    step = Stepper(model)
    rng = random.Random(0)
    for name in CPU_CASES if options.tiny else CASES:
        rows, kernels = CASES[name]
        if left_s(options) < 8 and not options.tiny:
            lines.write(measured="lora", case=name, left_out=f"{left_s(options):.0f} s are left")
            continue
        error = ""
        try:
            model.use(kernels)
            micro_batch = unpacked(
                rng, rows=rows, sequence_len=64 if options.tiny else SEQUENCE_LEN, vocab=model.base.config.vocab_size
            )
            steps = [step(micro_batch) for _ in range(NUM_WARMUP_STEPS + NUM_TIMED_STEPS)][NUM_WARMUP_STEPS:]
        except Exception as e:  # out of memory, or a kernel that does not run on this machine
            error = f"{type(e).__name__}: {e}"
        if error:
            step.clear()
            lines.write(measured="lora", case=name, failed=error[:500])
            continue
        speed = micro_batch.num_tokens / median(s.seconds for s in steps)
        figures = speed_of(
            model.shape, speed, r=LORA_R, checkpointing=kernels.checkpointing, context=micro_batch.context
        )
        lines.write(
            measured="lora", case=name, rows=rows, sequence_len=micro_batch.num_tokens // rows, **figures,
            steps_s=[s.seconds for s in steps], peak_gib=steps[-1].peak_gib, reserved_gib=steps[-1].reserved_gib,
            to_published=speed / PUBLISHED_TOKENS_PER_S,
        )  # fmt: skip


if __name__ == "__main__":
    main()
