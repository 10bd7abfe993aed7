"""The final model of a run: one folder of whole weights in bf16, which transformers and vLLM load without PEFT.

    python -P -m submission.export.final_model JOB.json

It is written in a process of its own, because only killing a process keeps a deadline for certain. The rehearsal runs
the same process on its own checkpoint, which tells how long the run has to keep free for it.

Where it sits: picked checkpoint -> **final model** -> a contest's evaluation.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from core.files import make_folder, read_as
from core.model.quantisation import Quantisation
from harness.budget.clock import uptime
from harness.checkpoint.whole_model import write_whole_model
from harness.inside.main import end_with_parent
from submission.errors import ExportError
from submission.export.publish import publish

_SOURCE = Path(__file__).parents[2]
_POLL_S, _KILL_S = 0.05, 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalModel:
    """What is written, from what."""

    checkpoint: Path
    """An adapter's or a whole model's folder."""
    base: Path
    quantisation: Quantisation
    """Of the base in training."""
    out: Path


def write_final_model(final: FinalModel) -> None:
    """Writes the folder under another name first; it is whole as soon as it is there."""
    temporary = final.out.with_name(f"{final.out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    make_folder(temporary)
    write_whole_model(final.checkpoint, final.base, temporary, quantisation=final.quantisation, dtype="bf16")
    publish(temporary, final.out)


def write_within(final: FinalModel, *, deadline: float, beat: Callable[[], None]) -> bool:
    """Writes it in a process that is killed at the deadline; returns whether it was written.

    Args:
        deadline: Uptime.
        beat: Called while the process runs.
    Raises:
        ExportError: the process failed.
    """
    with tempfile.TemporaryDirectory(prefix="oneday-") as folder:
        job, log = Path(folder, "job.json"), Path(folder, "log")
        job.write_bytes(TypeAdapter(_Job).dump_json(_Job(final=final, parent=os.getpid())))
        command = [sys.executable, "-P", "-m", "submission.export.final_model", str(job)]
        path = os.pathsep.join(part for part in (str(_SOURCE), os.environ.get("PYTHONPATH")) if part)
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            while (code := process.poll()) is None and uptime() < deadline - _KILL_S:
                beat()
                time.sleep(_POLL_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code:
            lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
            raise ExportError(f"{final.out}: the final model was not written ({lines[-1][:300]}).")
    return code == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    final: FinalModel
    parent: int


def main(path: Path) -> None:
    """Does the work of a job file."""
    job = read_as(_Job, path)
    end_with_parent(job.parent)
    write_final_model(job.final)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
