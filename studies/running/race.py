"""The race of paused trainings: which of them are clearly worse by validation loss, in a process with a deadline.

    python -P -m studies.running.race JOB.json

It is the picker's race (harness/checkpoint/race.py): all candidates are measured on the same random rows, in slices of
doubling size, and those that are significantly worse than the leader are dropped. Loading a model cannot be interrupted
from inside, so the process is killed at the deadline, and then every candidate continues.

Where it sits: sweeps with `halving`; the runner calls it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from core.files import naming, read_as, write_json
from core.model.quantisation import Quantisation
from harness.axolotl_process import axolotl_environment, wait_or_kill
from harness.budget.clock import uptime
from harness.budget.gpu_profile import GpuProfile
from studies.errors import StudyError

JOB, LOG, STOPPED = "job.json", "race.log", "stopped.json"
POLL_S, KILL_S = 0.05, 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceJob:
    """What a race needs."""

    base: str
    """Folder of the model that all candidates were trained on."""
    quantisation: Quantisation
    """Of the base in training."""
    rows: str
    """The tokenised validation rows, a table."""
    adapters: Mapping[str, str]
    """Name of a candidate -> folder of its adapter."""
    seed: int
    parent: int
    """Process id of the starter. The process ends when the starter does."""


def race_within(
    folder: Path, job: RaceJob, card: GpuProfile, *, device: str, deadline: float, beat: Callable[[], None]
) -> Mapping[str, str]:
    """Name -> why it is stopped, of the candidates that are clearly worse. Empty if the time did not suffice.

    Args:
        folder: For the files of the race.
        deadline: On the uptime clock.
        beat: Called while the process runs.

    Raises:
        StudyError: the process failed.
    """
    (folder / STOPPED).unlink(missing_ok=True)
    write_json(folder / JOB, asdict(job))
    source = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(path for path in (source, os.environ.get("PYTHONPATH")) if path)
    with naming(folder / LOG), (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "studies.running.race", str(folder / JOB)],
            env={**os.environ, **axolotl_environment(card, device=device), "PYTHONPATH": paths},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while process.poll() is None and uptime() < deadline - KILL_S:
            beat()
            time.sleep(POLL_S)
    finally:
        is_late = process.poll() is None
        code = wait_or_kill(process, timeout_s=0)
    if is_late:
        return {}
    if code:
        raise StudyError(f"{folder / LOG}: the race of the candidates ended with exit code {code}. See the log.")
    return read_as(dict[str, str], folder / STOPPED)


def main(path: Path) -> None:
    """Runs a race and writes who is stopped."""
    from core.encoding.table import read_rows
    from harness.checkpoint.loss import CheckpointLosses
    from harness.checkpoint.race import Race
    from harness.inside.main import end_with_parent

    job = read_as(RaceJob, path)
    end_with_parent(job.parent)
    losses = CheckpointLosses(Path(job.base), precision=job.quantisation, rows=read_rows(Path(job.rows)))
    race = Race(
        list(job.adapters),
        losses.num_answer_tokens,
        lambda name, rows: losses.sums(Path(job.adapters[name]), rows),
        seed=job.seed,
        drops_early=True,
    )
    verdicts = {standing.name: standing.verdict for standing in race.run()}
    write_json(path.with_name(STOPPED), {name: verdicts[name] for name in race.dropped})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
