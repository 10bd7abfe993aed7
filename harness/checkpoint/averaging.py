"""Which averages of checkpoints the picker tries, and the weight of each checkpoint in them.

    >>> found = [Measured(name=f"checkpoint-{step}", step=step, loss=60 / step) for step in (20, 40, 60)]
    >>> [trial.name for trial in Averaging(num=2, kinds=(AverageKind.BEST, AverageKind.WEIGHTED)).trials(found)]
    ['average of checkpoint-40, checkpoint-60', 'loss-weighted average of checkpoint-40, checkpoint-60']

Where it sits: options -> **averaging** -> average (which writes them), timed picker (which measures them).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from harness.errors import ConfigError

TEMPERATURE = 0.02
"""Nats by which a checkpoint's loss must exceed the lowest one for its weight to fall to 1/e. Losses that differ by
much less get equal weights. It is a choice of ours, not calibrated."""


class AverageKind(StrEnum):
    """What an average is made of."""

    BEST = "best"
    """The N checkpoints of lowest loss, each with the same weight."""
    LAST = "last"
    """The last N checkpoints, each with the same weight."""
    WEIGHTED = "weighted"
    """The last N checkpoints; the lower the loss, the higher the weight."""
    PRODUCTS = "products"
    """The last N adapters: the mean of their products B A, factored again at the adapter's rank."""
    MOVING = "moving"
    """The exponential moving average that the trainer kept."""


class Measured(NamedTuple):
    """A checkpoint with its loss."""

    name: str
    step: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One average."""

    kind: AverageKind
    members: tuple[str, ...]
    """Names of checkpoints by step."""
    weights: tuple[float, ...]
    """Of the members; their sum is 1."""

    @property
    def name(self) -> str:
        """How `picked.json` calls it."""
        what = {
            AverageKind.WEIGHTED: "loss-weighted average of",
            AverageKind.PRODUCTS: "average of the products of",
            AverageKind.MOVING: "moving average of",
        }.get(self.kind, "average of")
        return f"{what} {', '.join(self.members)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Averaging:
    """The averages that are tried after the race of the checkpoints."""

    num: int = 0
    """Checkpoints of an average; below 2: none is tried."""
    kinds: tuple[AverageKind, ...] = (AverageKind.BEST,)

    @classmethod
    def of(cls, num: int, kinds: Sequence[str], *, has_moving: bool) -> "Averaging":
        """The averages of an option.

        Args:
            kinds: Empty: the best checkpoints, and the trainer's moving average if it kept one.
            has_moving: Whether it did.
        Raises:
            ConfigError: Kinds are named, and no number of checkpoints.
        """
        if kinds and num < 2:
            raise ConfigError("`average_of=` needs a number of checkpoints. Give it with `average=3`.")
        usual = (AverageKind.BEST, AverageKind.MOVING) if has_moving else (AverageKind.BEST,)
        return cls(num=num, kinds=tuple(map(AverageKind, kinds)) or usual)

    @property
    def num_trials(self) -> int:
        """The most averages that are tried."""
        return len(set(self.kinds)) if self.num > 1 else 0

    @property
    def described(self) -> str:
        """The averages in words."""
        kinds = ", ".join(self.kinds)
        return f"of {self.num} checkpoints ({kinds}), published if better" if self.num_trials else "none"

    def trials(self, checkpoints: Sequence[Measured]) -> list[Trial]:
        """The averages of these checkpoints, each once, in the order of `kinds`."""
        if self.num < 2 or not checkpoints:
            return []
        found = {trial.name: trial for trial in (self._trial(kind, checkpoints) for kind in self.kinds)}
        return [trial for trial in found.values() if len(trial.members) > 1 or trial.kind is AverageKind.MOVING]

    def _trial(self, kind: AverageKind, checkpoints: Sequence[Measured]) -> Trial:
        by_step = sorted(checkpoints, key=lambda c: c.step)
        best = sorted(checkpoints, key=lambda c: (c.loss, c.step))[: self.num]
        chosen = by_step[-self.num :]
        if kind is AverageKind.BEST:
            chosen = sorted(best, key=lambda c: c.step)
        if kind is AverageKind.MOVING:
            chosen = by_step[-1:]
        losses = [c.loss if kind is AverageKind.WEIGHTED else 0.0 for c in chosen]
        return Trial(kind=kind, members=tuple(c.name for c in chosen), weights=loss_weights(losses))


NO_AVERAGES = Averaging()


def loss_weights(losses: Sequence[float]) -> tuple[float, ...]:
    """Weights in proportion to exp(-loss / TEMPERATURE)."""
    shares = [math.exp((min(losses) - loss) / TEMPERATURE) for loss in losses]
    return tuple(share / sum(shares) for share in shares)
