"""The comparison of benchmarks with their baselines."""

import pytest

from benchmarks.bench import BASELINES, BENCHMARKS, Benchmark, baseline_of, compared, figure_at


def test_a_figure_that_changed_by_more_than_its_noise_has_moved() -> None:
    benchmark = Benchmark(name="x", figures={"a.ratio": 0.1, "b": 0.1, "new": 0.1})
    found = compared(benchmark, {"a": {"ratio": 1.2}, "b": 1.05, "new": 3}, {"a.ratio": 1.0, "b": 1.0})
    assert [(move.figure, move.has_moved) for move in found] == [("a.ratio", True), ("b", False), ("new", False)]
    assert [move.change for move in found] == [pytest.approx(0.2), pytest.approx(0.05), None]
    with pytest.raises(KeyError):
        figure_at({"a": {}}, "a.ratio")


def test_every_baseline_is_of_a_benchmark_and_holds_its_figures() -> None:
    stored = {path.stem for path in BASELINES.glob("*.json")}
    assert stored <= {benchmark.name for benchmark in BENCHMARKS}
    for benchmark in BENCHMARKS:
        if benchmark.name in stored:
            assert set(baseline_of(benchmark.name)) == set(benchmark.figures), benchmark.name
