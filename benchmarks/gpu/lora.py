"""LoRA in bf16 on an 8B of Llama 3's sizes, r 16 on all linears, 2 rows of 4,096 tokens: a published setting.

    python -m benchmarks.gpu.lora [--tiny]

NeMo Automodel publishes 12,473 tokens/s for it on an H100 (docs/performance-summary.mdx, August 2026; mock data, 41 %
of 989 TFLOP/s, no recomputation counted). Rows hold one sample each. Lines: our kernels without and with
checkpointing, and plain PEFT with it.
"""

import random
from statistics import median

import torch

from benchmarks.gpu.model import OURS, WINNER, Kernels, LoraModel
from benchmarks.gpu.setting import arguments, left_s, lines_of, shape_of, speed_of
from benchmarks.gpu.steps import Stepper, whole_rows

PUBLISHED_TOKENS_PER_S = 12_473
LORA_R, SEQUENCE_LEN = 16, 4_096
WARM_UP, TIMED = 2, 5

CASES: dict[str, tuple[int, Kernels]] = {
    "ours": (2, OURS.but(attention="causal", checkpointing=False)),
    "ours_checkpointing": (2, OURS.but(attention="causal")),
    "plain_checkpointing": (2, WINNER.but(attention="causal")),
    "ours_one_row": (1, OURS.but(attention="causal", checkpointing=False)),
}
"""Rows, kernels. The last is for a card on which the first does not fit."""

ON_A_CPU = ("plain_checkpointing",)


def main() -> None:
    """A line for each case."""
    options = arguments(__doc__, part="lora", base="llama-3-8b").parse_args()
    lines = lines_of(options)
    model = LoraModel.build(shape_of(options), lora_r=LORA_R, four_bit=False, lora_dtype=torch.bfloat16, dropout=0.0)
    step = Stepper(model)
    rng = random.Random(0)
    for name in ON_A_CPU if options.tiny else CASES:
        rows, kernels = CASES[name]
        if left_s(options) < 8 and not options.tiny:
            lines.write(measured="lora", case=name, left_out=f"{left_s(options):.0f} s are left")
            continue
        why = ""
        try:
            model.use(kernels)
            made = whole_rows(
                rng, rows=rows, sequence_len=64 if options.tiny else SEQUENCE_LEN, vocab=model.base.config.vocab_size
            )
            steps = [step(made) for _ in range(WARM_UP + TIMED)][WARM_UP:]
        except Exception as e:  # out of memory, or a kernel that does not run here
            why = f"{type(e).__name__}: {e}"
        if why:
            step.clear()
            lines.write(measured="lora", case=name, failed=why[:500])
            continue
        speed = made.num_tokens / median(s.seconds for s in steps)
        figures = speed_of(model.shape, speed, r=LORA_R, checkpointing=kernels.checkpointing, context=made.context)
        lines.write(
            measured="lora", case=name, rows=rows, sequence_len=made.num_tokens // rows, **figures,
            steps_s=[s.seconds for s in steps], peak_gib=steps[-1].peak_gib, reserved_gib=steps[-1].reserved_gib,
            to_published=speed / PUBLISHED_TOKENS_PER_S,
        )  # fmt: skip


if __name__ == "__main__":
    main()
