"""Memory and step time of a recipe on a GPU, measured by the rehearsal through the whole program.

    python -m benchmarks.gpu.rehearsal [--cards rtx4090 a100-40gb] [--settings ours winner] [--tiny]

On a GPU with more memory, the memory is capped to that of the profile. The 4090 profile runs its recipe. The A100
profile runs the same recipe with twice the micro-batch, because the first rehearsal already shows that the recipe fits
24 GB. Each step is one micro-batch, because accumulation hardly changes memory or tokens/s and would take three times
as long. Each line has the peak by phase beside the computed peak, the step time, tokens/s, utilisation, and the kernels
that ran.
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
"""Changes to the recommended recipe. The winner used plain PEFT and full logits; attention is the same in both."""

MICRO_BATCH_TIMES = {"rtx4090": 1, "a100-40gb": 2}
POLL_INTERVAL_S = 0.5


def measure(setting: Setting, name: str, times: int) -> bool:
    """Runs one rehearsal and writes its line; returns False if it failed for another reason than memory."""
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

    def update_phase(event: Event) -> None:
        phase[0] = PHASES.get(type(event), phase[0])

    try:
        with record_peak_use(phase) as used:
            measured = rehearse(job, on_event=update_phase)
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
    speed = job.recipe.sequence_len * micro_batch / measured.typical_step_s
    setting.lines.write(
        **line, fits=True, peak_gib=measured.peak_memory_gib, peak_by_phase_gib=measured.peak_by_phase_gib,
        card_used_gib=used, step_s=measured.typical_step_s, slowest_step_s=measured.step_s, start_s=measured.load_s,
        data_s=measured.prepare_s, evaluation_s=measured.eval_s, save_s=measured.save_s, verify_s=measured.verify_s,
        whole_s=measured.wall_s, checkpoint_mib=measured.checkpoint_bytes / 2**20, kernels=measured.kernels,
        **setting.speed(job.recipe, speed),
    )  # fmt: skip
    return True


PHASES: dict[type[Event], str] = {TrainBegin: "train", Evaluation: "save", TrainEnd: "proof"}
"""The phase that begins with an event of the trainer."""


@contextmanager
def record_peak_use(phase: list[str]) -> Iterator[dict[str, float]]:
    """Records the peak of the GPU's used memory by phase, from the driver, with CUDA's context and paged optimizers."""
    used: dict[str, float] = {}
    stopped = threading.Event()

    def poll() -> None:
        while not stopped.wait(POLL_INTERVAL_S):
            card = find_card()
            if card:
                used[phase[0]] = max(used.get(phase[0], 0.0), card.used_gib)

    thread = threading.Thread(target=poll, daemon=True)
    if find_card():
        thread.start()
    try:
        yield used
    finally:
        stopped.set()


def main() -> int:
    """Measures each card and setting and writes a line for it."""
    parser = arguments(__doc__, part="rehearsal")
    parser.add_argument("--cards", nargs="+", choices=MICRO_BATCH_TIMES)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=["ours"])
    options = parser.parse_args()
    cards = options.cards or list(MICRO_BATCH_TIMES)
    succeeded = True
    for number, card in enumerate(cards[:1] if options.tiny else cards):
        options.card = card
        setting = prepare(options)
        if number and setting.left_s < 45:
            setting.lines.write(measured="rehearsal", card_kept_to=card, left_out=f"{setting.left_s:.0f} s are left")
            break
        for name in options.settings:
            succeeded &= measure(setting, name, 1 if name == "winner" else MICRO_BATCH_TIMES[card])
    return 0 if succeeded else 1


if __name__ == "__main__":
    raise SystemExit(main())
