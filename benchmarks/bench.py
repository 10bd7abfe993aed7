"""Measures the quick benchmarks again and says which figures moved by more than their tolerance.

    python -m benchmarks.bench                          # all of them: some ten minutes on idle cores
    python -m benchmarks.bench --only rouge_l           # one
    python -m benchmarks.bench --only rouge_l --write   # make what is measured now the baseline

Each figure is a ratio of two things that one run measures side by side, or an amount of memory, so that the speed of
the machine cancels out. `benchmarks/baselines/NAME.json` holds the figures with their command, machine and date. Prints
a table, and one JSON line: the figures, and which moved. Nothing fails: a reader decides what a change means.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BASELINES = Path(__file__).parent / "baselines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A script and the figures of its JSON line that are watched."""

    name: str
    figures: Mapping[str, float]
    """Dotted key -> the relative change that is still noise."""
    arguments: Sequence[str] = field(default_factory=tuple)

    @property
    def command(self) -> str:
        """As a user types it."""
        return " ".join(["python", "-m", f"benchmarks.{self.name}", *self.arguments])


BENCHMARKS = (
    Benchmark(name="rouge_l", figures={"made.ratio_to_rouge_score_rs.recommended": 0.25}),
    Benchmark(name="curation_score", figures={"long.ratio_to_rouge_score": 0.3, "given.ratio_to_rouge_score": 0.3}),
    Benchmark(name="predictor_transformers", figures={"ratio_to_batches": 0.25}),
    Benchmark(name="openai_client", figures={"ratio_to.aiohttp": 0.15}),
    Benchmark(name="plain_axolotl", figures={"ratio": 0.15}),
    Benchmark(name="timed_pick", figures={"time_ratio.median": 0.25}),
    Benchmark(
        name="curation_replay", arguments=("--rounds", "1", "--thin", "20"), figures={"this.peak_mib": 0.15}
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A figure against its baseline."""

    figure: str
    before: float | None
    now: float
    tolerance: float

    @property
    def change(self) -> float | None:
        """Relative change; None without a baseline."""
        return None if not self.before else self.now / self.before - 1

    @property
    def has_moved(self) -> bool:
        """Whether it changed by more than noise."""
        return self.change is not None and abs(self.change) > self.tolerance


def figure_at(result: Mapping[str, Any], dotted: str) -> float:
    """The figure under a dotted key.

    Raises:
        KeyError: There is none.
    """
    value: Any = result
    for key in dotted.split("."):
        value = value[key]
    return float(value)


def compared(benchmark: Benchmark, result: Mapping[str, Any], baseline: Mapping[str, float]) -> list[Move]:
    """Each watched figure of a result against its baseline."""
    return [
        Move(figure=key, before=baseline.get(key), now=figure_at(result, key), tolerance=tolerance)
        for key, tolerance in benchmark.figures.items()
    ]


def measured(benchmark: Benchmark) -> dict[str, Any]:
    """Runs a benchmark and returns its JSON line."""
    command = [sys.executable, "-m", f"benchmarks.{benchmark.name}", *benchmark.arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def baseline_of(name: str) -> dict[str, float]:
    """The stored figures of a benchmark; empty if there are none."""
    path = BASELINES / f"{name}.json"
    return dict(json.loads(path.read_text())["figures"]) if path.is_file() else {}


def write_baseline(benchmark: Benchmark, moves: Sequence[Move]) -> None:
    """Makes what was measured the baseline."""
    cores = os.cpu_count()
    described = {
        "command": benchmark.command,
        "date": datetime.date.today().isoformat(),
        "machine": f"{cores} CPU cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}",
        "figures": {move.figure: move.now for move in moves},
    }
    BASELINES.mkdir(exist_ok=True)
    (BASELINES / f"{benchmark.name}.json").write_text(json.dumps(described, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=[b.name for b in BENCHMARKS], action="append")
    parser.add_argument("--write", action="store_true", help="make what is measured now the baseline")
    args = parser.parse_args()
    all_moves: dict[str, list[Move]] = {}
    for benchmark in BENCHMARKS:
        if args.only and benchmark.name not in args.only:
            continue
        print(f"{benchmark.command} ...", file=sys.stderr)
        moves = all_moves[benchmark.name] = compared(benchmark, measured(benchmark), baseline_of(benchmark.name))
        for move in moves:
            change = "no baseline" if move.change is None else f"{move.change:+.1%} (noise: {move.tolerance:.0%})"
            mark = "  MOVED" if move.has_moved else ""
            print(f"  {move.figure}: {move.before} -> {move.now}, {change}{mark}", file=sys.stderr)
        if args.write:
            write_baseline(benchmark, moves)
    moved = [f"{name}: {move.figure}" for name, moves in all_moves.items() for move in moves if move.has_moved]
    figures = {name: {move.figure: move.now for move in moves} for name, moves in all_moves.items()}
    print(json.dumps({"figures": figures, "moved": moved}))


if __name__ == "__main__":
    main()
