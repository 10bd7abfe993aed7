import math

import numpy as np
import pytest

from evaluation.resampling import percentile_interval, resampled_ratios, wilson
from tests.evaluation.clustered_error import clustered_se


@pytest.mark.parametrize(
    ("k", "n", "low", "high"), [(488, 510, 0.936, 0.971), (25, 50, 0.366, 0.634), (0, 50, 0.0, 0.071)]
)
def test_wilson_gives_the_published_bounds(k: int, n: int, low: float, high: float) -> None:
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-4)


def test_the_clustered_error_of_single_observations_is_the_plain_one() -> None:
    values = [1.0, 0.0, 1.0, 1.0]
    assert clustered_se(values, [1] * 4) == pytest.approx(np.std(values, ddof=1) / 2)


def test_observations_that_agree_within_their_cluster_count_as_one() -> None:
    alone = clustered_se([1, 0, 1, 1], [1] * 4)
    assert clustered_se([5, 0, 5, 5], [5] * 4) == pytest.approx(alone)
    assert math.isnan(clustered_se([1], [1]))


def test_the_bootstrap_agrees_with_the_clustered_error() -> None:
    rng = np.random.default_rng(5)
    counts = rng.integers(1, 4, 300)
    sums = rng.binomial(counts, 0.7)
    draws = resampled_ratios(sums[:, None], counts[:, None])
    assert draws[:, 0].std() == pytest.approx(clustered_se(list(sums), list(counts)), rel=0.03)
    low, high = percentile_interval(draws[:, 0])
    assert low < sums.sum() / counts.sum() < high


def test_columns_share_their_draws_and_a_seed_repeats_them() -> None:
    sums = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    ones = np.ones_like(sums)
    draws = resampled_ratios(sums, ones, seed=3, draws=600)
    assert (draws[:, 0] == draws[:, 1]).all()
    assert (draws == resampled_ratios(sums, ones, seed=3, draws=600)).all()
    assert (draws != resampled_ratios(sums, ones, seed=4, draws=600)).any()


def test_a_draw_without_an_observation_is_undefined_and_left_out() -> None:
    draws = resampled_ratios(np.array([[1.0], [0.0]]), np.array([[1.0], [0.0]]), draws=200)
    assert np.isnan(draws).any()
    assert percentile_interval(draws[:, 0]) == (1.0, 1.0)
