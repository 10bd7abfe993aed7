"""Does the recipe fit the card, at which micro-batch, and how fast is a step: measured by our own rehearsal.

    python -m benchmarks.gpu.rehearsal --card rtx4090 [--micro-batch 2 1] [--tiny]

On a larger card memory is capped to the profile's. The first micro-batch that fits ends the search, accumulation making
up for it. Prints one JSON line: peak GiB beside the computed one, step, tokens/s, utilisation, kernels that ran.
"""

import json

from benchmarks.gpu.setting import Setting, arguments, prepare
from harness.errors import MemoryFullError
from harness.memory import ModelShape, peak_of
from harness.rehearse import rehearse


def measure(setting: Setting, micro_batch: int) -> dict[str, object]:
    """One rehearsal."""
    rows = setting.recipe.micro_batch_size * setting.recipe.gradient_accumulation_steps
    changes = {"micro_batch_size": micro_batch, "gradient_accumulation_steps": max(1, rows // micro_batch)}
    job = setting.job(f"rehearsal-{micro_batch}", **changes)
    computed = peak_of(job.recipe, ModelShape.of(job.base)).gib if setting.card.is_gpu else None
    line: dict[str, object] = {"micro_batch_size": micro_batch, "computed_peak_gib": computed}
    try:
        measured = rehearse(job)
    except MemoryFullError as e:
        return line | {"fits": False, "said": str(e)[:300]}
    tokens = job.recipe.sequence_len * micro_batch * job.recipe.gradient_accumulation_steps
    speed = tokens / measured.typical_step_s
    return line | {
        "fits": True,
        "peak_gib": measured.peak_memory_gib,
        "step_s": measured.typical_step_s,
        "slowest_step_s": measured.step_s,
        "start_s": measured.load_s,
        "evaluation_s": measured.eval_s,
        "save_s": measured.save_s,
        "checkpoint_mib": round(measured.checkpoint_bytes / 2**20, 1),
        "tokens_per_s": round(speed, 1),
        "kernels": measured.kernels,
        **setting.facts(job.recipe, speed),
    }


def main() -> None:
    """Prints the JSON line."""
    parser = arguments(__doc__)
    parser.add_argument("--micro-batch", type=int, nargs="+", help="in the order they are tried; default: the recipe's")
    options = parser.parse_args()
    setting = prepare(options)
    tried = []
    for micro_batch in options.micro_batch or [setting.recipe.micro_batch_size]:
        tried.append(measure(setting, micro_batch))
        if tried[-1]["fits"]:
            break
    print(json.dumps({"benchmark": "gpu_rehearsal", "tried": tried}))


if __name__ == "__main__":
    main()
