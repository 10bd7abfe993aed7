"""Experiment trackers, enabled through Axolotl's own keys: off by default, and without interactive prompts.

    trackers = read_trackers(["tensorboard"])
    tracking_keys(trackers, run="200k"), tracking_environment(trackers, folder)

They write into the run folder. wandb goes online only if WANDB_API_KEY or WANDB_MODE is set, and mlflow uses a server
only if MLFLOW_TRACKING_URI is set.

Where it sits: the command line reads them; the supervisor passes them on. They do not influence training.
"""

import importlib.util
import os
from collections.abc import Collection, Sequence
from enum import StrEnum
from pathlib import Path

from harness.errors import ConfigError

PROJECT = "oneday"


class Tracker(StrEnum):
    """An experiment tracker that Axolotl supports."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    MLFLOW = "mlflow"
    TRACKIO = "trackio"


def read_trackers(names: Sequence[str]) -> tuple[Tracker, ...]:
    """Trackers by name, without duplicates.

    Raises:
        ConfigError: A tracker is unknown, or its package is not installed.
    """
    for name in names:
        if name not in list(Tracker):
            raise ConfigError(f"`track={name[:40]}`: unknown. Use {', '.join(Tracker)}.")
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"`track={name}`: the package is not installed. pip install {name}.")
    return tuple(dict.fromkeys(Tracker(name) for name in names))


def tracking_keys(trackers: Collection[Tracker], *, run: str) -> dict[str, object]:
    """The keys of Axolotl's configuration that enable the trackers."""
    keys: dict[str, object] = {f"use_{tracker}": True for tracker in trackers}
    if Tracker.WANDB in trackers:
        keys |= {"wandb_project": PROJECT, "wandb_name": run}
    if Tracker.MLFLOW in trackers:
        keys |= {"mlflow_experiment_name": PROJECT, "mlflow_run_name": run}
    if Tracker.TRACKIO in trackers:
        keys |= {"trackio_project_name": PROJECT, "trackio_run_name": run}
    return keys


def tracking_environment(trackers: Collection[Tracker], folder: Path) -> dict[str, str]:
    """Variables that direct output to `folder` and prevent prompts and network waits. Variables already set win."""
    wanted: dict[str, str] = {}
    if Tracker.TENSORBOARD in trackers:
        wanted["TENSORBOARD_LOGGING_DIR"] = str(folder / "tensorboard")
    if Tracker.WANDB in trackers:
        online = bool(os.environ.get("WANDB_API_KEY"))
        wanted |= {"WANDB_DIR": str(folder), "WANDB_MODE": "online" if online else "offline", "WANDB_SILENT": "true"}
        wanted["WANDB_INIT_TIMEOUT"] = "20"
    if Tracker.MLFLOW in trackers:
        wanted["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
        wanted |= {
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
        }  # not 4 min
    if Tracker.TRACKIO in trackers:
        wanted["TRACKIO_DIR"] = str(folder / "trackio")
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def view_commands(trackers: Collection[Tracker], folder: Path) -> list[str]:
    """For each tracker, the command that shows what it recorded."""
    commands = {
        Tracker.TENSORBOARD: f"tensorboard --logdir {folder / 'tensorboard'}",
        Tracker.WANDB: f"wandb sync {folder}/wandb/offline-run-*" if _is_offline(folder) else "see your wandb project",
        Tracker.MLFLOW: f"mlflow ui --backend-store-uri sqlite:///{folder / 'mlflow.db'}",
        Tracker.TRACKIO: f"TRACKIO_DIR={folder / 'trackio'} trackio show --project {PROJECT}",
    }
    return [commands[tracker] for tracker in trackers]


def _is_offline(folder: Path) -> bool:
    return tracking_environment([Tracker.WANDB], folder)["WANDB_MODE"] == "offline"
