"""Compares the winner's settings with ours, one setting ("lever") at a time, on one model, GPU and set of tokens.

    python -m benchmarks.gpu.levers [--rounds 3] [--only winner ours] [--tiny]

Each lever alone is added to the winner's settings; `ours` is the recommended recipe. First the loss and gradients of
each lever are compared with plain code and a dense mask. Then all levers are timed in interleaved rounds, and every
step checks that gradients flow. Last, `ours` runs with several micro-batches under an A100's 39 GiB, to see which fit
and how fast they are. The model is built in this process without Axolotl's trainer; `rehearsal` measures the whole
program.
"""

import argparse
import random
from statistics import median
from typing import Any

import torch

from benchmarks.gpu.model import OURS, WINNER, Kernels, LoraModel
from benchmarks.gpu.setting import arguments, left_s, lines_of, shape_of, speed_of
from benchmarks.gpu.steps import GIB, MicroBatch, Step, Stepper, agreement, forward_backward, packed
from harness.budget.memory import CUDA_CONTEXT_BYTES, peak_memory

LEVERS: dict[str, Kernels] = {
    "winner": WINNER,
    "ours": OURS,
    "ours_packed_once": OURS.but(packed_once=True),
    "fused_lora": WINNER.but(fused_lora=True),
    "liger_norm": WINNER.but(liger_norm=True),
    "liger_loss": WINNER.but(liger_loss=True),
    "packed_once": WINNER.but(packed_once=True),
    "dense": WINNER.but(attention="dense"),
    "ours_compiled": OURS.but(packed_once=True, compiled=True),
}
DEFAULT_LEVERS = tuple(name for name, kernels in LEVERS.items() if not kernels.compiled)
"""Compiled levers are excluded because compiling takes a minute or more."""
CPU_LEVERS = ("dense",)
"""The other kernels need a GPU."""

REFERENCE = Kernels(attention="dense")
LORA_R = 128
MEMORY_CAPS_GIB = {"a100-40gb": 39.0}
MICRO_BATCHES = ((4, 8_192, True), (6, 8_192, True), (1, 4_096, False), (1, 8_192, False))
"""Micro-batches to try: rows, tokens per row, checkpointing."""


class Bench:
    """The model, and the levers that have not failed so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.lines = options, lines_of(options)
        self.rows, self.sequence_len = (1, 512) if options.tiny else (2, 8_192)
        self.rng = random.Random(0)
        names = CPU_LEVERS if options.tiny else options.only or DEFAULT_LEVERS
        self.kernels = {name: LEVERS[name] for name in names}
        self.rounds: dict[str, list[Step]] = {name: [] for name in names}
        self.model = LoraModel.build(shape_of(options), lora_r=LORA_R, four_bit=True)
        self.step = Stepper(self.model)
        self.last_batch: MicroBatch | None = None
        self.lines.write(measured="built", ready_s=options.seconds - self.left_s, levers=list(names))

    @property
    def left_s(self) -> float:
        """Remaining time of this process."""
        return left_s(self.options)

    def make(self, rows: int, sequence_len: int) -> MicroBatch:
        """Makes a new micro-batch."""
        return packed(self.rng, rows=rows, sequence_len=sequence_len, vocab=self.model.base.config.vocab_size)

    def try_lever(self, name: str, kernels: Kernels, micro_batch: MicroBatch) -> Step | None:
        """Runs one step; if it fails, the lever is removed from the rounds and None is returned."""
        try:
            self.model.use(kernels)
            return self.step(micro_batch)
        except Exception as e:  # a kernel may fail in any way on an untested GPU
            error = f"{type(e).__name__}: {e}"
        self.step.clear()  # outside the handler, because the traceback holds the step's tensors
        self.kernels.pop(name, None)
        self.lines.write(measured="lever", lever=name, failed=error[:500])
        return None

    def compare(self) -> None:
        """Compares the loss and gradients of each lever with plain code, without dropout."""
        micro_batch = self.make(1, min(self.sequence_len, 2_048))
        self.model.set_dropout(0.0)
        reference = forward_backward(self.model, REFERENCE, micro_batch)
        for name, kernels in list(self.kernels.items()):
            try:
                results = agreement(reference, forward_backward(self.model, kernels, micro_batch))
            except Exception as e:
                results, error = {}, f"{type(e).__name__}: {e}"
            if results:
                self.lines.write(measured="agreement", lever=name, **results)
                continue
            self.step.clear()
            del self.kernels[name]
            self.lines.write(measured="agreement", lever=name, failed=error[:500])
        leak = agreement(reference, forward_backward(self.model, REFERENCE.but(attention="causal"), micro_batch))
        self.lines.write(measured="agreement", control="samples attend to each other, so this must not agree", **leak)
        self.model.set_dropout(0.05)

    def run_rounds(self, num_rounds: int) -> None:
        """Runs all levers once to warm up, then in interleaved rounds."""
        micro_batch = self.make(self.rows, self.sequence_len)
        for name, kernels in list(self.kernels.items()):
            self.try_lever(name, kernels, micro_batch)
        round_s = 0.0
        for number in range(num_rounds):
            before_s = self.left_s
            if before_s < 1.3 * round_s:
                self.lines.write(measured="rounds", done=number, stopped=f"{before_s:.0f} s left")
                break
            micro_batch = self.make(self.rows, self.sequence_len)
            for name, kernels in list(self.kernels.items()):
                step = self.try_lever(name, kernels, micro_batch)
                if step:
                    self.rounds[name].append(step)
                    figures = self._figures(kernels, micro_batch, [step])
                    self.lines.write(measured="lever", lever=name, round=number, loss=step.loss, **figures)
            round_s = before_s - self.left_s
            self.last_batch = micro_batch

    def _figures(self, kernels: Kernels, micro_batch: MicroBatch, steps: list[Step]) -> dict[str, Any]:
        speed = micro_batch.num_tokens / median(step.seconds for step in steps)
        peaks = [step.peak_gib for step in steps if step.peak_gib is not None]
        figures = speed_of(
            self.model.shape, speed, r=LORA_R, checkpointing=kernels.checkpointing, context=micro_batch.context
        )
        computed = peak_memory(
            self.model.shape, lora_r=LORA_R, tokens=micro_batch.num_tokens, fused=kernels.fused_lora,
            liger=kernels.liger_loss, checkpointing=kernels.checkpointing,
        )  # fmt: skip
        return {
            **figures,
            "grad_norm": steps[-1].grad_norm,
            "peak_gib": max(peaks) + CUDA_CONTEXT_BYTES / GIB if peaks else None,
            "computed_peak_gib": computed.gib,
        }

    def summarise(self) -> None:
        """Writes the medians, their ratios to the winner, and the goals."""
        if self.last_batch is None:
            return
        results = {
            name: self._figures(LEVERS[name], self.last_batch, steps) | {"rounds": len(steps)}
            for name, steps in self.rounds.items()
            if steps
        }
        winner = results.get("winner", {})
        ratios = {
            name: {
                "speed": figures["tokens_per_s"] / winner["tokens_per_s"],
                "memory": figures["peak_gib"] / winner["peak_gib"] if figures["peak_gib"] else None,
            }
            for name, figures in results.items()
            if winner
        }
        self.lines.write(
            measured="levers",
            medians=results,
            to_winner=ratios,
            goals={"speed": 1.5, "memory": 0.7, "hardware_utilisation": 0.45},
        )

    def grid(self) -> None:
        """Runs `ours` with several micro-batches under the memory of a smaller GPU."""
        for card, cap_gib in MEMORY_CAPS_GIB.items():
            if torch.cuda.is_available():
                self.step.clear()
                total = torch.cuda.get_device_properties(0).total_memory / GIB
                torch.cuda.set_per_process_memory_fraction(min(1.0, (cap_gib - CUDA_CONTEXT_BYTES / GIB) / total))
            for rows, sequence_len, checkpointing in MICRO_BATCHES[:1] if self.options.tiny else MICRO_BATCHES:
                if self.left_s < 10:
                    self.lines.write(measured="grid", card_kept_to=card, stopped="no time left")
                    return
                length = self.sequence_len if self.options.tiny else sequence_len
                attention = "dense" if self.options.tiny else "varlen"
                base = WINNER if self.options.tiny else OURS
                kernels = base.but(checkpointing=checkpointing, attention=attention, packed_once=not self.options.tiny)
                micro_batch = self.make(rows, length)
                warm = self.try_lever("grid", kernels, micro_batch)
                step = self.try_lever("grid", kernels, micro_batch) if warm else None
                steps = [step] if step else []
                figures = self._figures(kernels, micro_batch, steps) if steps else {}
                self.lines.write(
                    measured="grid", card_kept_to=card, cap_gib=cap_gib, rows=rows, sequence_len=length,
                    checkpointing=checkpointing, fits=bool(steps), **figures,
                )  # fmt: skip


def main() -> None:
    """Compares, times and summarises the levers, then tries the micro-batches."""
    parser = arguments(__doc__, part="levers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only", nargs="+", choices=LEVERS, help="default: all but the compiled ones; on a CPU those that it can run"
    )
    parser.add_argument("--no-grid", action="store_true", help="do not try micro-batches under an A100's memory")
    options = parser.parse_args()
    bench = Bench(options)
    bench.compare()
    bench.run_rounds(options.rounds)
    bench.summarise()
    if not options.no_grid:
        bench.grid()


if __name__ == "__main__":
    main()
