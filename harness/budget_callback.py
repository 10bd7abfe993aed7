"""The budget inside the trainer: stops in time, re-plans the horizon, seals and rotates checkpoints, reports.

Where it sits: the Axolotl plugin hangs it into the trainer; harness/run.py reads its events.
"""

import contextlib
import json
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler
from transformers import TrainerCallback

from harness.budget import CLOSING_MARGIN
from harness.checkpoint import rotate, seal
from harness.schedule import Plan, Segment, learning_rate

STEP_MARGIN = 1.5
"""Safety over the largest measured step."""

REPLAN_DRIFT = 0.02
"""A horizon that moved by less is left alone: the curve need not follow every hiccup of the clock."""


class Events:
    """Appends events, one JSON line each, with the wall clock."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", buffering=1, encoding="utf-8")

    def emit(self, event: str, **fields: Any) -> None:
        """One line, written at once. JSON has no NaN: a number that is not finite is written as text."""
        record = {"event": event, "t": round(time.time(), 3), "pid": os.getpid(), **fields}
        self._file.write(json.dumps({key: _jsonable(value) for key, value in record.items()}) + "\n")


class PlannedLR(LRScheduler):
    """`harness.schedule.learning_rate` as torch wants it. Its state is the step alone."""

    def __init__(self, optimizer: torch.optim.Optimizer, plan: Plan, cfg: Any) -> None:
        self._plan, self._cfg = plan, cfg
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        """One rate per parameter group, in proportion to the group's own peak."""
        rate = learning_rate(
            self.last_epoch,
            self._plan,
            peak=1.0,
            warmup_steps=self._cfg.warmup_steps or 0,
            shape=self._cfg.lr_scheduler,
        )
        return [base * rate for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Without the plan and the optimizer: the plan has its own file."""
        return {key: value for key, value in self.__dict__.items() if key in ("last_epoch", "base_lrs", "_step_count")}


class BudgetCallback(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Stops in time for a last evaluation and save, re-plans the horizon, seals and rotates checkpoints."""

    def __init__(self, cfg: Any, events: Events, plan: Plan | None) -> None:
        self.cfg, self.events, self.plan = cfg, events, plan
        self.step_s = self.mean_step_s = self.step_s_when_closed = 0.0
        self.eval_s, self.save_s = cfg.oneday_eval_s or 0.0, cfg.oneday_save_s or 0.0
        self.sampler: Any = None
        self.packed: Any = None
        self.rng_state: torch.Tensor | None = None
        self.validation_loss: tuple[int, float] | None = None
        self.terminated = self.stopping = self.diverged = False
        self.num_timed = self.num_tokens = 0
        self.mark = self.begun = time.monotonic()
        self.parent = os.getppid()
        self.epoch: int | None = None

    @property
    def left_s(self) -> float:
        """Seconds until training must be over, the last evaluation and save taken off.

        Their cost was measured at the speed of that moment; if steps have become slower since (a machine that is
        shared, a card that throttles), it is scaled up by as much.
        """
        slowdown = max(1.0, self.step_s / self.step_s_when_closed) if self.step_s_when_closed > 0 else 1.0
        closing = CLOSING_MARGIN * slowdown * (self.eval_s + self.save_s)
        return float(self.cfg.oneday_deadline) - time.time() - closing

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Takes SIGTERM over: it means evaluate, save, end."""
        self.previous_handler = signal.signal(signal.SIGTERM, self._on_sigterm)
        self.events.emit("train_begin", step=state.global_step, max_steps=state.max_steps)

    def _on_sigterm(self, *_: Any) -> None:
        self.terminated = True

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The order of an epoch depends on its number alone."""
        if self.packed is not None:
            # state.epoch is a fraction of an epoch that may have been cut short: it is trusted once, then counted
            self.epoch = int((state.epoch or 0.0) + 1e-6) if self.epoch is None else self.epoch + 1
            self.sampler.epoch, self.packed._batches = self.epoch, None

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts the watch."""
        self.begun = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Decides whether another step fits."""
        self.mark = time.monotonic()
        self._time_step(self.mark - self.begun)
        if state.global_step == 1 and self.plan is not None:
            control.should_evaluate = control.should_save = True  # an early checkpoint, and both costs measured
        self.terminated |= os.getppid() != self.parent  # the supervisor died: nobody would end us
        closing_now = self.eval_s + self.save_s if control.should_evaluate else 0.0  # would eat the last ones' time
        if not self.stopping and (self.terminated or self.left_s - closing_now < STEP_MARGIN * self.step_s):
            self.stopping = True
            self.events.emit("stopping", step=state.global_step, because="signal" if self.terminated else "deadline")
            control.should_log = control.should_evaluate = control.should_save = True
            control.should_training_stop = True
        elif control.should_evaluate or state.global_step % 20 == 0:
            self._replan(state)
        self.rng_state = torch.get_rng_state()  # an evaluation draws from it; given back below
        return control

    def _time_step(self, seconds: float) -> None:
        self.step_s = max(seconds, 0.7 * self.step_s + 0.3 * seconds)
        self.num_timed += 1
        if self.num_timed > 2:  # the first steps warm caches up
            self.mean_step_s += (seconds - self.mean_step_s) / min(self.num_timed - 2, 50)

    def _replan(self, state: Any) -> None:
        """Moves the horizon to where the measured speed says the budget ends, or the epochs do."""
        if self.plan is None or self.mean_step_s <= 0:
            return
        to_come = max(0.0, self.left_s) / self.mean_step_s
        num_evaluations = to_come / max(1, self.cfg.eval_steps)
        to_come = max(0.0, self.left_s - num_evaluations * (self.eval_s + self.save_s)) / self.mean_step_s
        horizon = min(state.max_steps, state.global_step + int(to_come))
        if abs(horizon - self.plan.horizon) > REPLAN_DRIFT * self.plan.horizon:
            self.plan.replan(state.global_step, horizon=horizon, reason=f"{self.mean_step_s:.4f} s a step")
            write_segment(Path(self.cfg.oneday_plan), self.plan.segments[-1])

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Reports a training step."""
        if "loss" in (logs or {}):
            loss = float(logs["loss"])
            self.events.emit(
                "step",
                step=state.global_step,
                loss=loss,
                learning_rate=logs.get("learning_rate"),
                grad_norm=_number(logs.get("grad_norm")),
                epoch=round(state.epoch or 0.0, 4),
                tokens=self.num_tokens,
                horizon=self.plan.horizon if self.plan else state.max_steps,
            )
            if not math.isfinite(loss):
                self.stopping = self.diverged = control.should_training_stop = True
                self.events.emit("not_finite", step=state.global_step, loss=loss)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Reports the validation loss and what it cost; gives the random state back."""
        if self.rng_state is not None:
            torch.set_rng_state(self.rng_state)
        seconds = time.monotonic() - self.mark
        self.eval_s = max(self.eval_s, seconds)
        self.step_s_when_closed = max(self.step_s_when_closed, self.step_s)
        loss = float((metrics or {}).get("eval_validation_loss", math.nan))
        self.validation_loss = (state.global_step, loss)
        tokens = (metrics or {}).get("eval_answer_tokens")
        self.events.emit(
            "evaluate", step=state.global_step, validation_loss=loss, answer_tokens=tokens, seconds=round(seconds, 3)
        )
        self.mark = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Seals the checkpoint, then rotates."""
        known = self.validation_loss is not None and self.validation_loss[0] == state.global_step
        loss = self.validation_loss[1] if known and self.validation_loss else None
        seal(Path(args.output_dir) / f"checkpoint-{state.global_step}", step=state.global_step, validation_loss=loss)
        gone = rotate(Path(args.output_dir), keep=self.cfg.oneday_keep)
        seconds = time.monotonic() - self.mark
        self.save_s = max(self.save_s, seconds)
        self.events.emit("save", step=state.global_step, seconds=round(seconds, 3), deleted=[p.name for p in gone])

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Gives SIGTERM back, or a process that hangs at exit would ignore it."""
        signal.signal(signal.SIGTERM, self.previous_handler or signal.SIG_DFL)
        self.events.emit(
            "train_end",
            step=state.global_step,
            because=self._ended_because(),
            step_s=round(self.step_s, 4),
            eval_s=round(self.eval_s, 4),
            save_s=round(self.save_s, 4),
            peak_memory_gib=_peak_memory_gib(),
        )

    def _ended_because(self) -> str:
        if self.diverged:
            return "not_finite"
        if self.terminated:
            return "signal"
        return "deadline" if self.stopping else "epochs"


def _jsonable(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _peak_memory_gib() -> float | None:
    """Reserved on the card at the worst moment; None on a CPU."""
    return round(torch.cuda.max_memory_reserved() / 2**30, 3) if torch.cuda.is_available() else None


def _number(value: Any) -> float | None:
    return float(value) if value is not None else None


def read_segments(path: Path) -> list[Segment]:
    """The plan file; nothing if there is none."""
    if not path.is_file():
        return []
    segments = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):  # a line that a kill tore
            segments.append(Segment(**json.loads(line)))
    return segments


def write_segment(path: Path, segment: Segment) -> None:
    """Appends one segment, durably."""
    record = {
        "step": segment.step, "progress": segment.progress, "horizon": segment.horizon, "reason": segment.reason,
    }  # fmt: skip
    with path.open("a", encoding="utf-8") as f:
        f.write(json.dumps(record) + "\n")
        f.flush()
        os.fsync(f.fileno())
