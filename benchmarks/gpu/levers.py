"""The winner's settings against ours, lever by lever: one model, one card, the same tokens, interleaved rounds.

    python -m benchmarks.gpu.levers [--rounds 3] [--only winner ours] [--tiny]

Every lever alone is put on the winner's settings; `ours` is the recommended recipe. First each lever's loss and
gradients are compared with plain code over a dense mask, then all are timed in turn, with gradients asserted to flow in
every step. Last, micro-batches of `ours` under an A100's 39 GiB: which fit, and how fast they are. The model is
built in this process without Axolotl's trainer: what the whole program reaches is measured by `rehearsal`.
"""

import argparse
import random
from statistics import median
from typing import Any

import torch

from benchmarks.gpu.model import OURS, WINNER, Kernels, LoraModel
from benchmarks.gpu.setting import arguments, left_s, lines_of, shape_of, speed_of
from benchmarks.gpu.steps import GIB, Packed, Step, Stepper, agreement, outcome, packed
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
BY_DEFAULT = tuple(name for name, kernels in LEVERS.items() if not kernels.compiled)
"""Compiling takes a minute or more."""
ON_A_CPU = ("dense",)
"""The other kernels need a GPU."""

REFERENCE = Kernels(attention="dense")
LORA_R = 128
CAPS_GIB = {"a100-40gb": 39.0}
GRID = ((4, 8_192, True), (6, 8_192, True), (1, 4_096, False), (1, 8_192, False))
"""Rows, tokens of a row, checkpointing."""


class Bench:
    """The model, and the levers that still work."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.lines = options, lines_of(options)
        self.rows, self.sequence_len = (1, 512) if options.tiny else (2, 8_192)
        self.rng = random.Random(0)
        names = ON_A_CPU if options.tiny else options.only or BY_DEFAULT
        self.kernels = {name: LEVERS[name] for name in names}
        self.rounds: dict[str, list[Step]] = {name: [] for name in names}
        self.model = LoraModel.build(shape_of(options), lora_r=LORA_R, four_bit=True)
        self.step = Stepper(self.model)
        self.tried: Packed | None = None
        self.lines.write(measured="built", ready_s=options.seconds - self.left_s, levers=list(names))

    @property
    def left_s(self) -> float:
        """Of this process's time."""
        return left_s(self.options)

    def make(self, rows: int, sequence_len: int) -> Packed:
        """Another micro-batch."""
        return packed(self.rng, rows=rows, sequence_len=sequence_len, vocab=self.model.base.config.vocab_size)

    def try_lever(self, name: str, kernels: Kernels, made: Packed) -> Step | None:
        """A step; one that fails takes its lever out of the rounds."""
        try:
            self.model.use(kernels)
            return self.step(made)
        except Exception as e:  # whatever a kernel does on a card it was never tried on
            why = f"{type(e).__name__}: {e}"
        self.step.clear()  # outside the handler: its traceback holds the step's tensors
        self.kernels.pop(name, None)
        self.lines.write(measured="lever", lever=name, failed=why[:500])
        return None

    def compare(self) -> None:
        """Loss and gradients of each lever against plain code, dropout off."""
        made = self.make(1, min(self.sequence_len, 2_048))
        self.model.set_dropout(0.0)
        reference = outcome(self.model, REFERENCE, made)
        for name, kernels in list(self.kernels.items()):
            try:
                found = agreement(reference, outcome(self.model, kernels, made))
            except Exception as e:
                found, why = {}, f"{type(e).__name__}: {e}"
            if found:
                self.lines.write(measured="agreement", lever=name, **found)
                continue
            self.step.clear()
            del self.kernels[name]
            self.lines.write(measured="agreement", lever=name, failed=why[:500])
        leak = agreement(reference, outcome(self.model, REFERENCE.but(attention="causal"), made))
        self.lines.write(measured="agreement", control="samples see each other, which must not agree", **leak)
        self.model.set_dropout(0.05)

    def run_rounds(self, num_rounds: int) -> None:
        """All levers once to warm up, then in turn."""
        made = self.make(self.rows, self.sequence_len)
        for name, kernels in list(self.kernels.items()):
            self.try_lever(name, kernels, made)
        round_s = 0.0
        for number in range(num_rounds):
            before_s = self.left_s
            if before_s < 1.3 * round_s:
                self.lines.write(measured="rounds", done=number, stopped=f"{before_s:.0f} s left")
                break
            made = self.make(self.rows, self.sequence_len)
            for name, kernels in list(self.kernels.items()):
                step = self.try_lever(name, kernels, made)
                if step:
                    self.rounds[name].append(step)
                    figures = self._figures(kernels, made, [step])
                    self.lines.write(measured="lever", lever=name, round=number, loss=step.loss, **figures)
            round_s = before_s - self.left_s
            self.tried = made

    def _figures(self, kernels: Kernels, made: Packed, steps: list[Step]) -> dict[str, Any]:
        speed = made.num_tokens / median(step.seconds for step in steps)
        peaks = [step.peak_gib for step in steps if step.peak_gib is not None]
        figures = speed_of(self.model.shape, speed, r=LORA_R, checkpointing=kernels.checkpointing, context=made.context)
        computed = peak_memory(
            self.model.shape, lora_r=LORA_R, tokens=made.num_tokens, fused=kernels.fused_lora, liger=kernels.liger_loss,
            checkpointing=kernels.checkpointing,
        )  # fmt: skip
        return {
            **figures,
            "grad_norm": steps[-1].grad_norm,
            "peak_gib": max(peaks) + CUDA_CONTEXT_BYTES / GIB if peaks else None,
            "computed_peak_gib": computed.gib,
        }

    def summarise(self) -> None:
        """Medians, and whether the goals are met."""
        if self.tried is None:
            return
        found = {
            name: self._figures(LEVERS[name], self.tried, steps) | {"rounds": len(steps)}
            for name, steps in self.rounds.items()
            if steps
        }
        winner = found.get("winner", {})
        ratios = {
            name: {
                "speed": figures["tokens_per_s"] / winner["tokens_per_s"],
                "memory": figures["peak_gib"] / winner["peak_gib"] if figures["peak_gib"] else None,
            }
            for name, figures in found.items()
            if winner
        }
        self.lines.write(
            measured="levers",
            medians=found,
            to_winner=ratios,
            goals={"speed": 1.5, "memory": 0.7, "hardware_utilisation": 0.45},
        )

    def grid(self) -> None:
        """Micro-batches of ours under a smaller card's memory."""
        for card, cap_gib in CAPS_GIB.items():
            if torch.cuda.is_available():
                self.step.clear()
                total = torch.cuda.get_device_properties(0).total_memory / GIB
                torch.cuda.set_per_process_memory_fraction(min(1.0, (cap_gib - CUDA_CONTEXT_BYTES / GIB) / total))
            for rows, sequence_len, checkpointing in GRID[:1] if self.options.tiny else GRID:
                if self.left_s < 10:
                    self.lines.write(measured="grid", card_kept_to=card, stopped="no time left")
                    return
                length = self.sequence_len if self.options.tiny else sequence_len
                attention = "dense" if self.options.tiny else "varlen"
                base = WINNER if self.options.tiny else OURS
                kernels = base.but(checkpointing=checkpointing, attention=attention, packed_once=not self.options.tiny)
                made = self.make(rows, length)
                warm = self.try_lever("grid", kernels, made)
                step = self.try_lever("grid", kernels, made) if warm else None
                done = [step] if step else []
                figures = self._figures(kernels, made, done) if done else {}
                self.lines.write(
                    measured="grid", card_kept_to=card, cap_gib=cap_gib, rows=rows, sequence_len=length,
                    checkpointing=checkpointing, fits=bool(done), **figures,
                )  # fmt: skip


def main() -> None:
    """Compare, time, summarise, fit."""
    parser = arguments(__doc__, part="levers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only", nargs="+", choices=LEVERS, help="default: all but compiled; on a CPU, what it can run"
    )
    parser.add_argument("--no-grid", action="store_true", help="leave out what fits an A100")
    options = parser.parse_args()
    bench = Bench(options)
    bench.compare()
    bench.run_rounds(options.rounds)
    bench.summarise()
    if not options.no_grid:
        bench.grid()


if __name__ == "__main__":
    main()
