"""Does the recipe fit the card, and how fast is a step: measured by our own rehearsal, through the whole program.

    python -m benchmarks.gpu.rehearsal [--cards rtx4090 a100-40gb] [--settings ours winner] [--tiny]

On a larger card memory is capped to the profile's. A 4090 runs its recipe; an A100 the same with twice the micro-batch,
for that its recipe fits a 24 GB card is known from the first. Steps are of one micro-batch each: accumulation
changes neither memory nor tokens/s much, and a third of the time is enough to see both. Each line: peak by phase beside
the computed one, step, tokens/s, utilisation, the kernels that ran.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.gpu.lines import find_card
from benchmarks.gpu.setting import Setting, arguments, prepare, remove
from harness.budget.memory import GIB, ModelShape, recipe_peak_memory
from harness.budget.rehearse import rehearse
from harness.errors import HarnessError, MemoryFullError
from harness.inside.events import Evaluation, Event, TrainBegin, TrainEnd

NO_LIGER = {"liger_rope": None, "liger_rms_norm": None, "liger_fused_linear_cross_entropy": None}
SETTINGS: dict[str, dict[str, Any]] = {
    "ours": {},
    "winner": {**NO_LIGER, "lora_qkv_kernel": False, "lora_o_kernel": False, "lora_mlp_kernel": False},
}
"""Changes to the recommended recipe. The winner's had plain PEFT and whole logits; attention is the same in both."""

MICRO_BATCH_TIMES = {"rtx4090": 1, "a100-40gb": 2}
LOOK_EVERY_S = 0.5


def measure(setting: Setting, name: str, times: int) -> bool:
    """One rehearsal, one line; False if it broke for another reason than memory."""
    micro_batch = setting.recipe.micro_batch_size * times
    changes = {**SETTINGS[name], "micro_batch_size": micro_batch, "gradient_accumulation_steps": 1}
    job = setting.job(f"rehearsal-{setting.card.name}-{name}", **changes)
    remove(job.run)
    computed = recipe_peak_memory(job.recipe, ModelShape.of(job.base))
    parts = {part: getattr(computed, part) / GIB for part in computed.__dataclass_fields__}
    line: dict[str, Any] = {
        "measured": "rehearsal", "settings": name, "card_kept_to": setting.card.name, "micro_batch_size": micro_batch,
        "sequence_len": job.recipe.sequence_len, "optimizer": job.recipe.optimizer,
        "computed_peak_gib": {"whole": computed.gib, **parts},
    }  # fmt: skip
    phase = ["load"]

    def follow(event: Event) -> None:
        phase[0] = PHASES.get(type(event), phase[0])

    try:
        with highest_use(phase) as used:
            found = rehearse(job, on_event=follow)
    except MemoryFullError as e:
        setting.lines.write(**line, fits=False, card_used_gib=used, failed=str(e)[:500])
        return True
    except HarnessError as e:
        log = job.run / "06_plan" / "work" / "axolotl.log"
        tail = log.read_text(encoding="utf-8", errors="replace")[-1500:] if log.is_file() else ""
        setting.lines.write(**line, failed=str(e)[:500], log=tail)
        return False
    finally:
        remove(job.run)
    speed = job.recipe.sequence_len * micro_batch / found.typical_step_s
    setting.lines.write(
        **line, fits=True, peak_gib=found.peak_memory_gib, peak_by_phase_gib=found.peak_by_phase_gib,
        card_used_gib=used, step_s=found.typical_step_s, slowest_step_s=found.step_s, start_s=found.load_s,
        data_s=found.prepare_s, evaluation_s=found.eval_s, save_s=found.save_s, verify_s=found.verify_s,
        whole_s=found.wall_s, checkpoint_mib=found.checkpoint_bytes / 2**20, kernels=found.kernels,
        **setting.speed(job.recipe, speed),
    )  # fmt: skip
    return True


PHASES: dict[type[Event], str] = {TrainBegin: "train", Evaluation: "save", TrainEnd: "proof"}
"""What comes after an event of the trainer."""


@contextmanager
def highest_use(phase: list[str]) -> Iterator[dict[str, float]]:
    """What the driver says the card's memory was at most, by phase: CUDA's context and paged optimizers included."""
    used: dict[str, float] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_EVERY_S):
            card = find_card()
            if card:
                used[phase[0]] = max(used.get(phase[0], 0.0), card.used_gib)

    thread = threading.Thread(target=look, daemon=True)
    if find_card():
        thread.start()
    try:
        yield used
    finally:
        over.set()


def main() -> int:
    """One line for each card and setting."""
    parser = arguments(__doc__, part="rehearsal")
    parser.add_argument("--cards", nargs="+", choices=MICRO_BATCH_TIMES)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=["ours"])
    options = parser.parse_args()
    cards = options.cards or list(MICRO_BATCH_TIMES)
    well = True
    for number, card in enumerate(cards[:1] if options.tiny else cards):
        options.card = card
        setting = prepare(options)
        if number and setting.left_s < 45:
            setting.lines.write(measured="rehearsal", card_kept_to=card, left_out=f"{setting.left_s:.0f} s are left")
            break
        for name in options.settings:
            well &= measure(setting, name, 1 if name == "winner" else MICRO_BATCH_TIMES[card])
    return 0 if well else 1


if __name__ == "__main__":
    raise SystemExit(main())
