"""Every objective with every kind of weights: trained whole, and again with two kills, on the real Axolotl.

    python -m tests.harness.combinations [--only TEXT]

The killed run follows the plan of the whole one. Both must end in the same bytes, on the same batches, rates and losses
of every step, within the budget. A table at the end; exit code 1 if anything failed.
"""

import argparse
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.files import file_sha256
from core.run_folder import OUTPUT, TRAIN
from harness.axolotl_process import Launcher
from harness.budget.gpu_profile import get_gpu_profile
from harness.inside.events import Evaluation
from harness.job import TrainJob
from harness.keys.table import KeyTable
from harness.keys.weights import Weights
from harness.recipe import recipe_of
from harness.run import train
from harness.supervise import SCHEDULE, events_of
from tests.conftest import DEMO_BASE, forked_axolotl, write_small_mix
from tests.harness.inside.test_exact import SLOW, killing, last_of_each_step
from tests.harness.inside.test_objectives import write_texts
from tests.harness.inside.test_pairs import write_pairs

STEPS = 8
KILLED_AT = (4, 7)
"""Steps: in the middle between two saves, and right behind one."""

COMMON = {
    "sequence_len": 256, "sample_packing": True, "micro_batch_size": 2, "optimizer": "adamw_torch", "max_steps": STEPS,
    "eval_steps": 3, "seed": 7,
}  # fmt: skip
OBJECTIVES: Mapping[str, tuple[Callable[[Path], Path], Mapping[str, Any]]] = {
    "completion": (write_texts, {"datasets": [{"path": "tale.jsonl", "type": "completion"}]}),
    "sft": (write_small_mix, {}),
    "preference": (write_pairs, {"rl": "dpo", "rl_beta": 0.1, "sample_packing": False}),
}
ADAPTER = {"lora_r": 8, "lora_alpha": 16, "lora_dropout": 0.05, "lora_target_linear": True, "learning_rate": 1e-3}
WEIGHTS: Mapping[str, Mapping[str, Any]] = {
    "qlora": {"adapter": "qlora", **ADAPTER},
    "lora": {"adapter": "lora", **ADAPTER},
    "lora_8bit": {"adapter": "lora", "load_in_8bit": True, **ADAPTER},
    "full": {"learning_rate": 3e-4},
}


def go_through(objective: str, weights: str, mix: Path, folder: Path, launch: Launcher) -> list[str]:
    """Trains twice, and says what differs or is wrong."""
    recipe = recipe_of(KeyTable.of({**COMMON, **OBJECTIVES[objective][1], **WEIGHTS[weights]}))
    card = get_gpu_profile("cpu")
    whole = TrainJob(run=folder / "whole", mix=mix, base=DEMO_BASE, recipe=recipe, card=card, budget_s=900.0)
    killed = replace(whole, run=folder / "killed", follow_plan=whole.run / TRAIN / SCHEDULE)
    result = train(whole, SLOW, launch=launch)
    kills = set(KILLED_AT)
    killer, observe = killing(launch, kills)
    again = train(killed, SLOW, launch=killer, on_event=observe)
    losses = [event.validation_loss for event in events_of(whole.run / TRAIN) if isinstance(event, Evaluation)]
    name = "adapter_model.safetensors" if Weights(weights).is_adapter else "model.safetensors"
    ends = {file_sha256(job.run / TRAIN / OUTPUT / f"checkpoint-{STEPS}" / name) for job in (whole, killed)}
    checks = {
        "it was not killed twice": not kills,
        "a run ended early": (result.steps, again.steps) == (STEPS, STEPS),
        "over the budget": result.ledger.overshoot_s == again.ledger.overshoot_s == 0,
        "batches, rates or losses differ": last_of_each_step(whole) == last_of_each_step(killed),
        "the weights differ": len(ends) == 1,
        "another checkpoint was picked": result.picked.checkpoint == again.picked.checkpoint,
        "the best was not picked": result.picked.validation_loss == min(losses),
        "nothing was learnt": losses[-1] < losses[0],
    }
    return [problem for problem, is_right in checks.items() if not is_right]


def main() -> int:
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="")
    wanted = parser.parse_args().only
    table = Table("objective", *WEIGHTS)
    bad = 0
    with tempfile.TemporaryDirectory() as name, forked_axolotl(Path(name)) as launch:
        for objective, (write_mix, _) in OBJECTIVES.items():
            mix = write_mix(Path(name) / objective / "data")
            cells = []
            for weights in WEIGHTS:
                if wanted not in f"{objective}, {weights}":
                    cells.append("")
                    continue
                try:
                    problems = go_through(objective, weights, mix, Path(name) / objective / weights, launch)
                except Exception as e:
                    traceback.print_exc()
                    problems = [f"{type(e).__name__}: {e}"]
                bad += bool(problems)
                cells.append("; ".join(problems) or "equal")
                print(f"{objective}, {weights}: {cells[-1]}", file=sys.stderr, flush=True)
            table.add_row(objective, *cells)
    Console(width=150).print(table)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
