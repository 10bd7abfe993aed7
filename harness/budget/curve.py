"""Shapes of the learning rate: each a function of the share of a schedule that has passed, or of the step.

    >>> from harness.budget.schedule import LRSchedule, Segment
    >>> curve = Curve(shape="polynomial", warmup_steps=0, floor=0.1)
    >>> schedule = LRSchedule([Segment(step=0, progress=0.0, horizon=1000, reason="start")])
    >>> [round(curve.share(step, schedule), 3) for step in (0, 500, 1000)]
    [1.0, 0.55, 0.1]

The shapes are those of Axolotl. Upstream they end at a number of steps that is known beforehand; here the logged
schedule says how far a run is, so that they end where the budget does and a run that follows the schedule gets the same
rates. The warm-up is a factor on top.

Where it sits: recipe -> **curve** -> the trainer's scheduler, at every step.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from harness.errors import ConfigError

if TYPE_CHECKING:
    from harness.budget.schedule import LRSchedule

Shape = Literal[
    "cosine", "linear", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt", "one_cycle", "rex",
    "cosine_with_restarts", "cosine_with_min_lr",
]  # fmt: skip

POLYNOMIAL_END = 1e-7
"""Last rate of a polynomial without `lr_end`. Source: transformers' default."""

TIMESCALE = 10_000
"""Steps in which an inverse square root without warm-up falls to 0.71. Source: transformers' default."""

ONE_CYCLE_START, ONE_CYCLE_END, ONE_CYCLE_RISE = 1 / 25, 1e-4 / 25, 0.3
"""First and last rate as shares of the peak, and the share of the run that rises. Source: torch's OneCycleLR."""

WARMUP_SHARE, WARMUP_STEPS = 0.03, 100
"""Of a recipe that says nothing of its warm-up. Source: Axolotl 0.19, core/builders/base.py."""

MOST_WARMUP = 10
"""The warm-up takes at most one of so many steps of the first horizon: a short run would be all warm-up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A shape with its parameters. Rates are shares of the recipe's `learning_rate`."""

    shape: Shape
    warmup_steps: int | None = 0
    """None: `WARMUP_SHARE` of the first horizon, `WARMUP_STEPS` at most."""
    warmup_ratio: float | None = None
    """Warm-up as a share of the first horizon; used instead of `warmup_steps`."""
    quadratic_warmup: bool = False
    floor: float = 0.0
    """The rate at the horizon."""
    flat_end: float = 0.0
    """Share of the schedule at its end in which a cosine has reached its floor."""
    power: float = 1.0
    """Of a polynomial."""
    cycles: float = 1.0
    """Of a cosine with restarts."""
    timescale: int | None = None
    """Of an inverse square root; None: the warm-up's steps, or `TIMESCALE`."""

    def share(self, step: int, schedule: "LRSchedule") -> float:
        """The learning rate of optimizer step `step` as a share of the peak; the first step is 0."""
        warmup_steps = self.num_warmup(schedule.segments[0].horizon)
        if self.shape == "one_cycle":
            return _one_cycle(schedule.progress(step), self._rise(warmup_steps, schedule))
        warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps > 0 else 1.0
        decay = self._decay(step, schedule.progress(step), warmup_steps)
        return (warmup**2 if self.quadratic_warmup else warmup) * (self.floor + (1 - self.floor) * decay)

    def num_warmup(self, horizon: int) -> int:
        """Steps of warm-up in a run whose first horizon is this."""
        if self.warmup_ratio is not None:
            return math.ceil(self.warmup_ratio * horizon)
        if self.warmup_steps is None:
            return min(int(WARMUP_SHARE * horizon), WARMUP_STEPS)
        return min(self.warmup_steps, max(1, horizon // MOST_WARMUP))

    def _rise(self, warmup_steps: int, schedule: "LRSchedule") -> float:
        return warmup_steps / max(1, schedule.segments[0].horizon) or ONE_CYCLE_RISE

    def _decay(self, step: int, progress: float, warmup_steps: int) -> float:
        match self.shape:
            case "constant" | "constant_with_warmup":
                return 1.0
            case "linear":
                return 1 - progress
            case "polynomial":
                return float((1 - progress) ** self.power)
            case "rex":
                return (1 - progress) / (1 - 0.9 * progress)
            case "inverse_sqrt":
                timescale = self.timescale or warmup_steps or TIMESCALE
                return 1 / math.sqrt((max(step - warmup_steps, 0) + timescale) / timescale)
            case "cosine_with_restarts":
                progress = progress * self.cycles % 1.0 if progress < 1 else 1.0
        falling = min(1.0, progress / (1 - self.flat_end)) if self.flat_end < 1 else 1.0
        return 0.5 * (1 + math.cos(math.pi * falling))


def _one_cycle(progress: float, rise: float) -> float:
    """Up along half a cosine, then down along another one."""
    if progress < rise:
        low, high, part = ONE_CYCLE_START, 1.0, progress / rise
    else:
        low, high, part = 1.0, ONE_CYCLE_END, (progress - rise) / (1 - rise) if rise < 1 else 1.0
    return low + (high - low) * 0.5 * (1 - math.cos(math.pi * part))


_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "polynomial": ("lr_end", "power"),
    "inverse_sqrt": ("timescale",),
    "cosine_with_restarts": ("num_cycles",),
    "cosine_with_min_lr": ("min_lr", "min_lr_rate"),
}
"""What `lr_scheduler_kwargs` may hold, by shape."""


def curve_of(values: Mapping[str, Any]) -> Curve:
    """The curve that a recipe's keys describe.

    Raises:
        ConfigError: a shape that there is none of here, or an argument that it does not take.
    """
    shape: Any = values.get("lr_scheduler") or "cosine"
    if shape not in get_args(Shape):
        raise ConfigError(
            f"lr_scheduler: {shape} is no function of the planned schedule. Use one of {', '.join(get_args(Shape))}."
        )
    given = dict(values.get("lr_scheduler_kwargs") or {})
    if wrong := sorted(set(given) - set(_ARGUMENTS.get(shape, ()))):
        known = ", ".join(_ARGUMENTS.get(shape, ())) or "none"
        raise ConfigError(f"lr_scheduler_kwargs: {wrong[0]} is no argument of {shape}, which takes {known}.")
    peak = float(values["learning_rate"])
    if shape == "polynomial":
        given.setdefault("lr_end", min(POLYNOMIAL_END, peak))
    ends = [float(given[key]) / peak for key in ("lr_end", "min_lr") if given.get(key) is not None]
    floor = ends[0] if ends else float(given.get("min_lr_rate") or values.get("cosine_min_lr_ratio") or 0.0)
    if not 0 <= floor <= 1:
        raise ConfigError(f"lr_scheduler: the rate at the end is {floor:g} of learning_rate. Give one below it.")
    return Curve(
        shape=shape,
        warmup_steps=values.get("warmup_steps"),
        warmup_ratio=values.get("warmup_ratio"),
        quadratic_warmup=bool(values.get("lr_quadratic_warmup")),
        floor=floor,
        flat_end=1 - float(values.get("cosine_constant_lr_ratio") or 1.0),
        power=float(given.get("power", 1.0)),
        cycles=float(given.get("num_cycles", 1.0)),
        timescale=given.get("timescale"),
    )
