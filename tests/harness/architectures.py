"""Every architecture from base to answer: rehearsed, trained, picked, exported, served and tried.

    python -m tests.harness.architectures [--only TEXT] [--weights qlora ...]

The real Axolotl trains each of the tiny random bases. The loss of the pick is computed a second time, row by row and
without packing; merged weights are compared with base and adapter, and the export is loaded by transformers and PEFT. A
table at the end; exit code 1 if anything failed.
"""

import argparse
import math
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from core.example.prompt import training_prompt
from core.generation.answer_loss import answer_losses
from core.model.language_model import LanguageModel
from core.run_folder import TRAIN
from harness.axolotl_process import Launcher
from harness.budget.gpu_profile import get_gpu_profile
from harness.budget.rehearse import rehearse
from harness.data.dataset import read_dataset_rows
from harness.job import TrainJob
from harness.keys.table import KeyTable
from harness.recipe import recipe_of
from harness.run import train
from harness.supervise import DATA
from oneday.commands.serve import answer
from oneday.display.console import Console
from oneday.local_server import ask, local_server
from oneday.requests.submission import ServeRequest, TryRequest
from submission.checkpoint import find_served
from submission.export.export import Export, export
from tests.conftest import forked_axolotl, write_small_mix
from tests.harness.bases import ARCHITECTURES, write_base
from tests.harness.combinations import WEIGHTS

COMMON = {
    "sequence_len": 256, "sample_packing": True, "micro_batch_size": 2, "optimizer": "adamw_torch", "max_steps": 8,
    "eval_steps": 4, "seed": 7,
}  # fmt: skip


ROW_BY_ROW = {"qlora": 1e-4, "lora": 1e-4, "full": 1e-4, "lora_8bit": 0.05}
"""Largest difference between the loss in packed batches and row by row. LLM.int8() treats outliers by batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a base."""

    problems: list[str] = field(default_factory=list)
    base_loss: float = math.nan
    loss: float = math.nan
    """Of the pick."""
    row_difference: float = math.nan
    """Between that loss and the one of the same rows, each alone, in another process."""
    merged_difference: float = math.nan
    """Of a logit, between merged weights and base with adapter."""


def go_through(base: Path, mix: Path, folder: Path, weights: str, launch: Launcher) -> Outcome:
    """Rehearses, trains, picks, exports, serves and tries."""
    job = job_of(base, mix, folder, weights)
    measured = rehearse(job, launch=launch)
    result = train(job, measured, launch=launch)
    picked = result.picked
    assert measured.base_loss is not None
    problems = []
    if (result.stop_reason, result.steps) != ("epochs", 8):
        problems.append(f"ended by {result.stop_reason} at step {result.steps}")
    if not picked.validation_loss < measured.base_loss - 0.02:
        problems.append("learnt nothing")
    alone = loss_row_by_row(job)
    target = "adapter" if weights == "full" else "merged"
    exported = export(Export(run=job.run, to=target, merge="fp32"), command="oneday export")
    merged = exported.agreement.largest_difference if exported.agreement else math.nan
    problems += served_otherwise(job.run, folder)
    if not abs(alone - picked.validation_loss) < ROW_BY_ROW[weights]:
        problems.append(f"row by row the loss is {alone}")
    return Outcome(
        problems=problems,
        base_loss=measured.base_loss,
        loss=picked.validation_loss,
        row_difference=abs(alone - picked.validation_loss),
        merged_difference=merged,
    )


def job_of(base: Path, mix: Path, folder: Path, weights: str) -> TrainJob:
    rate = {"learning_rate": 2e-3 if weights == "full" else 5e-3}  # a random base learns little at usual rates
    recipe = recipe_of(KeyTable.of({**COMMON, **WEIGHTS[weights], **rate}))
    card = get_gpu_profile("cpu")
    return TrainJob(run=folder / "run", mix=mix, base=base, recipe=recipe, card=card, budget_s=900.0)


def loss_row_by_row(job: TrainJob) -> float:
    """The validation loss of the pick, as the server loads it, without packing."""
    served = find_served(job.run, base=None)
    model = LanguageModel.load(served.base, lora_adapter=served.lora_adapter, precision=served.precision)
    rows = read_dataset_rows(job.run / TRAIN / DATA / "validation.parquet", job.base)
    losses = answer_losses(model, [(row.input_ids, row.labels) for row in rows])
    return sum(loss for loss, _ in losses) / sum(num for _, num in losses)


def served_otherwise(run: Path, folder: Path) -> list[str]:
    """Whether `oneday serve` and `oneday try` differ."""
    prompts = [training_prompt("Write the last word.", given) for given in ("hot 3 cold", "a 5 b " * 20)]
    with local_server(ServeRequest(checkpoint=run), log=folder / "server.log") as url:
        answers = ask(url, prompts, max_new_tokens=12)
    said = [answer(TryRequest(prompt=p, raw=True, checkpoint=run, max_new_tokens=12), Console()) for p in prompts]
    return [f"served {a!r}, tried {b!r}" for a, b in zip(answers, said, strict=True) if a.strip() != b]


def main() -> int:
    from rich.console import Console as Screen
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="")
    parser.add_argument("--weights", nargs="+", choices=WEIGHTS, default=["qlora"])
    arguments = parser.parse_args()
    table = Table("base", "weights", "result", "base loss", "tuned", "row by row", "merged logits")
    bad = 0
    with tempfile.TemporaryDirectory() as name, forked_axolotl(Path(name)) as launch:
        folder = Path(name)
        mix = write_small_mix(folder / "mix")
        for architecture in (a for a in ARCHITECTURES if arguments.only in a):
            base = write_base(ARCHITECTURES[architecture], folder / architecture / "base")
            for weights in arguments.weights:
                try:
                    outcome = go_through(base, mix, folder / architecture / weights, weights, launch)
                except Exception as e:
                    traceback.print_exc()
                    outcome = Outcome(problems=[f"{type(e).__name__}: {e}"])
                bad += bool(outcome.problems)
                result = "; ".join(outcome.problems) or "works"
                print(f"{architecture}, {weights}: {result}", file=sys.stderr, flush=True)
                table.add_row(
                    architecture, weights, result, f"{outcome.base_loss:.3f}", f"{outcome.loss:.3f}",
                    f"{outcome.row_difference:.1e}", f"{outcome.merged_difference:.1e}",
                )  # fmt: skip
    Screen(width=150).print(table)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
