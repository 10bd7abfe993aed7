"""What `oneday train` writes into a file or a pipe: one line after another, each later than the one before."""

from typing import Any

import pytest

from harness.inside.events import (
    Evaluation,
    Event,
    Phase,
    PluginRegistered,
    Restart,
    Save,
    Stamp,
    Stopping,
    Tick,
    TrainBegin,
    TrainEnd,
)
from oneday.display import console as console_module
from oneday.display.console import Console
from oneday.display.training import TrainingDisplay
from tests.harness.test_history import step

AT: Stamp = {"t": 0.0, "up": 0.0, "pid": 1}
TICK = Tick(**AT)


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is printed of a sequence of events, the time that was left taken off."""
    monkeypatch.setattr(console_module, "PLAIN_EVERY_S", -1.0)  # every status line, not one in ten seconds

    def shown(*events: Event) -> list[str]:
        display = TrainingDisplay(Console())
        for one in events:
            display(one, 100.0)
        return [line.partition(" | budget left")[0] for line in capsys.readouterr().err.splitlines()]

    return shown


def test_the_log_never_goes_back_to_an_earlier_phase(lines: Any) -> None:
    said = lines(
        TICK,
        PluginRegistered(**AT),
        TrainBegin(**AT, step=0),
        TICK,
        step(1, 1.0),
        step(2, 3.0),
        Phase(**AT, phase="evaluate"),
        TICK,
        Evaluation(**AT, step=2, validation_loss=1.5, seconds=1.0),
        Phase(**AT, phase="save"),
        Save(**AT, step=2, seconds=1.0),
        TICK,
        Stopping(**AT, step=2, because="deadline"),
        TICK,
        TrainEnd(**AT, step=2, because="deadline", step_s=1.0, eval_s=1.0, save_s=1.0),
        TICK,
    )
    assert list(dict.fromkeys(said)) == [
        "starting Axolotl",
        "training",
        "training, step 1 is the next",
        "step      1 of about 50 | loss 1.0000",
        "step      2 of about 50 | loss 1.0000 | 50 tokens/s",
        "step      2 | evaluating",
        "step      2  validation loss 1.5000 (best so far), 1.0 s",
        "step      2 | evaluated",
        "step      2 | saving",
        "step      2 | saved",
        "step      2  stopping (reason: deadline) with a last evaluation and save",
        "step      2 | stopping",
        "step      2 | trained; picking",
    ]
    assert len(set(said)) == sum(a != b for a, b in zip([None, *said], said, strict=False)), "a line came twice"


def test_a_trainer_that_is_started_again_is_said_to_start(lines: Any) -> None:
    said = lines(TrainBegin(**AT, step=0), step(7, 1.0), Restart(**AT, because="hung"), TICK)
    assert said[-1] == "starting Axolotl again"
    said = lines(TrainBegin(**AT, step=7), TICK)
    assert said == ["training resumes from step 7", *["training, step 8 is the next"] * 2]
