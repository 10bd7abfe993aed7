import math
from typing import Any

import pytest

from harness.budget.curve import Curve, curve_of
from harness.budget.schedule import LRSchedule, Segment
from harness.errors import ConfigError

STEPS, PEAK = 1_000, 2e-4


def plan(horizon: int) -> LRSchedule:
    return LRSchedule([Segment(step=0, progress=0.0, horizon=horizon, reason="test")])


def upstream(name: str, **arguments: Any) -> list[float]:
    """The rates of transformers' own scheduler without warm-up."""
    import torch
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = get_scheduler(name, optimizer, 0, STEPS, scheduler_specific_kwargs=arguments)
    rates = []
    for _ in range(STEPS):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ("cosine", {}),
        ("linear", {}),
        ("constant", {}),
        ("polynomial", {}),
        ("polynomial", {"lr_end": 0.1 * PEAK, "power": 2.0}),
        ("inverse_sqrt", {}),
        ("inverse_sqrt", {"timescale": 100}),
        ("cosine_with_restarts", {"num_cycles": 3}),
        ("cosine_with_min_lr", {"min_lr_rate": 0.1}),
        ("cosine_with_min_lr", {"min_lr": 0.1 * PEAK}),
    ],
)
def test_without_a_replan_a_shape_is_that_of_transformers(shape: str, arguments: dict[str, Any]) -> None:
    keys = {"lr_scheduler": shape, "lr_scheduler_kwargs": arguments, "learning_rate": PEAK, "warmup_steps": 0}
    curve = curve_of(keys)
    ours = [PEAK * curve.share(step, plan(STEPS)) for step in range(STEPS)]
    assert ours == pytest.approx(upstream(shape, **arguments), rel=1e-9, abs=1e-15)


def test_the_published_decay_of_a_study_to_a_tenth() -> None:
    """`lr_scheduler: polynomial` from lr to lr/10 over 1,000 steps, as its configuration says."""
    curve = curve_of(
        {
            "lr_scheduler": "polynomial",
            "lr_scheduler_kwargs": {"lr_end": 1e-6, "power": 1.0},
            "learning_rate": 1e-5,
            "warmup_steps": 0,
        }
    )
    rates = [1e-5 * curve.share(step, plan(1_000)) for step in (0, 500, 1_000)]
    assert rates == pytest.approx([1e-5, 5.5e-6, 1e-6])


def test_one_cycle_is_torchs() -> None:
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=PEAK, total_steps=STEPS, cycle_momentum=False)
    ours = [PEAK * Curve(shape="one_cycle").share(step, plan(STEPS - 1)) for step in (0, 100, 299, 300, 700, 999)]
    rates = []
    for _ in range(STEPS):
        rates.append(theirs.get_last_lr()[0])
        optimizer.step()
        if len(rates) < STEPS:
            theirs.step()
    assert ours == pytest.approx([rates[step] for step in (0, 100, 299, 300, 700, 999)], rel=0.01)


@pytest.mark.parametrize("shape", ["cosine", "linear", "polynomial", "rex", "cosine_with_min_lr"])
def test_a_training_that_ends_at_a_new_horizon_ends_at_the_floor(shape: Any) -> None:
    followed = plan(100)
    followed.replan(50, horizon=400, reason="faster")
    curve = Curve(shape=shape, floor=0.1)
    assert curve.share(400, followed) == pytest.approx(0.1)
    assert curve.share(50, followed) == pytest.approx(curve.share(50, plan(100)))


def test_a_cosine_with_a_flat_end_reaches_its_floor_before() -> None:
    curve = curve_of({"cosine_min_lr_ratio": 0.1, "cosine_constant_lr_ratio": 0.8, "learning_rate": 1e-4})
    assert curve.share(40, plan(100)) == pytest.approx(0.1 + 0.9 * 0.5)
    assert [curve.share(step, plan(100)) for step in (80, 90, 100)] == pytest.approx([0.1, 0.1, 0.1])


def test_warm_up_rises_evenly_and_takes_at_most_a_tenth_of_a_short_run() -> None:
    four = Curve(shape="linear", warmup_steps=4)
    assert [four.share(s, plan(10_000)) for s in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0], abs=1e-3)
    short = [Curve(shape="linear", warmup_steps=100).share(s, plan(50)) for s in range(50)]
    assert max(short) == short[4]
    unsaid = curve_of({"learning_rate": 1e-4, "lr_scheduler": "cosine", "warmup_steps": None, "warmup_ratio": None})
    assert [unsaid.num_warmup(horizon) for horizon in (20, 1_000, 10_000)] == [0, 30, 100]  # as Axolotl does
    ratio = Curve(shape="constant_with_warmup", warmup_ratio=0.2)
    assert [ratio.share(s, plan(50)) for s in (0, 4, 9, 10, 49)] == pytest.approx([0.1, 0.5, 1.0, 1.0, 1.0])
    squared = Curve(shape="constant", warmup_ratio=0.2, quadratic_warmup=True)
    assert squared.share(4, plan(50)) == pytest.approx(0.25)


def test_a_floor_above_the_peak_is_refused() -> None:
    with pytest.raises(ConfigError, match="the rate at the end is 10 of learning_rate"):
        curve_of({"lr_scheduler": "polynomial", "lr_scheduler_kwargs": {"lr_end": 1e-3}, "learning_rate": 1e-4})


def test_a_rate_is_finite_at_every_step() -> None:
    for shape in ("inverse_sqrt", "rex", "one_cycle", "cosine_with_restarts"):
        curve = Curve(shape=shape, warmup_steps=3)  # type: ignore[arg-type]
        shares = [curve.share(step, plan(7)) for step in range(12)]
        assert all(math.isfinite(share) and 0 <= share <= 1 for share in shares), shape
