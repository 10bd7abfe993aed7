"""The final model of `oneday train --final-model DIR`: priced by the rehearsal, written inside the budget."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

from harness.budget.clock import uptime
from harness.budget.duration import pretty
from harness.checkpoint.trained_base import quantisation_in_training
from harness.errors import BudgetError, ConfigError
from harness.job import TrainJob
from harness.ledger.ledger import Ledger
from harness.run import LEDGER
from oneday.display.console import Console
from submission.export.final_model import FinalModel, write_within
from submission.export.picked_model import picked_model


def check_place(out: Path) -> None:
    """Refuses a folder that holds something, before anything is trained.

    Raises:
        ConfigError: it is there and not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"`final_model={out}`: is there and not empty. Remove it, or give another folder.")


def price(job: TrainJob) -> Callable[[Path], float]:
    """A function that writes the final model of a rehearsal's checkpoint once, and returns the seconds it took."""

    def seconds(checkpoint: Path) -> float:
        out = checkpoint.with_name("final_model")
        final = FinalModel(
            checkpoint=checkpoint, base=job.base, out=out,
            quantisation=quantisation_in_training(job.recipe, job.card),
        )  # fmt: skip
        started_at = uptime()
        write_within(final, deadline=math.inf, beat=lambda: None)
        took = uptime() - started_at
        shutil.rmtree(out)
        return took

    return seconds


def write_in_budget(job: TrainJob, out: Path, console: Console) -> BudgetError | None:
    """Writes the picked checkpoint as whole weights in the rest of the budget.

    Returns:
        The error to end with if the rest was too short; the pick stays.
    """
    ledger = Ledger.of_run(job.run / LEDGER)
    console.say(f"writing the final model: {pretty(max(ledger.left_s, 0.0))} are left")
    with ledger.working("export"):
        model = picked_model(job.run, base=job.base, base_changed=False)
        final = FinalModel(
            checkpoint=model.folder, base=model.base, out=out.resolve(), quantisation=model.trained.quantisation
        )
        if out.is_dir():
            out.rmdir()
        is_written = write_within(final, deadline=ledger.deadline, beat=ledger.beat)
    shutil.rmtree(out.with_name(f"{out.name}.tmp"), ignore_errors=True)
    if not is_written:
        return BudgetError(
            f"`final_model={out}`: not written before the budget ended; the pick is whole. "
            f"`oneday export {job.run}` `merge=bf16` writes it after the budget."
        )
    console.say(f"final model: {out}, whole weights in bf16; {pretty(max(ledger.left_s, 0.0))} of the budget are left")
    return None
