import math
import random
from collections.abc import Callable, Sequence

import pytest

from harness.checkpoint.race import FIRST_ROWS, Race, TimeUp

ROWS = 1_000


class Track:
    """Checkpoints with planted losses: a row is as hard for all of them, each adds its own mean and a little noise."""

    def __init__(self, means: Sequence[float], *, noise: float = 0.1, seed: int = 0, seconds: float = 0.001) -> None:
        rng = random.Random(seed)
        self.weights = [rng.randint(1, 30) for _ in range(ROWS)]
        hard = [rng.gauss(0, 2.0) for _ in range(ROWS)]
        self.losses = {
            f"checkpoint-{n}": [w * (mean + h + rng.gauss(0, noise)) for w, h in zip(self.weights, hard, strict=True)]
            for n, mean in enumerate(means)
        }
        self.now, self.seconds, self.asked = 0.0, seconds, 0
        self.until = math.inf

    def measure(self, name: str, rows: Sequence[int]) -> list[float]:
        self.now += self.seconds * len(rows)
        self.asked += len(rows)
        if self.now > self.until:
            raise TimeUp
        return [self.losses[name][row] for row in rows]

    def exact(self, name: str) -> float:
        return sum(self.losses[name]) / sum(self.weights)

    def race(self, *, seed: int = 1, until: float = math.inf, known: dict[str, float] | None = None) -> Race:
        self.until = until
        clock: Callable[[], float] = lambda: self.now  # noqa: E731
        return Race(sorted(self.losses), self.weights, self.measure, seed=seed, until=until, known=known, clock=clock)


def test_with_time_for_everything_the_race_is_exhaustive_and_exact() -> None:
    track = Track([2.0, 1.0, 1.5])
    standings = track.race().run()
    assert [s.name for s in standings] == ["checkpoint-1", "checkpoint-2", "checkpoint-0"]
    assert track.asked == 3 * ROWS
    for s in standings:
        assert s.loss == pytest.approx(track.exact(s.name), abs=1e-6)
        assert (s.standard_error, s.num_rows) == (0.0, ROWS)


def test_a_finite_time_that_is_long_enough_drops_nobody_either() -> None:
    track = Track([2.0, 1.0, 1.5])
    track.race(until=100.0).run()
    assert track.asked == 3 * ROWS


def test_those_that_cannot_win_are_dropped_and_the_time_is_kept() -> None:
    track = Track([5.0, 4.0, 3.0, 2.0, 1.0, 1.001])
    race = track.race(until=3.0)  # half of what all would take
    standings = race.run()
    assert standings[0].name in ("checkpoint-4", "checkpoint-5")
    assert set(race.dropped) == {f"checkpoint-{n}" for n in range(4)}
    assert track.now <= 3.0
    assert "dropped after 32 rows: worse than checkpoint-" in standings[-1].verdict
    assert race.is_exact  # the time that the others left was enough for the two


def test_asked_for_it_drops_early_whatever_the_time_and_keeps_who_is_as_good() -> None:
    track = Track([5.0, 1.0, 1.001])
    clock: Callable[[], float] = lambda: track.now  # noqa: E731
    race = Race(sorted(track.losses), track.weights, track.measure, seed=1, clock=clock, drops_early=True)
    race.run()
    assert race.dropped == ["checkpoint-0"]
    assert race.is_exact
    assert track.asked == 2 * ROWS + FIRST_ROWS


def test_losses_are_told_apart_in_pairs_although_rows_differ_far_more() -> None:
    """Rows deviate by 2 nats, the two by 0.2: an unpaired bound over 32 rows would be 1 nat wide."""
    track = Track([1.0, 1.2], noise=0.05, seconds=1.0)
    race = track.race(until=150.0)
    assert race.run()[0].name == "checkpoint-0"
    assert race.dropped == ["checkpoint-1"]
    assert "dropped after 32 rows" in race.standing("checkpoint-1").verdict


@pytest.mark.parametrize("seed", range(5))
def test_the_best_is_hardly_ever_dropped(seed: int) -> None:
    """200 races of ten checkpoints that lie close together: far fewer than DOUBT of them may lose the best."""
    lost = 0
    for number in range(40):
        track = Track([1 + 0.02 * n for n in range(10)], noise=0.5, seed=1000 * seed + number)
        best = min(track.losses, key=track.exact)
        race = track.race(seed=number, until=4.0)
        race.run()
        lost += best in race.dropped
    assert lost <= 2


def test_the_deadline_is_never_passed_by_more_than_a_measurement() -> None:
    for until in (0.3, 0.5, 1.0, 2.2):
        track = Track([1 + 0.01 * n for n in range(8)], noise=1.0)
        standings = track.race(until=until).run()
        assert track.now <= until + 1e-9
        assert len(standings) == 8
        assert len({s.num_rows for s in standings if "dropped" not in s.verdict}) == 1  # common rows


def test_time_that_does_not_hold_the_first_slice_is_an_error() -> None:
    track = Track([1.0, 2.0, 3.0])
    with pytest.raises(TimeUp):
        track.race(until=0.001 * FIRST_ROWS * 2.5).run()


def test_a_slice_that_the_time_cuts_counts_for_nobody() -> None:
    track = Track([1.0, 1.0, 1.0], noise=1.0)
    race = track.race(until=0.15)
    race._run_slice(FIRST_ROWS)
    with pytest.raises(TimeUp):
        race._run_slice(FIRST_ROWS)
    assert race.num_rows == FIRST_ROWS


def test_known_losses_need_no_measuring_but_the_best_runs_along_in_pairs() -> None:
    track = Track([3.0, 1.5, 1.0, 2.0], noise=0.3)
    known = {name: track.exact(name) for name in ("checkpoint-0", "checkpoint-1")}
    race = track.race(until=1.0, known=known)
    assert race.active == ["checkpoint-1", "checkpoint-2", "checkpoint-3"]
    standings = {s.name: s for s in race.run()}
    assert standings["checkpoint-1"].loss == pytest.approx(known["checkpoint-1"], abs=1e-6)
    assert standings["checkpoint-0"].verdict == "worse than checkpoint-1 by the trainer's losses"
    two = standings["checkpoint-2"]
    assert two.loss == pytest.approx(track.exact("checkpoint-2"), abs=4 * two.standard_error + 1e-6)
    assert two.standard_error < 0.1  # alone, 150 rows would leave 0.2


def test_all_known_measures_nothing() -> None:
    track = Track([2.0, 1.0])
    standings = track.race(known={name: track.exact(name) for name in track.losses}).run()
    assert track.asked == 0
    assert standings[0].name == "checkpoint-1"


def test_a_loss_that_is_no_number_drops_out() -> None:
    track = Track([2.0, 1.0, 1.5])
    track.losses["checkpoint-1"] = [math.nan] * ROWS
    standings = track.race(until=2.0).run()
    assert standings[0].name == "checkpoint-2"
    assert math.isnan({s.name: s for s in standings}["checkpoint-1"].loss)


def test_of_equals_the_first_wins() -> None:
    track = Track([1.0, 1.0])
    track.losses["checkpoint-1"] = list(track.losses["checkpoint-0"])
    assert track.race().run()[0].name == "checkpoint-0"


def test_the_same_seed_runs_over_the_same_rows() -> None:
    orders = [Track([1.0, 2.0]).race(seed=seed).order for seed in (5, 5, 6)]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize(("mean", "wins"), [(0.9, True), (1.1, False), (1.0, False)])
def test_a_challenger_must_beat_the_winner(mean: float, wins: bool) -> None:
    track = Track([1.0, 2.0])
    race = track.race()
    assert race.run()[0].name == "checkpoint-0"
    track.losses["average"] = [
        loss + w * (mean - 1.0) for w, loss in zip(track.weights, track.losses["checkpoint-0"], strict=True)
    ]
    assert race.challenge("average", winner="checkpoint-0") is wins
    assert race.standing("average").num_rows == ROWS


def test_a_challenger_that_leads_by_chance_alone_does_not_win() -> None:
    track = Track([1.0, 2.0], noise=0.0)
    race = track.race(until=0.4)
    race.run()
    rng = random.Random(7)
    track.losses["average"] = [
        loss + w * rng.gauss(-0.001, 1.0) for w, loss in zip(track.weights, track.losses["checkpoint-0"], strict=True)
    ]
    race.until = track.until = track.now + 0.3  # for a part of the rows
    assert race.challenge("average", winner="checkpoint-0") is False
    assert "not significantly better" in race.standing("average").verdict


@pytest.mark.parametrize("until", [math.inf, 1.5])
def test_a_challenger_of_one_whose_loss_was_known_makes_it_run(until: float) -> None:
    """All losses known: nobody has run yet when the newcomer comes."""
    track = Track([1.0, 2.0], noise=0.05)
    known = {name: track.exact(name) for name in track.losses}
    race = track.race(known=known)
    race.run()
    assert track.asked == 0
    better = [loss - 0.1 * w for w, loss in zip(track.weights, track.losses["checkpoint-0"], strict=True)]
    track.losses["average"] = better
    race.until = track.until = until
    assert race.challenge("average", winner="checkpoint-0") is True
    assert race.is_measured("average")
    assert race.standing("average").loss == pytest.approx(known["checkpoint-0"] - 0.1, abs=1e-6)
    assert track.now <= until


def test_a_challenger_without_time_has_no_standing_and_does_not_win() -> None:
    track = Track([1.0, 2.0])
    race = track.race(known={name: track.exact(name) for name in track.losses})
    race.run()
    track.losses["average"] = track.losses["checkpoint-0"]
    race.until = track.until = 0.01
    assert race.challenge("average", winner="checkpoint-0") is False
    assert not race.is_measured("average")


def test_a_reference_that_was_dropped_early_does_not_decide_what_was_measured_whole() -> None:
    track = Track([3.0, 1.0, 1.3], noise=0.3)
    race = track.race(until=2.4, known={"checkpoint-0": track.exact("checkpoint-0")})
    standings = {s.name: s for s in race.run()}
    assert race.dropped[0] == "checkpoint-0"
    best = standings["checkpoint-1"]
    assert (best.num_rows, best.standard_error) == (ROWS, 0.0)
    assert best.loss == pytest.approx(track.exact("checkpoint-1"), abs=1e-6)


def test_no_number_among_the_losses_does_not_spoil_the_order() -> None:
    track = Track([5.0, 4.0, 2.0, 3.0])
    track.losses["checkpoint-1"] = [math.nan] * ROWS
    assert [s.name[-1] for s in track.race().run()] == ["2", "3", "0", "1"]


def test_a_known_best_that_measures_no_number_here_loses_nobody_else() -> None:
    track = Track([1.0, 2.0, 1.5])
    known = {"checkpoint-0": track.exact("checkpoint-0")}
    track.losses["checkpoint-0"] = [math.nan] * ROWS
    standings = {s.name: s for s in track.race(known=known).run()}
    assert standings["checkpoint-2"].loss == pytest.approx(track.exact("checkpoint-2"), abs=1e-6)
