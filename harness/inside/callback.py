"""The budget callback of the trainer: it stops in time, re-plans the horizon, logs every step and emits events.

Where it sits: the Axolotl plugin adds it to the trainer; harness/supervise.py reads its events.
"""

import math
import os
import signal
from pathlib import Path
from typing import Any, Literal

import torch
from torch.optim.lr_scheduler import LRScheduler
from transformers import TrainerCallback

from harness.budget.clock import uptime
from harness.budget.curve import Curve
from harness.budget.pace import Pace
from harness.budget.schedule import LRSchedule, Segment, write_segment
from harness.checkpoint.seal import Saved
from harness.inside.batch_log import BatchLog
from harness.inside.events import (
    BaseLoss,
    DiskFull,
    Evaluation,
    Events,
    NotFinite,
    Phase,
    Save,
    Step,
    Stopping,
    TrainBegin,
    TrainEnd,
    now,
)
from harness.inside.peak_memory import PeakMemory

REPLAN_DRIFT = 0.02
"""Smallest relative change of the horizon that is written as a new segment, so that noise does not change the curve."""

MIN_REHEARSAL_STEPS, REHEARSAL_STEPS_S = 4, 30.0
"""A rehearsal's training ends after at least this many steps once they take this long. Two of the steps warm up."""


class PlannedLR(LRScheduler):
    """`harness.budget.curve.Curve` as a torch scheduler, whose only state is the step."""

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: LRSchedule, curve: Curve) -> None:
        self._schedule, self._curve = schedule, curve
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        """The rate of each parameter group, in proportion to the group's own peak."""
        rate = self._curve.share(self.last_epoch, self._schedule)
        return [base * rate for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """The state without the schedule, which has its own file, and without the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key in ("last_epoch", "base_lrs", "_step_count")}


class BudgetCallback(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Stops in time for a last evaluation and save, re-plans the horizon, logs every step and emits events."""

    def __init__(self, cfg: Any, events: Events, schedule: LRSchedule | None) -> None:
        self.cfg, self.events, self.schedule = cfg, events, schedule
        self.log = BatchLog(Path(cfg.oneday_batches))
        self.peaks = PeakMemory()
        self.pace = Pace(
            eval_steps=max(1, cfg.eval_steps),
            eval_costs=[cfg.oneday_eval_s] if cfg.oneday_eval_s else [],
            save_costs=[cfg.oneday_save_s] if cfg.oneday_save_s else [],
        )
        self.validation_loss: tuple[int, float] | None = None
        self.terminated = False
        self.stop_reason = ""
        """Why training stops; empty while it goes on."""
        self.num_tokens = 0
        self.rate = 0.0
        self.phase_started = self.step_started = self.train_started = uptime()
        self.supervisor_pid = os.getppid()

    @property
    def until_s(self) -> float:
        """Seconds until training must be over, including its last evaluation and save."""
        return float(self.cfg.oneday_deadline) - uptime()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Handles SIGTERM from now on: the trainer then evaluates, saves and ends."""
        self.train_started = self.step_started = uptime()
        self.peaks.close("load")
        self.previous_handler = signal.signal(signal.SIGTERM, self._on_sigterm)
        self.events.emit(TrainBegin(**now(), step=state.global_step, max_steps=state.max_steps))

    def _on_sigterm(self, *_: Any) -> None:
        self.terminated = True

    def begin_phase(self, phase: Literal["evaluate", "save"]) -> None:
        """Starts timing an evaluation or a save, and reports it."""
        self.phase_started = uptime()
        self.events.emit(Phase(**now(), phase=phase))

    def add_micro_batch(self, digest: bytes, loss: torch.Tensor, num_tokens: int) -> None:
        """Logs a micro-batch that has run."""
        self.log.add(digest, loss)
        self.num_tokens += num_tokens

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Emits a heartbeat before a step."""
        self.events.beat()

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Emits a heartbeat between micro-batches."""
        self.events.beat()

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Emits a heartbeat between the batches of an evaluation."""
        self.events.beat()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        """Reads the rate of the step before the scheduler advances."""
        self.rate = float(optimizer.param_groups[0]["lr"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Logs and times the step, and decides whether another one fits."""
        loss = self.log.write(state.global_step, self.rate)
        self.phase_started = uptime()
        self.peaks.close("step")
        # This includes loading the step's batches and logging the step before.
        self.pace.time_step(self.phase_started - self.step_started)
        self.step_started = self.phase_started
        if not math.isfinite(loss):
            return self._stop_diverged(state, control, loss)
        if state.global_step == 1 and not self.cfg.oneday_rehearsal:
            control.should_evaluate = control.should_save = True  # an early checkpoint, which also measures both
        self.terminated |= os.getppid() != self.supervisor_pid  # without its supervisor nothing would stop the trainer
        reason = self._find_stop_reason(state, control)
        if reason:
            self.stop_reason = reason
            self.events.emit(Stopping(**now(), step=state.global_step, because=reason))
            control.should_log = control.should_evaluate = control.should_save = True
            control.should_training_stop = True
        elif control.should_evaluate or state.global_step % 20 == 0 or self._is_near_horizon(state):
            self._replan(state, evaluates=bool(control.should_evaluate))
        return control

    def _find_stop_reason(self, state: Any, control: Any) -> str:
        """Why this was the last step; empty if training goes on or is already stopping."""
        if self.stop_reason:
            return ""
        if self.terminated:
            return "signal"
        if (
            self.cfg.oneday_rehearsal
            and self.pace.num_timed >= MIN_REHEARSAL_STEPS
            and uptime() - self.train_started > REHEARSAL_STEPS_S
        ):
            return "epochs"
        if not self.pace.fits_another(self.until_s, evaluates=bool(control.should_evaluate)):
            return "deadline"
        if self.cfg.oneday_follow_plan and self.schedule is not None and state.global_step >= self.schedule.horizon:
            return "plan"
        if 0 < (self.cfg.oneday_pause_at or 0) <= state.global_step < state.max_steps:
            return "pause"
        return "epochs" if state.global_step >= state.max_steps else ""

    def _stop_diverged(self, state: Any, control: Any, loss: float) -> Any:
        """Stops without saving the diverged weights; earlier checkpoints stay."""
        self.stop_reason = "not_finite"
        self.events.emit(NotFinite(**now(), step=state.global_step, loss=loss))
        control.should_evaluate = control.should_save = False
        control.should_training_stop = True
        return control

    def _is_near_horizon(self, state: Any) -> bool:
        """Whether the horizon is at most two steps away. Steps after it would have a learning rate of 0."""
        return self.schedule is not None and state.global_step + 2 >= self.schedule.horizon

    def _replan(self, state: Any, *, evaluates: bool) -> None:
        """Moves the horizon to the step at which, by the measured costs, the budget or the epochs end."""
        if self.schedule is None or self.cfg.oneday_follow_plan:
            return
        last_step = self.pace.last_step(state.global_step, self.until_s, evaluates=evaluates)
        if last_step is None:
            return
        horizon = min(state.max_steps, last_step)
        drift = abs(horizon - self.schedule.horizon)
        if drift > REPLAN_DRIFT * self.schedule.horizon or (drift and self._is_near_horizon(state)):
            reason = f"{self.pace.mean_step_s:.4f} s per step, {self.pace.closing_s:.4f} s per evaluation and save"
            self.schedule.replan(state.global_step, horizon=horizon, reason=reason)
            write_segment(Path(self.cfg.oneday_plan), self.schedule.segments[-1])

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Reports a training step."""
        if "loss" in (logs or {}):
            step = Step(
                **now(),
                step=state.global_step,
                loss=float(logs["loss"]),
                learning_rate=self.rate,
                grad_norm=_number(logs.get("grad_norm")),
                tokens=self.num_tokens,
                horizon=self.schedule.horizon if self.schedule else state.max_steps,
                memory_gib=self.peaks.reserved_gib,
            )
            self.events.emit(step)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> Any:
        """Reports the validation loss and the time that it took."""
        self.step_started = uptime()
        seconds = self.step_started - self.phase_started
        self.pace.time_evaluation(seconds)
        self.peaks.close("evaluation")
        loss = float((metrics or {}).get("eval_validation_loss", math.nan))
        self.validation_loss = (state.global_step, loss)
        if state.global_step == 0:  # LoRA's second factor is 0 before the first step, so this is the base's loss
            self.events.emit(BaseLoss(**now(), validation_loss=loss, seconds=round(seconds, 3)))
            return None if math.isfinite(loss) else self._stop_diverged(state, control, loss)
        tokens = (metrics or {}).get("eval_answer_tokens")
        evaluation = Evaluation(
            **now(),
            step=state.global_step,
            validation_loss=loss,
            answer_tokens=tokens,
            reward_accuracy=(metrics or {}).get("eval_reward_accuracy"),
            reward_margin=(metrics or {}).get("eval_reward_margin"),
            seconds=round(seconds, 3),
        )
        self.events.emit(evaluation)
        return None if math.isfinite(loss) else self._stop_diverged(state, control, loss)

    def loss_at(self, step: int) -> float | None:
        """The validation loss of this step; None if it was not measured."""
        if self.validation_loss is None or self.validation_loss[0] != step:
            return None
        return self.validation_loss[1]

    def report_save(self, step: int, result: Saved) -> None:
        """Reports a finished save, or a save for which the disk has no room."""
        self.step_started = uptime()
        seconds = self.step_started - self.phase_started
        self.pace.time_save(seconds)
        self.peaks.close("save")
        event_type = Save if result.whole else DiskFull
        event = event_type(
            **now(),
            step=step,
            seconds=round(seconds, 3),
            deleted=result.deleted,
            reserve_s=round(self.pace.reserve_s, 3),
        )
        self.events.emit(event)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Restores SIGTERM, which a process that hangs at exit would otherwise ignore, and reports the measurements."""
        signal.signal(signal.SIGTERM, self.previous_handler or signal.SIG_DFL)
        self._close_plan(state)
        pace = self.pace
        ended = TrainEnd(
            **now(),
            step=state.global_step,
            because=self.stop_reason or "epochs",
            step_s=round(pace.slowest_step_s if self.cfg.oneday_rehearsal else pace.step_s, 4),
            mean_step_s=round(pace.mean_step_s, 4),
            eval_s=round(max(pace.eval_costs, default=0.0), 4),
            usual_eval_s=round(pace.eval_costs[-1] if pace.eval_costs else 0.0, 4),
            save_s=round(max(pace.save_costs, default=0.0), 4),
            peak_memory_gib=self.peaks.reserved_gib,
            peak_by_phase_gib=self.peaks.by_phase,
        )
        self.events.emit(ended)

    def _close_plan(self, state: Any) -> None:
        """Writes a segment that ends at the last step, so that a run with `follow_plan` ends there too."""
        if (
            self.schedule is None
            or self.cfg.oneday_follow_plan
            or self.stop_reason in ("signal", "pause", "not_finite")
        ):
            return
        step = state.global_step
        progress = self.schedule.progress(step)
        last = Segment(step=step, progress=progress, horizon=step, reason=f"end: {self.stop_reason}")
        write_segment(Path(self.cfg.oneday_plan), last)


def _number(value: Any) -> float | None:
    return float(value) if value is not None else None
