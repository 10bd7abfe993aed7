"""Deadline overshoot and training share of runs whose evaluations and saves take a random time.

    python benchmarks/deadline_overshoot.py [--runs 20] [--budget 10]

The supervisor is the real one. The child is the trainer of the tests, which needs no torch: it takes a step every 50
ms, evaluates and saves every eight steps in .05 to 1 s each, and like the plugin reserves 1.25 times the largest cost
so far for the last evaluation and save. One run in four hangs. Prints one JSON line; the overshoot must be 0 in every
run.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import tests.harness.faults as faults
from harness.ledger.ledger import Ledger
from tests.conftest import DEMO_BASE, write_small_mix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--budget", type=float, default=10.0)
    arguments = parser.parse_args()
    overshoots_s, unused_s, trained_shares, picked_steps = [], [], [], []
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
            overshoots_s.append(report.overshoot_s)
            unused_s.append(report.budget_s - report.charged_s)
            trained_shares.append(report.by_phase.get("train", 0.0) / report.budget_s)
            picked_steps.append(outcome.picked)
    print(
        json.dumps(
            {
                "runs": arguments.runs,
                "budget_s": arguments.budget,
                "overshoot_s": {"max": max(overshoots_s)},
                "left_over_s": {"median": round(statistics.median(unused_s), 2), "max": round(max(unused_s), 2)},
                "trained_share": {
                    "median": round(statistics.median(trained_shares), 3),
                    "min": round(min(trained_shares), 3),
                },
                "picked": len(picked_steps),
            }
        )
    )


if __name__ == "__main__":
    main()
