"""A short selection of the faults; `make faults` runs all of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.faults import faults, inflict

SHORT = (
    "train, step 19",
    "evaluate 3",
    "pick after 0.1 s",
    "optimizer.pt flipped",
    "clock back, then killed",
    "loss is not a number",
    "the trainer hangs",
)


@pytest.mark.slow
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
