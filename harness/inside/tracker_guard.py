"""Trackers that fail are switched off, and the run continues.

    guard_trackers(trainer, on_failure)

In Axolotl a tracker's error ends the training: with Axolotl 0.19.0's own pins, `use_trackio` fails at the first step.

Where it sits: inside the child process; the plugin wraps the trackers' callbacks.
"""

import functools
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

EVENTS = tuple(name for name in dir(TrainerCallback) if name.startswith("on_"))

_TRACKERS = ("TensorBoardCallback", "WandbCallback", "MLflowCallback", "TrackioCallback")
_SAVES_CONFIG = "SaveAxolotlConfig"

OnFailure = Callable[[str, str], None]
"""Called with the name of the tracker's class and the error message."""


class GuardedTracker(TrainerCallback):  # type: ignore[misc]
    """Forwards every event to a tracker until its first error."""

    def __init__(self, inner: TrainerCallback, on_failure: OnFailure) -> None:
        self.inner, self.on_failure, self.has_failed = inner, on_failure, False
        for event in EVENTS:
            setattr(self, event, functools.partial(self._forward, event))

    def _forward(self, event: str, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if self.has_failed:
            return control
        try:
            return getattr(self.inner, event)(args, state, control, **kwargs)
        except Exception as e:  # no error of a tracker may end the run
            self.has_failed = True
            self.on_failure(type(self.inner).__name__, f"{type(e).__name__}: {e}")
            return control


def guard_trackers(trainer: Any, on_failure: OnFailure) -> int:
    """Wraps every tracker among the trainer's callbacks and returns their number."""
    callbacks = trainer.callback_handler.callbacks
    num = 0
    for number, callback in enumerate(callbacks):
        name = type(callback).__name__
        if name in _TRACKERS or name.startswith(_SAVES_CONFIG):
            callbacks[number] = GuardedTracker(callback, on_failure)
            num += 1
    return num
