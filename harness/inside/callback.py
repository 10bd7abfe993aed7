"""The budget inside the trainer: stops in time, re-plans the horizon, logs every step, reports.

Where it sits: the Axolotl plugin hangs it into the trainer; harness/run.py reads its events.
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
from harness.budget.pace import Pace
from harness.budget.schedule import LRSchedule, Segment, learning_rate, write_segment
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
"""A horizon that moved by less is left alone: the curve need not follow every hiccup of the clock."""


LEAST_REHEARSED, REHEARSED_S = 4, 30.0
"""A rehearsal ends after so many steps if they took so long; two of them are the worst, which warm up."""


class PlannedLR(LRScheduler):
    """`harness.budget.schedule.learning_rate` as torch wants it. Its state is the step alone."""

    def __init__(self, optimizer: torch.optim.Optimizer, plan: LRSchedule, cfg: Any) -> None:
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
            floor=self._cfg.cosine_min_lr_ratio or 0.0,
        )
        return [base * rate for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Without the plan and the optimizer: the plan has its own file."""
        return {key: value for key, value in self.__dict__.items() if key in ("last_epoch", "base_lrs", "_step_count")}


class BudgetCallback(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Stops in time for a last evaluation and save, re-plans the horizon, logs and reports."""

    def __init__(self, cfg: Any, events: Events, plan: LRSchedule | None) -> None:
        self.cfg, self.events, self.plan = cfg, events, plan
        self.log = BatchLog(Path(cfg.oneday_batches))
        self.peaks = PeakMemory()
        self.pace = Pace(
            eval_steps=max(1, cfg.eval_steps),
            eval_costs=[cfg.oneday_eval_s] if cfg.oneday_eval_s else [],
            save_costs=[cfg.oneday_save_s] if cfg.oneday_save_s else [],
        )
        self.validation_loss: tuple[int, float] | None = None
        self.terminated = False
        self.stopping = ""
        """Why the last step is the last."""
        self.num_tokens = 0
        self.rate = self.loss = 0.0
        self.mark = self.begun = self.started = uptime()
        self.parent = os.getppid()

    @property
    def until_s(self) -> float:
        """Seconds until training, its last evaluation and its last save must be over."""
        return float(self.cfg.oneday_deadline) - uptime()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Takes SIGTERM over: it means evaluate, save, end."""
        self.started = self.begun = uptime()
        self.peaks.close("load")
        self.previous_handler = signal.signal(signal.SIGTERM, self._on_sigterm)
        self.events.emit(TrainBegin(**now(), step=state.global_step, max_steps=state.max_steps))

    def _on_sigterm(self, *_: Any) -> None:
        self.terminated = True

    def begin(self, phase: Literal["evaluate", "save"]) -> None:
        """An evaluation or a save begins."""
        self.mark = uptime()
        self.events.emit(Phase(**now(), phase=phase))

    def begin_batch(self) -> None:
        """The first micro-batch of a step is about to run."""
        self.log.clear()

    def add_micro_batch(self, digest: bytes, loss: torch.Tensor, num_tokens: int) -> None:
        """A micro-batch has run."""
        self.log.add(digest, loss)
        self.num_tokens += num_tokens

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A sign of life."""
        self.events.beat()

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Between micro-batches."""
        self.events.beat()

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Between batches of an evaluation."""
        self.events.beat()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        """The rate of the step, before the scheduler moves on."""
        self.rate = float(optimizer.param_groups[0]["lr"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Decides whether another step fits."""
        self.loss = self.log.write(state.global_step, self.rate)
        self.mark = uptime()
        self.peaks.close("step")
        self.pace.time_step(self.mark - self.begun)  # fetching its batches and logging the step before included
        self.begun = self.mark
        if not math.isfinite(self.loss):
            return self._diverge(state, control, self.loss)
        if state.global_step == 1 and not self.cfg.oneday_rehearsal:
            control.should_evaluate = control.should_save = True  # an early checkpoint, and both costs measured
        self.terminated |= os.getppid() != self.parent  # the supervisor died: nobody would end us
        because = self._must_stop(state, control)
        if because:
            self.stopping = because
            self.events.emit(Stopping(**now(), step=state.global_step, because=because))
            control.should_log = control.should_evaluate = control.should_save = True
            control.should_training_stop = True
        elif control.should_evaluate or state.global_step % 20 == 0 or self._is_at_the_end(state):
            self._replan(state, evaluates=bool(control.should_evaluate))
        return control

    def _must_stop(self, state: Any, control: Any) -> str:
        """Why this was the last step; empty if it was not."""
        if self.stopping:
            return ""
        if self.terminated:
            return "signal"
        if (
            self.cfg.oneday_rehearsal
            and self.pace.num_timed >= LEAST_REHEARSED
            and uptime() - self.started > REHEARSED_S
        ):
            return "epochs"
        if not self.pace.fits_another(self.until_s, evaluates=bool(control.should_evaluate)):
            return "deadline"
        if self.cfg.oneday_follow_plan and self.plan is not None and state.global_step >= self.plan.horizon:
            return "plan"
        return "epochs" if state.global_step >= state.max_steps else ""

    def _diverge(self, state: Any, control: Any, loss: float) -> Any:
        """No checkpoint of what is broken: the ones before it stay."""
        self.stopping = "not_finite"
        self.events.emit(NotFinite(**now(), step=state.global_step, loss=loss))
        control.should_evaluate = control.should_save = False
        control.should_training_stop = True
        return control

    def _is_at_the_end(self, state: Any) -> bool:
        """Of the plan, with time left: steps after it would have no learning rate."""
        return self.plan is not None and state.global_step + 2 >= self.plan.horizon

    def _replan(self, state: Any, *, evaluates: bool) -> None:
        """Moves the horizon to where the measured costs say the budget ends, or the epochs do."""
        if self.plan is None or self.cfg.oneday_follow_plan:
            return
        found = self.pace.last_step(state.global_step, self.until_s, evaluates=evaluates)
        if found is None:
            return
        horizon = min(state.max_steps, found)
        drift = abs(horizon - self.plan.horizon)
        if drift > REPLAN_DRIFT * self.plan.horizon or (drift and self._is_at_the_end(state)):
            reason = f"{self.pace.mean_step_s:.4f} s a step, {self.pace.closing_s:.4f} s an evaluation and save"
            self.plan.replan(state.global_step, horizon=horizon, reason=reason)
            write_segment(Path(self.cfg.oneday_plan), self.plan.segments[-1])

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
                horizon=self.plan.horizon if self.plan else state.max_steps,
                memory_gib=self.peaks.reserved_gib,
            )
            self.events.emit(step)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> Any:
        """Reports the validation loss and what it cost."""
        self.begun = uptime()
        seconds = self.begun - self.mark
        self.pace.time_evaluation(seconds)
        self.peaks.close("evaluation")
        loss = float((metrics or {}).get("eval_validation_loss", math.nan))
        self.validation_loss = (state.global_step, loss)
        if state.global_step == 0:  # LoRA's second factor is zero before the first step: this is the base
            self.events.emit(BaseLoss(**now(), validation_loss=loss, seconds=round(seconds, 3)))
            return None if math.isfinite(loss) else self._diverge(state, control, loss)
        tokens = (metrics or {}).get("eval_answer_tokens")
        evaluated = Evaluation(
            **now(),
            step=state.global_step,
            validation_loss=loss,
            answer_tokens=tokens,
            seconds=round(seconds, 3),
        )
        self.events.emit(evaluated)
        return None if math.isfinite(loss) else self._diverge(state, control, loss)

    def loss_at(self, step: int) -> float | None:
        """The validation loss that was measured at this step."""
        known = self.validation_loss is not None and self.validation_loss[0] == step
        return self.validation_loss[1] if known and self.validation_loss else None

    def saved(self, step: int, result: Saved) -> None:
        """Reports a save that is done, or one for which the disk has no room."""
        self.begun = uptime()
        seconds = self.begun - self.mark
        self.pace.time_save(seconds)
        self.peaks.close("save")
        kind = Save if result.whole else DiskFull
        saved = kind(
            **now(),
            step=step,
            seconds=round(seconds, 3),
            deleted=result.deleted,
            reserve_s=round(self.pace.reserve_s, 3),
        )
        self.events.emit(saved)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Gives SIGTERM back, or a process that hangs at exit would ignore it."""
        signal.signal(signal.SIGTERM, self.previous_handler or signal.SIG_DFL)
        self._close_plan(state)
        pace = self.pace
        ended = TrainEnd(
            **now(),
            step=state.global_step,
            because=self.stopping or "epochs",
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
        """The plan of a run that is over ends at its last step, so that `follow_plan` ends there too."""
        if self.plan is None or self.cfg.oneday_follow_plan or self.stopping in ("signal", "not_finite"):
            return
        step = state.global_step
        last = Segment(step=step, progress=self.plan.progress(step), horizon=step, reason=f"end: {self.stopping}")
        write_segment(Path(self.cfg.oneday_plan), last)


def _number(value: Any) -> float | None:
    return float(value) if value is not None else None
