"""A short selection of the faults; `make faults` runs all of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.faults import faults, inflict

SHORT = ("evaluate 3", "clock back, then killed", "loss is not a number", "the trainer hangs")
"""Others have tests of their own: a kill in training and a damaged checkpoint in test_exact.py and test_run.py, a kill
in the pick in test_run.py.
"""


@pytest.mark.slow
@pytest.mark.timed
@pytest.mark.parametrize("name", SHORT)
def test_a_run_comes_through(name: str, tmp_path: Path, write_mix: Callable[..., Path], demo_base: Path) -> None:
    (fault,) = (f for f in faults() if f.name == name)
    outcome = inflict(fault, tmp_path, write_mix(), demo_base)
    assert outcome.problems == []
    assert outcome.resumes == (fault.when is not None)


def test_there_are_as_many_kill_points_as_were_promised() -> None:
    killed = [
        f for f in faults() if f.name.split(" ")[0].rstrip(",") in ("prepare", "train", "evaluate", "save", "pick")
    ]
    assert len(killed) == 25
    assert sum(f.name.startswith("real Axolotl") for f in faults(real={"load_s": 1.0})) == 5
