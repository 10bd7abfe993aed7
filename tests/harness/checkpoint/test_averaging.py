import pytest

from harness.checkpoint.averaging import AverageKind, Averaging, Measured, loss_weights
from harness.errors import ConfigError

FOUND = [
    Measured(name=f"c{step}", step=step, loss=loss) for step, loss in ((40, 1.0), (20, 1.02), (60, 1.04), (80, 1.3))
]


def members(kind: AverageKind, num: int = 2) -> tuple[str, ...]:
    (trial,) = Averaging(num=num, kinds=(kind,)).trials(FOUND)
    return trial.members


def test_the_best_are_chosen_by_loss_and_the_last_by_step() -> None:
    assert members(AverageKind.BEST) == ("c20", "c40")
    assert members(AverageKind.LAST) == members(AverageKind.PRODUCTS) == ("c60", "c80")
    assert members(AverageKind.WEIGHTED, num=9) == ("c20", "c40", "c60", "c80")
    assert members(AverageKind.MOVING) == ("c80",)


def test_a_weight_falls_to_a_third_when_a_loss_is_a_fiftieth_of_a_nat_higher() -> None:
    low, high, far = loss_weights((1.0, 1.02, 3.0))
    assert high / low == pytest.approx(0.3679, abs=1e-4)
    assert far == pytest.approx(0.0, abs=1e-9)
    assert low + high + far == pytest.approx(1.0)
    assert Averaging(num=2, kinds=(AverageKind.LAST,)).trials(FOUND)[0].weights == (0.5, 0.5)


def test_averages_of_the_same_checkpoints_are_tried_once() -> None:
    averaging = Averaging(num=4, kinds=(AverageKind.BEST, AverageKind.LAST, AverageKind.PRODUCTS))
    assert [trial.kind for trial in averaging.trials(FOUND)] == [AverageKind.LAST, AverageKind.PRODUCTS]
    assert averaging.num_trials == 3
    assert Averaging(num=1).trials(FOUND) == []


def test_an_option_takes_the_moving_average_where_there_is_one() -> None:
    assert Averaging.of(3, (), has_moving=True).kinds == (AverageKind.BEST, AverageKind.MOVING)
    assert Averaging.of(3, ("last",), has_moving=True).kinds == (AverageKind.LAST,)
    with pytest.raises(ConfigError, match="`average_of=` needs a number"):
        Averaging.of(0, ("last",), has_moving=False)
