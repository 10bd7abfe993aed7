"""A real budgeted run, then the same run killed with `kill -9` half-way and resumed, then the result served.

    python -m benchmarks.gpu.training --card rtx4090 --budget 4m [--optimizer paged_adamw_32bit] [--tiny]

Prints one JSON line: the deadline, tokens/s, utilisation, the ledger; figure by figure whether the killed and resumed
run is the first one (batch hashes equal, losses within rounding); requests/s of the picked checkpoint at 1, 4, 16.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.setting import Setting, arguments, oneday, prepare
from curation.files import read_json, read_jsonl
from harness.reproduce import compare_runs
from harness.run import TRAIN
from harness.supervise import BATCHES
from oneday.local_server import ask, local_server

CLIENTS = (1, 4, 16)
REQUESTS, NEW_TOKENS = 32, 48


def train(setting: Setting, recipe: Path, run: Path, budget: str) -> dict[str, Any]:
    """The whole command, as a user gives it."""
    return oneday(
        "train", "--mix", str(setting.mix), "--base", str(setting.base), "--config", str(recipe),
        "--card", setting.card.name, "--budget", budget, "--run", str(run), log=setting.work / "training.log",
    )  # fmt: skip


def killed_and_resumed(setting: Setting, run: Path, again: Path) -> list[dict[str, str]]:
    """Follows the plan of the first run; is killed half-way; the same command goes on."""
    command = [
        "reproduce", str(run / "manifest.json"), "--run", str(again), "--mix", str(setting.mix), "--base",
        str(setting.base), "--questions", "0", "--budget", "30m",
    ]  # fmt: skip
    half = max(record["step"] for record in read_jsonl(run / TRAIN / BATCHES)) // 2
    log = (setting.work / "killed.log").open("w")
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "oneday.cli", *command], stdout=log, stderr=log, start_new_session=True
    ) as first:
        batches = again / TRAIN / BATCHES
        while first.poll() is None and (not batches.is_file() or len(batches.read_text().splitlines()) < half):
            assert time.monotonic() - started < 1200, "it never got half-way"
            time.sleep(0.1)
        for child in _children(first.pid):
            os.kill(child, signal.SIGKILL)
        os.killpg(first.pid, signal.SIGKILL)
    done = subprocess.run([sys.executable, "-m", "oneday.cli", *command], stdout=log, stderr=log, check=False)
    assert done.returncode in (0, 2), (setting.work / "killed.log").read_text()[-2000:]
    figures = [f for f in compare_runs(run, again) if not f.name.startswith("version of ")]
    return [{"figure": f.name, "before": f.before, "now": f.now, "verdict": str(f.verdict)} for f in figures]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def served(setting: Setting, run: Path) -> dict[str, float]:
    """Requests/s at 1, 4 and 16 clients, answers of up to 48 tokens."""
    prompts = [row["instruction"] + " " + row["input"][:400] for row in read_jsonl(setting.mix / "validation.jsonl")]
    prompts = (prompts * REQUESTS)[:REQUESTS]
    rates = {}
    with local_server(run, log=setting.work / "server.log", base=setting.base) as url:
        ask(url, prompts[:2], max_new_tokens=8)
        for clients in CLIENTS:
            started = time.perf_counter()
            ask(url, prompts, max_new_tokens=NEW_TOKENS, at_once=clients)
            rates[str(clients)] = round(len(prompts) / (time.perf_counter() - started), 3)
    return rates


def main() -> None:
    """Prints the JSON line."""
    parser = arguments(__doc__)
    parser.add_argument("--budget", default="4m")
    parser.add_argument("--optimizer", help="default: the recipe's")
    options = parser.parse_args()
    setting = prepare(options)
    recipe = setting.work / "recipe.yml"
    changes = {"optimizer": options.optimizer} if options.optimizer else {}
    recipe.write_text(json.dumps(setting.recipe.model_dump(exclude_none=True) | changes))  # JSON is YAML
    run, again = setting.work / "run", setting.work / "again"
    for folder in (run, again):
        shutil.rmtree(folder, ignore_errors=True)
    result = train(setting, recipe, run, options.budget)
    manifest = read_json(run / "manifest.json")["train"]
    setting.note({"training": result, "ledger": manifest["ledger"]})
    line = {
        "benchmark": "gpu_training",
        "optimizer": manifest["recipe"]["optimizer"],
        "steps": result["steps"],
        "tokens_per_s": result["tokens_per_s"],
        "ledger": manifest["ledger"],
        "resumed": killed_and_resumed(setting, run, again),
        "served_requests_per_s": served(setting, run),
        **setting.facts(setting.recipe, result["tokens_per_s"]),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
