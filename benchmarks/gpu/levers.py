"""The winner's settings against ours, lever by lever: the same tokens, the same card, interleaved rounds.

    python -m benchmarks.gpu.levers --card rtx4090 [--rounds 3] [--only winner ours] [--tiny]

Every setting is a rehearsal of its own (typical steps, warmed up). `winner` is plain PEFT with attention that keeps
packed samples apart without a dense mask, as flash-attn gave it; `dense` is what Axolotl falls back to without the
package and with Mistral's sliding window. Prints one JSON line: medians of tokens/s, peaks, ratios to `winner`.
"""

import json
import shutil
from statistics import median
from typing import Any

from benchmarks.gpu.setting import Setting, arguments, prepare
from harness.errors import HarnessError
from harness.rehearse import rehearse

PLAIN = {"lora_qkv_kernel": False, "lora_o_kernel": False, "lora_mlp_kernel": False}
NO_LIGER = {"liger_rope": None, "liger_rms_norm": None, "liger_fused_linear_cross_entropy": None}
VARLEN = {"attn_implementation": "sdpa", "overrides_of_model_config": {"sliding_window": None}}

SETTINGS: dict[str, dict[str, Any]] = {
    "dense": {**PLAIN, **NO_LIGER, "attn_implementation": "sdpa", "overrides_of_model_config": None},
    "winner": {**PLAIN, **NO_LIGER, **VARLEN},
    "fused_lora": {**NO_LIGER, **VARLEN},
    "fused_lora_liger": {**VARLEN, "liger_fused_linear_cross_entropy": None},
    "ours": {**VARLEN},
    "ours_compiled": {**VARLEN, "torch_compile": True},
}
ON_A_CPU = ("dense", "winner")
"""Fused kernels and Liger need a GPU."""


def measure(setting: Setting, name: str, number: int) -> dict[str, Any]:
    """One rehearsal of one setting; its scratch is removed, 14 GB bases are shared."""
    job = setting.job(f"{name}-{number}", **SETTINGS[name])
    shutil.rmtree(job.run, ignore_errors=True)
    try:
        measured = rehearse(job)
    except HarnessError as e:
        return {"failed": str(e)[:300]}
    finally:
        shutil.rmtree(job.run / "06_plan" / "work", ignore_errors=True)
    tokens = job.recipe.sequence_len * job.recipe.micro_batch_size * job.recipe.gradient_accumulation_steps
    speed = tokens / measured.typical_step_s
    return {"tokens_per_s": speed, "peak_gib": measured.peak_memory_gib, "kernels": measured.kernels, "job": job}


def main() -> None:
    """Prints the JSON line."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SETTINGS, help="default: all that this machine can run")
    options = parser.parse_args()
    setting = prepare(options)
    names = options.only or (ON_A_CPU if options.tiny else tuple(SETTINGS))
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names:
            rounds[name].append(measure(setting, name, number))
            setting.note({"lever": name, "round": number} | {k: v for k, v in rounds[name][-1].items() if k != "job"})
    lines: dict[str, Any] = {}
    for name, found in rounds.items():
        good = [result for result in found if "failed" not in result]
        if not good:
            lines[name] = {"failed": found[0]["failed"]}
            continue
        speed = median(result["tokens_per_s"] for result in good)
        lines[name] = {
            "tokens_per_s": round(speed, 1),
            "rounds": [round(result["tokens_per_s"], 1) for result in good],
            "peak_gib": max((r["peak_gib"] for r in good if r["peak_gib"] is not None), default=None),
            "kernels": good[0]["kernels"],
            **setting.facts(good[0]["job"].recipe, speed),
        }
    winner = lines.get("winner", {}).get("tokens_per_s")
    ratios = {n: round(v["tokens_per_s"] / winner, 3) for n, v in lines.items() if winner and "tokens_per_s" in v}
    print(json.dumps({"benchmark": "gpu_levers", "ratio_to_winner": ratios, "settings": lines}))


if __name__ == "__main__":
    main()
