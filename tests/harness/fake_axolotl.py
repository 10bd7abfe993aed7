"""A torch-free child that speaks the plugin's protocol: it walks the pack plan, logs batches, saves, resumes.

Behaviour comes from FAKE_* in the environment:

FAKE_STEPS       steps before it ends by itself (default 3)
FAKE_STEP_S      seconds of a step (default .05)
FAKE_SAVE        steps at which it evaluates and saves, by comma, or `every:N` (default 1)
FAKE_UNMEASURED  steps whose checkpoint has no loss
FAKE_EVAL_S, FAKE_SAVE_S   seconds, or `LOW-HIGH` for a random cost
FAKE_END         `clean`, `hang` (deaf to SIGTERM), `crash`, or `silent` (exit 0 without a sign of life)
FAKE_HANG_AT     falls silent at this step, once: a resumed child goes past it
FAKE_BEST_RATE  losses are higher the further the learning rate is from this one
FAKE_NAN_AT      the loss of this step is not a number
FAKE_FULL_AT     the disk is full when this step is saved
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from harness.budget.clock import uptime
from harness.checkpoint.content import ADAPTER_FILES, RESUME_FILES
from harness.checkpoint.seal import SAVING, save_sealed
from harness.data.pack import PackPlan

RNG = random.Random(os.environ.get("FAKE_SEED", "0"))


def seconds(name: str, default: float) -> float:
    low, _, high = os.environ.get(f"FAKE_{name}", str(default)).partition("-")
    return RNG.uniform(float(low), float(high)) if high else float(low)


def number(name: str) -> int:
    return int(os.environ.get(f"FAKE_{name}") or -1)


class Fake:
    """One life of the child."""

    def __init__(self, cfg: dict[str, Any]) -> None:
        self.cfg = cfg
        self.events = Path(cfg["oneday_events"]).open("a", buffering=1)  # noqa: SIM115
        self.batches = Path(cfg["oneday_batches"]).open("a", buffering=1)  # noqa: SIM115
        self.asked = False
        self.output = Path(cfg["output_dir"])
        self.costs = [0.0, 0.0]

    def emit(self, event: str, **fields: object) -> None:
        record = {"event": event, "t": time.time(), "up": uptime(), "pid": os.getpid(), **fields}
        self.events.write(json.dumps(record) + "\n")

    def run(self, ending: str) -> int:
        signal.signal(signal.SIGTERM, signal.SIG_IGN if ending == "hang" else self._stop)
        self.emit("registered")
        packs = PackPlan.read(Path(self.cfg["oneday_packs"]))
        self.emit("plugin_alive")
        step = self._resumed_from()
        self.emit("train_begin", step=step, max_steps=100)
        because = "epochs"
        while step < int(os.environ.get("FAKE_STEPS", "3")):
            step += 1
            because = self._step(step, packs)
            if because == "not_finite":
                break
            if because or self._is_saved(step):
                self._evaluate_and_save(step)
            if because:
                break
        if ending == "crash":
            print("RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB", flush=True)
            return 1
        while ending == "hang":
            time.sleep(0.1)
        costs = {"step_s": 0.05, "eval_s": 0.01, "save_s": 0.01, "peak_memory_gib": None}
        self.emit("train_end", step=step, because=because or "epochs", **costs)
        return 0

    def _stop(self, *_: object) -> None:
        self.asked = True

    def _resumed_from(self) -> int:
        found = self.cfg.get("resume_from_checkpoint")
        return int(Path(found).name.removeprefix("checkpoint-")) if found else 0

    def _step(self, step: int, packs: PackPlan) -> str:
        """Why this was the last one; empty if it was not."""
        mark = Path(self.cfg["oneday_events"]).with_name(f"hung-{step}")
        if step == number("HANG_AT") and not mark.exists():
            mark.touch()
            time.sleep(3_600)
        cost = seconds("STEP_S", 0.05)
        time.sleep(cost)
        loss = math.nan if step == number("NAN_AT") else 1.0 / step
        batch = hashlib.sha256(json.dumps(packs.micro_batches[step - 1]).encode()).hexdigest()[:16]
        self.batches.write(json.dumps({"step": step, "batch": batch, "lr": 1e-3, "loss": str(loss)}) + "\n")
        if math.isnan(loss):
            self.emit("not_finite", step=step, loss="nan")
            return "not_finite"
        self.emit("step", step=step, loss=loss, tokens=100 * step, horizon=100, learning_rate=1e-3)
        if self.asked or os.getppid() == 1:
            return "signal"
        left = self.cfg["oneday_deadline"] - uptime() - 1.25 * sum(self.costs)
        return "deadline" if left < 1.5 * cost else ""

    def _is_saved(self, step: int) -> bool:
        saves = os.environ.get("FAKE_SAVE", "1")
        if saves.startswith("every:"):
            return step == 1 or step % int(saves.removeprefix("every:")) == 0
        return step in {int(s) for s in saves.split(",") if s}

    def _evaluate_and_save(self, step: int) -> None:
        start = uptime()
        self.emit("phase", phase="evaluate")
        time.sleep(seconds("EVAL_S", 0.0))
        self.costs[0] = max(self.costs[0], uptime() - start)
        loss = 1.0 / step + self._from_best_rate()
        self.emit("evaluate", step=step, validation_loss=loss, seconds=uptime() - start)
        measured = str(step) not in os.environ.get("FAKE_UNMEASURED", "").split(",")
        start = uptime()
        self.emit("phase", phase="save")
        saved = save_sealed(
            self.output,
            lambda: self._write(step),
            step=step,
            validation_loss=loss if measured else None,
            run_id=self.cfg["oneday_job"],
            save_total_limit=self.cfg["oneday_keep"],
        )
        self.costs[1] = max(self.costs[1], uptime() - start)
        event = "save" if saved.whole else "disk_full"
        self.emit(event, step=step, seconds=uptime() - start, deleted=list(saved.deleted))

    def _from_best_rate(self) -> float:
        """Decades between the run's learning rate and the best one."""
        best = os.environ.get("FAKE_BEST_RATE")
        return abs(math.log10(float(self.cfg["learning_rate"]) / float(best))) if best else 0.0

    def _write(self, step: int) -> None:
        folder = self.output / SAVING / f"checkpoint-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        cost = seconds("SAVE_S", 0.0)
        for name in (*ADAPTER_FILES, *RESUME_FILES):
            (folder / name).write_text(name)
            time.sleep(cost / 6)
        if step == number("FULL_AT"):
            raise OSError(errno.ENOSPC, "No space left on device")


def main() -> int:
    ending = os.environ.get("FAKE_END", "clean")
    if ending == "silent":
        return 0
    with contextlib.suppress(KeyboardInterrupt):
        return Fake(yaml.safe_load(Path(sys.argv[1]).read_text())).run(ending)
    return 1


if __name__ == "__main__":
    sys.exit(main())
