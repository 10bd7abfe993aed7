"""Kills a real budgeted run with `kill -9`, resumes it with the same command, and serves its result.

    python -m benchmarks.gpu.training --budget 90s [--optimizer paged_adamw_32bit] [--tiny]

The steps between the last checkpoint and the kill are trained twice. Their batches must be equal, and their losses
equal within bf16's noise. The learning rate is high and the warm-up short, so that a lost optimizer state would change
the losses. The base is small, because the result does not depend on its size. The lines give the ledger, the comparison
of repeated steps, and the requests/s of the picked checkpoint.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.processes import descendants
from benchmarks.gpu.setting import Setting, arguments, oneday, prepare, remove
from core.files import read_json, read_jsonl
from core.run_folder import OUTPUT, TRAIN
from harness.budget.duration import seconds
from harness.budget.rehearse import rehearse
from harness.job import TrainJob
from harness.supervise import BATCHES
from oneday.local_server import ask, local_server
from oneday.requests.submission import ServeRequest

MIN_REPEATED_STEPS = 4
"""Minimum number of steps that are trained twice."""

LOSS_NOISE = 0.02
"""Relative difference of losses that kernels with another order of summation may cause within some steps of bf16."""

REQUESTS, NEW_TOKENS, CLIENTS = 32, 48, 16
BUDGET_S, SPARE_S = 90.0, 25.0
"""The usual budget, and the time for steps beyond twice the shortest one, without which a trainer is not restarted."""

SERVING_S = 25.0
"""Time for the server to start and answer; with less time left, serving is left out."""


def recipe_changes(setting: Setting, optimizer: str | None) -> dict[str, Any]:
    """Returns the changes to the recommended recipe."""
    every = 4 if setting.tiny else 8
    return {
        "learning_rate": 3e-4, "warmup_steps": 2, "num_epochs": 100, "eval_steps": every,
        "save_total_limit": 3, **({"optimizer": optimizer} if optimizer else {}),
    }  # fmt: skip


def budget_of(setting: Setting, job: TrainJob) -> float:
    """Returns a budget of 90 s, or the time to start twice on this machine, from a rehearsal that the run reuses."""
    shortest_s = rehearse(job).minimum_s()
    setting.lines.write(measured="shortest budget", least_s=shortest_s)
    return max(0.0 if setting.tiny else BUDGET_S, 2 * shortest_s + SPARE_S)


def train_command(setting: Setting, run: Path, budget: str, optimizer: str | None) -> list[str]:
    """Writes the recipe and returns the arguments of `oneday`, as a user gives them."""
    recipe = setting.work / "training.yml"
    recipe_values = setting.recipe.model_dump(exclude_none=True) | recipe_changes(setting, optimizer)
    if setting.recipe.overrides_of_model_config is not None:
        recipe_values["overrides_of_model_config"] = setting.recipe.overrides_of_model_config  # keeps its null values
    recipe.write_text(json.dumps(recipe_values))  # JSON is YAML
    return [
        "train", "--mix", str(setting.mix), "--base", str(setting.base), "--config", str(recipe),
        "--card", setting.card.name, "--budget", budget, "--run", str(run),
        *(["--shared-card"] if setting.card.is_gpu else []),
    ]  # fmt: skip


def run_until_killed(setting: Setting, command: list[str], run: Path) -> dict[str, Any]:
    """Starts the run, and kills it and its trainer when enough steps follow a checkpoint."""
    log = setting.work / "training.log"
    started = time.monotonic()
    with log.open("a") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "oneday.cli", *command], stdout=log_file, stderr=log_file, start_new_session=True
        )
    while not _may_be_killed(run):
        if process.poll() is not None:
            raise SystemExit(f"the run ended with {process.returncode} before it was killed: {log.read_text()[-1500:]}")
        time.sleep(0.05)
    for pid in (process.pid, *descendants(process.pid)):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    _wait_until_gone(run)
    steps = _steps(run)
    return {"killed_at_step": max(steps), "killed_after_s": time.monotonic() - started}


def _may_be_killed(run: Path) -> bool:
    steps, checkpoints = _steps(run), _checkpoints(run)
    return len(checkpoints) >= 2 and bool(steps) and max(steps) >= max(checkpoints) + MIN_REPEATED_STEPS


def _wait_until_gone(run: Path) -> None:
    """Waits until the run's files stop growing, because killed processes release GPU and lock a moment later."""
    before = -1
    while before != (before := sum(path.stat().st_size for path in run.rglob("*.jsonl"))):
        time.sleep(0.5)


def _checkpoints(run: Path) -> list[int]:
    names = (path.name for path in (run / TRAIN / OUTPUT).glob("checkpoint-*"))
    return [int(name.removeprefix("checkpoint-")) for name in names if name.removeprefix("checkpoint-").isdigit()]


def _lines(run: Path) -> list[dict[str, Any]]:
    """Reads the batch log; a line that is incomplete because of the kill is left out."""
    path = run / TRAIN / BATCHES
    text_lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in text_lines if line.endswith("\n")]


def _steps(run: Path) -> dict[int, dict[str, Any]]:
    return {line["step"]: line for line in _lines(run)}


def repeated_steps(lines: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Returns pairs of the lines of steps that were trained before the kill and again after the resume.

    >>> repeated_steps([{"step": 1}, {"step": 2}, {"step": 3}, {"step": 2}, {"step": 3}, {"step": 4}])
    [({'step': 2}, {'step': 2}), ({'step': 3}, {'step': 3})]
    """
    seen: dict[int, dict[str, Any]] = {}
    pairs = []
    for line in lines:
        if line["step"] in seen:
            pairs.append((seen[line["step"]], line))
        seen[line["step"]] = line
    return pairs


def compare_repeated_steps(run: Path) -> dict[str, Any]:
    """Compares the steps that were trained twice."""
    pairs = repeated_steps(_lines(run))
    differences = [abs(now["loss"] - before["loss"]) / max(abs(before["loss"]), 1e-6) for before, now in pairs]
    return {
        "steps_trained_twice": [before["step"] for before, _ in pairs],
        "batches_equal": bool(pairs) and all(before["batch"] == now["batch"] for before, now in pairs),
        "rates_equal": bool(pairs) and all(before["lr"] == now["lr"] for before, now in pairs),
        "losses_before": [before["loss"] for before, _ in pairs],
        "losses_now": [now["loss"] for _, now in pairs],
        "losses_differ_by": max(differences, default=None),
        "within_noise": bool(pairs) and max(differences) <= LOSS_NOISE,
    }


def measure_serving(setting: Setting, run: Path) -> dict[str, Any]:
    """Serves the picked checkpoint and measures the requests/s."""
    prompts = [row["instruction"] + " " + row["input"][:400] for row in read_jsonl(setting.mix / "validation.jsonl")]
    prompts = (prompts * REQUESTS)[: 4 if setting.tiny else REQUESTS]
    started = time.perf_counter()
    with local_server(ServeRequest(checkpoint=run, base=setting.base), log=setting.work / "server.log") as url:
        ask(url, prompts[:2], max_new_tokens=8)
        ready = time.perf_counter()
        answers = ask(url, prompts, max_new_tokens=8 if setting.tiny else NEW_TOKENS, at_once=CLIENTS)
        done = time.perf_counter()
    return {"start_s": ready - started, "clients": CLIENTS, "requests_per_s": len(answers) / (done - ready)}


def main() -> None:
    """Trains, kills, resumes and serves."""
    parser = arguments(__doc__, part="training", base="small-1b")
    parser.add_argument("--budget", help="default: 90s, or more on a machine that is slow to start")
    parser.add_argument("--optimizer", help="default: the recipe's")
    options = parser.parse_args()
    setting = prepare(options)
    run = setting.work / "training"
    remove(run)
    job = setting.job(run.name, **recipe_changes(setting, options.optimizer))
    budget = options.budget or f"{budget_of(setting, job):.0f}s"
    if setting.left_s < seconds(budget):
        raise SystemExit(f"{setting.left_s:.0f} s are left: too few for a budget of {budget}")
    command = train_command(setting, run, budget, options.optimizer)
    kill_result = run_until_killed(setting, command, run)
    setting.lines.write(measured="killed", **kill_result)
    result = oneday(*command, log=setting.work / "training.log")
    manifest = read_json(run / "manifest.json")
    ledger = manifest["train"]["ledger"]
    setting.lines.write(
        measured="training", base=setting.base.name, optimizer=manifest["train"]["recipe"]["optimizer"],
        because=result["because"], steps=result["steps"], picked=manifest["pick"]["checkpoint"], ledger=ledger,
        budget_s=seconds(budget), **setting.speed(setting.recipe, result["tokens_per_s"]),
    )  # fmt: skip
    comparison = compare_repeated_steps(run)
    setting.lines.write(measured="resume", optimizer=manifest["train"]["recipe"]["optimizer"], **comparison)
    is_equal = comparison["batches_equal"] and comparison["within_noise"]
    if setting.left_s < SERVING_S and not setting.tiny:
        setting.lines.write(measured="served", left_out=f"{setting.left_s:.0f} s are left")
    else:
        setting.lines.write(measured="served", **measure_serving(setting, run))
    if not is_equal:
        raise SystemExit("the resumed run differs, or there was no time left to resume: see the line `resume`")


if __name__ == "__main__":
    main()
