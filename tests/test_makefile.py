"""The Makefile's own answers: what to set when something is missing, and what it would run."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=outside, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("size", ["200k", "400k", "700k"])
def test_curating_without_inputs_says_what_to_set_before_anything_is_installed(size: str) -> None:
    done = make(f"curate-{size}", "VENV=nowhere")
    assert done.returncode == 2
    assert done.stdout.startswith(f"set NI_TASKS to the folder of NI task files: make curate-{size} NI_TASKS=")
    assert "set BASE_MODEL" in make(f"curate-{size}", "VENV=nowhere", "NI_TASKS=x").stdout


@pytest.mark.parametrize("target", ["pick", "serve"])
def test_a_run_must_be_named(target: str) -> None:
    assert f"set RUN to a run folder: make {target} RUN=" in make(target, "VENV=nowhere").stdout


def test_paths_with_a_space_stay_one_argument() -> None:
    command = make("-n", "curate-200k", "NI_TASKS=my tasks", "BASE_MODEL=my base").stdout
    assert '--tasks "my tasks" --base "my base" --run runs/200k' in command


@pytest.mark.parametrize(("target", "card"), [("train-4090", "rtx4090"), ("train-a100", "a100-40gb")])
def test_each_training_target_has_its_recipe_and_card(target: str, card: str) -> None:
    command = make("-n", target, "BUDGET=24h", "ARGS=--dry-run", "MIX=m").stdout
    assert f"--card {card}" in command
    assert '--budget 24h --mix "m"' in command
    assert "--dry-run" in command


def test_the_winners_day_takes_the_published_list_of_tasks() -> None:
    command = make("-n", "reproduce-birbal", "NI_TASKS=t", "BASE_MODEL=b", "ARGS=--dry-run").stdout
    assert "oneday curate --preset birbal-paper --task-list birbal --mix 200k" in command


def test_the_demo_installs_nothing_that_only_the_tests_need() -> None:
    demo, tests = (make("-n", target, "VENV=nowhere").stdout for target in ("demo", "test-fast"))
    assert "-e '.[curate,train,serve,eval]'" in demo
    assert "dev" not in demo
    assert "-e '.[curate,train,serve,eval]'" in tests
    assert "-e '.[gguf,ray,spelling,dev]'" in tests


def test_help_lists_the_two_commands() -> None:
    listed = make("help").stdout
    for target in ("demo", "test", "test-fast", "check", "curate-200k", "train-4090", "train-a100", "pick", "serve"):
        assert f"\n{target} " in f"\n{listed}"
