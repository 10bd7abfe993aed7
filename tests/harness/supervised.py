"""One supervised run as a process of its own, so that it can be killed: python -m tests.harness.supervised '{json}'.

Keys: mix, base, run, budget_s, real (what a rehearsal measured: the real Axolotl instead of the torch-free child),
jump_s (the system clock moves by as much after a second), pick_s (the picker takes as long to read a checkpoint),
silence_s (the watchdog's patience).
"""

import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness.checkpoint.pick
import harness.ledger.ledger
import harness.run
import harness.supervise
from core.errors import Interrupted
from harness.axolotl_process import start_axolotl
from harness.budget.clock import Clock
from harness.budget.rehearse import Rehearsal
from tests.harness.test_run import MEASURED, fake, make_job

COSTS = replace(MEASURED, eval_s=0.3, save_s=0.3)


def main(given: dict[str, Any]) -> int:
    if given.get("silence_s"):
        harness.supervise.MIN_SILENCE_S = given["silence_s"]
    inspect = harness.checkpoint.pick.inspect

    def slow_inspect(directory: Path, *, hashes: bool = True) -> Any:
        time.sleep(given.get("pick_s", 0.0) if hashes else 0.0)
        return inspect(directory, hashes=hashes)

    harness.checkpoint.pick.inspect = slow_inspect
    if given.get("jump_s"):
        _move_clock(given["jump_s"])
    run = Path(given["run"])
    job = make_job(run.parent, Path(given["mix"]), Path(given["base"]), budget_s=given["budget_s"])
    try:
        result = harness.run.train(
            replace(job, run=run),
            Rehearsal(**given["real"]) if given.get("real") else replace(COSTS, verify_s=given.get("pick_s", 0.001)),
            launch=start_axolotl if given.get("real") else fake(),
        )
    except Interrupted:
        return 3
    print(json.dumps({"because": result.stop_reason, "steps": result.steps, "picked": result.picked.checkpoint}))
    return 0


def _move_clock(jump_s: float) -> None:
    """What `date -s` would do to this process, without doing it to the machine."""
    real, moved = time.time, threading.Event()
    threading.Timer(1.0, moved.set).start()
    time.time = lambda: real() + (jump_s if moved.is_set() else 0.0)
    harness.ledger.ledger.Clock = lambda: Clock(wall=time.time)  # type: ignore[misc,assignment]


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
