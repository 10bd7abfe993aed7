"""A tracker that fails is left out; the run it was to tell of goes on.

    guard_trackers(trainer, events)

Upstream a tracker's error ends the training: with Axolotl 0.19.0's own pins, `use_trackio` does at the first step.

Where it sits: inside Axolotl, put around the trackers' callbacks by the plugin.
"""

import functools
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

EVENTS = tuple(name for name in dir(TrainerCallback) if name.startswith("on_"))

_TRACKERS = ("TensorBoardCallback", "WandbCallback", "MLflowCallback", "TrackioCallback")
_SAVES_CONFIG = "SaveAxolotlConfig"

OnFailure = Callable[[str, str], None]
"""(tracker's class, what it said)."""


class GuardedTracker(TrainerCallback):  # type: ignore[misc]
    """Passes every event on until the first error."""

    def __init__(self, inner: TrainerCallback, on_failure: OnFailure) -> None:
        self.inner, self.on_failure, self.works = inner, on_failure, True
        for event in EVENTS:
            setattr(self, event, functools.partial(self._pass_on, event))

    def _pass_on(self, event: str, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if not self.works:
            return control
        try:
            return getattr(self.inner, event)(args, state, control, **kwargs)
        except Exception as e:  # whatever a tracker raises is none of the run's business
            self.works = False
            self.on_failure(type(self.inner).__name__, f"{type(e).__name__}: {e}")
            return control


def guard_trackers(trainer: Any, on_failure: OnFailure) -> int:
    """Wraps every tracker among the trainer's callbacks; returns how many."""
    callbacks = trainer.callback_handler.callbacks
    num = 0
    for number, callback in enumerate(callbacks):
        name = type(callback).__name__
        if name in _TRACKERS or name.startswith(_SAVES_CONFIG):
            callbacks[number] = GuardedTracker(callback, on_failure)
            num += 1
    return num
