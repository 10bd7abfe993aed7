"""Trackers: asked for by name, kept in the run folder, and never the end of a run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import TrainerCallback

from core.files import read_jsonl
from core.run_folder import TRAIN
from harness.errors import ConfigError
from harness.inside.tracker_guard import guard_trackers
from harness.run import train
from harness.supervise import METRICS, TRACKING
from harness.tracker import Tracker, read_trackers, tracking_environment, tracking_keys, view_commands
from tests.harness.test_run import MEASURED, make_job


class WandbCallback(TrainerCallback):
    """Of that name, as upstream's, and failing."""

    calls = 0

    def on_log(self, args: object, state: object, control: object, **kwargs: object) -> None:
        self.calls += 1
        raise ConnectionError("no route to host")


class Other(TrainerCallback):
    """None of the trackers."""


def test_a_tracker_that_fails_is_left_out_and_said_once() -> None:
    failing, other = WandbCallback(), Other()
    trainer = SimpleNamespace(callback_handler=SimpleNamespace(callbacks=[other, failing]))
    said: list[tuple[str, str]] = []
    assert guard_trackers(trainer, lambda *what: said.append(what)) == 1
    guarded = trainer.callback_handler.callbacks[1]
    for _ in range(3):
        assert guarded.on_log("args", "state", "control", logs={}) == "control"
    assert said == [("WandbCallback", "ConnectionError: no route to host")]
    assert failing.calls == 1
    assert trainer.callback_handler.callbacks[0] is other


def test_names_are_checked_before_anything_starts() -> None:
    assert read_trackers(["tensorboard", "tensorboard"]) == (Tracker.TENSORBOARD,)
    assert read_trackers([]) == ()
    with pytest.raises(ConfigError, match=r"`track=comet`: unknown\. Use tensorboard, wandb, mlflow, trackio"):
        read_trackers(["comet"])


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"`track=mlflow`: the package is not installed\. pip install mlflow"):
        read_trackers(["mlflow"])


def test_nothing_goes_online_unless_the_user_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    environment = tracking_environment(list(Tracker), tmp_path)
    assert environment["WANDB_MODE"] == "offline"
    assert environment["MLFLOW_TRACKING_URI"].startswith("sqlite:///")
    assert all(str(tmp_path) in environment[name] for name in ("WANDB_DIR", "TRACKIO_DIR", "TENSORBOARD_LOGGING_DIR"))
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    environment = tracking_environment(list(Tracker), tmp_path)
    assert environment["WANDB_MODE"] == "online"
    assert environment["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"
    assert "secret" not in environment.values()
    assert tracking_keys((), run="x") == {}
    assert len(view_commands(list(Tracker), tmp_path)) == 4


@pytest.mark.slow
def test_a_real_run_is_tracked_and_outlives_a_tracker_that_breaks(
    tmp_path: Path,
    write_mix: Callable[..., Path],
    demo_base: Path,
    axolotl: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """trackio 0.19.0, which Axolotl 0.19.0 pins, raises in the version of transformers that it pins too."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    job = make_job(tmp_path, write_mix(), demo_base, budget_s=60.0)
    few = job.recipe.model_copy(update={"num_epochs": 4})
    job = replace(job, recipe=few, trackers=(Tracker.TENSORBOARD, Tracker.TRACKIO))
    result = train(job, MEASURED, launch=axolotl)  # type: ignore[arg-type]
    assert result.steps > 0
    assert list((job.run / TRAIN / TRACKING / "tensorboard").rglob("events.out.tfevents.*"))
    failed = [e for e in read_jsonl(job.run / TRAIN / METRICS) if e["event"] == "tracker_failed"]
    assert [e["tracker"] for e in failed] in ([], ["TrackioCallback", "SaveAxolotlConfigtoTrackioCallback"])
