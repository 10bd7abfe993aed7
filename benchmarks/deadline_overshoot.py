"""Runs whose evaluations and saves cost a random time: by how much is the deadline missed, and what share trains?

    python benchmarks/deadline_overshoot.py [--runs 20] [--budget 10]

The supervisor is the real one; the child is the tests' torch-free one, which steps every 50 ms, evaluates and saves
every eight steps at .05 to 1 s each, and like the plugin keeps 1.25 times the largest costs seen free for the last
ones. One run in four hangs on the way. Prints one JSON line; overshoot must be 0 in every run.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import tests.harness.faults as faults
from harness.budget.ledger import Ledger
from tests.conftest import DEMO_BASE, write_small_mix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--budget", type=float, default=10.0)
    arguments = parser.parse_args()
    overshoots, unused, shares, endings = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        mix = write_small_mix(Path(folder) / "mix")
        for number in range(arguments.runs):
            fault = faults.Fault(
                name=str(number),
                given={"budget_s": arguments.budget},
                fake={
                    "FAKE_STEPS": "100000",
                    "FAKE_EVAL_S": "0.05-1.0",
                    "FAKE_SAVE_S": "0.05-1.0",
                    "FAKE_SEED": str(number),
                    "FAKE_HANG_AT": "40" if number % 4 == 3 else "",
                },
                because=("deadline", "killed"),
            )
            outcome = faults.inflict(fault, Path(folder) / str(number), mix, DEMO_BASE)
            assert not outcome.problems, outcome
            report = Ledger.of_run(Path(folder) / str(number) / "run" / "ledger.jsonl").report()
            overshoots.append(report.overshoot_s)
            unused.append(report.budget_s - report.charged_s)
            shares.append(report.by_phase.get("train", 0.0) / report.budget_s)
            endings.append(outcome.picked)
    print(
        json.dumps(
            {
                "runs": arguments.runs,
                "budget_s": arguments.budget,
                "overshoot_s": {"max": max(overshoots)},
                "left_over_s": {"median": round(statistics.median(unused), 2), "max": round(max(unused), 2)},
                "trained_share": {"median": round(statistics.median(shares), 3), "min": round(min(shares), 3)},
                "picked": len(endings),
            }
        )
    )


if __name__ == "__main__":
    main()
