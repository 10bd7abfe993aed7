"""Does choosing rows by what the model gets wrong beat choosing them at random, at the same cost of training?

    python -m benchmarks.real.selection --base smollm2-135m --tasks natural-instructions/tasks --state runs/selection
    python -m benchmarks.real.selection --state runs/selection --report          # what stands by now

The same command goes on after a kill, at any moment: a unit that is finished is not computed again, and each unit is a
command of `oneday` that resumes by itself. Answers of the model are asked once and shared by the arms.

Pre-registered on 2026-11-28, before any arm was trained (this text and the constants below):

* Model: SmolLM2-135M-Instruct, de-quantised from 4 bits. It was instruction-tuned by its authors: it is a small real
  model that is to be improved, no base model.
* Data: Natural Instructions, the task files of `--tasks`. 30 tasks are held out whole, with 6 questions each. Of the
  other tasks 2 instances are held out, 13 are asked few-shot, and a tenth of the others can be drawn without asking.
* Arms: `random` rows; `balanced`, as many from each task; `winner`, the preset `birbal-paper` (wrong answers of
  exact-match tasks above an accuracy of 0.1, generations of low ROUGE-L) with one order of shots a task; `recommended`;
  `retained`, which is `winner` with a quarter of rows that the model solves. Every arm has the same targets of
  exact-match and generation rows, is cut to 60,000 tokens of prompts and answers, and trains 60 steps of at most 1,024
  tokens with one recipe (selection.yml). The last checkpoint is measured, greedily, without shots. Two seeds each.
* Measured: `score`, which is exact match or ROUGE-L against the first reference by the kind of the task, as the mean of
  all questions of a group, averaged over the seeds. Intervals: bootstrap over tasks, both seeds together.
* Primary comparisons: `recommended` minus `random`, on held-out tasks and on held-out instances.
* Secondary: `winner` minus `random`, `balanced` minus `random`, `recommended` minus `balanced`, `retained` minus
  `winner`, each on both groups; and on the questions that the model solved before (exact match, or ROUGE-L of 0.7 and
  more), where a negative value is forgetting.
* A win: the 95 % interval of the difference is above 0. A loss: it is below 0. Anything else is "not distinguished",
  reported with the number of tasks that would distinguish a difference of this size in four of five experiments.
* `recommended` is changed only where a primary interval excludes 0, or a secondary one on both groups.
* The cost of selecting is reported beside the gain: tokens of inference over tokens of training.
"""

import argparse
import datetime
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.real.division import (
    DivisionParameters,
    divide,
    fingerprint,
    read_tasks,
    write_division,
)
from benchmarks.real.result import print_result
from benchmarks.real.selection_report import cost_of_asking, read_measured, results, rows_of, unit_times
from core.example.prompt import training_prompt
from core.files import atomic_writer, file_sha256, make_folder, read_json, read_jsonl, sha256, write_json
from core.model.folder import model_fingerprint
from core.run_folder import MIX, OUTPUT, TRAIN
from harness.checkpoint.seal import checkpoint_folders
from oneday import child

logger = logging.getLogger("selection")

RECIPE = Path(__file__).parent / "selection.yml"
SEEDS = (1, 2)
TOKENS = 60_000
"""Of the prompts and answers that an arm trains on."""
STEPS = 60
SEQUENCE_LEN = 1_024
SCALE = 0.006
"""Of the rows of the paper's 200K mix: 300 of exact-match and 300 of generation tasks, before the cut to `TOKENS`."""
MAX_NEW_TOKENS = 64
SOLVED_ROUGE_L = 0.7
OTHERS = "lima,open-platypus,openbookqa,quac,cnn_dailymail,mathinstruct"
_WINNER = ("--preset", "birbal-paper", "--set", "prompts.shot_order=per_task")
ARMS: Mapping[str, tuple[str, ...]] = {
    "random": ("--control", "random"),
    "balanced": ("--control", "balanced"),
    "winner": _WINNER,
    "recommended": (),
    "retained": (*_WINNER, "--set", "samples.retain_share=0.25"),
}
"""Arm -> its options of `oneday curate`."""

UNASKED = ("random", "balanced")
COMPARISONS = (
    ("recommended", "random", "primary"),
    ("winner", "random", "secondary"),
    ("balanced", "random", "secondary"),
    ("recommended", "balanced", "secondary"),
    ("retained", "winner", "secondary"),
)
BASE = "base"


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A piece of work that is finished or not: the same identity is never computed twice."""

    name: str
    inputs: Mapping[str, object]
    """Everything that decides its output."""
    work: Callable[[], None]


class State:
    """The folder of an experiment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.ask = folder / "ask"

    def arm(self, arm: str, seed: int) -> Path:
        """The run folder of an arm."""
        return self.folder / "arms" / f"{arm}-{seed}"

    def responses(self, name: str) -> Path:
        """The responses of a model to the questions."""
        return self.folder / "responses" / f"{name}.jsonl"

    def run(self, unit: Unit) -> None:
        """Does a unit, unless it is finished.

        Raises:
            SystemExit: it was finished with other inputs.
        """
        marker = self.folder / "units" / f"{unit.name}.json"
        found = json.loads(json.dumps(unit.inputs))
        if marker.is_file():
            stored = read_json(marker)["inputs"]
            if stored != found:
                differing = [key for key in sorted({*stored, *found}) if stored.get(key) != found.get(key)]
                sys.exit(f"{marker}: made with other inputs ({', '.join(differing)}). Give another --state.")
            return
        logger.info("%s", unit.name)
        begun = datetime.datetime.now(datetime.UTC)
        unit.work()
        seconds = (datetime.datetime.now(datetime.UTC) - begun).total_seconds()
        make_folder(marker.parent)
        write_json(marker, {"inputs": found, "seconds_of_last_call": round(seconds), "load": os.getloadavg()[0]})


def oneday(*arguments: str) -> None:
    """Runs a command of this program.

    Raises:
        SystemExit: it failed, with its exit code.
    """
    done = subprocess.run(child.command(*arguments), env=child.environment())
    if done.returncode:
        sys.exit(done.returncode)


def units(state: State, base: Path, tasks: Path) -> Iterator[Unit]:
    """All units, in the order in which they are done. Seed 1 of every arm comes first."""
    model = model_fingerprint(base)
    parameters = DivisionParameters()
    digest = sha256("\n".join(f"{p.name} {file_sha256(p)}" for p in sorted(tasks.glob("*.json"))).encode())
    division = {"division": asdict(parameters), "tasks": digest}
    yield Unit(name="data", inputs=division, work=lambda: _divide(state, tasks, parameters))
    asked = {**division, "model": model, "scale": SCALE}
    yield Unit(name="ask", inputs=asked, work=partial(_ask, state, base))
    measured = {**division, "model": model, "max_new_tokens": MAX_NEW_TOKENS}
    yield Unit(name="measure-base", inputs=measured, work=lambda: _measure(state, base, str(base), BASE))
    for seed in SEEDS:
        for arm, options in ARMS.items():
            name = f"{arm}-{seed}"
            inputs = {
                **asked, "arm": arm, "options": list(options), "seed": seed, "tokens": TOKENS,
                "recipe": file_sha256(RECIPE),
            }  # fmt: skip
            yield Unit(name=f"curate-{name}", inputs=inputs, work=partial(_draw, state, base, arm, seed))
            yield Unit(name=f"train-{name}", inputs=inputs, work=partial(_train, state, base, arm, seed))
            yield Unit(
                name=f"measure-{name}",
                inputs={**inputs, **measured},
                work=partial(_measure_arm, state, base, arm, seed),
            )


def _divide(state: State, tasks: Path, parameters: DivisionParameters) -> None:
    found = read_tasks(tasks)
    write_division(divide(found, parameters), state.data, tasks)
    write_json(state.data / "inputs.json", fingerprint(parameters, found))


def _ask(state: State, base: Path) -> None:
    """Asks every question once, and counts what that cost."""
    oneday(*_curate(state, base, state.ask, "recommended", 0))
    write_json(state.folder / "cost.json", cost_of_asking(state.ask, base, TOKENS))


def _curate(state: State, base: Path, run: Path, arm: str, seed: int) -> list[str]:
    """The options of `oneday curate`: the same of every arm, but for the choice of rows."""
    folder = state.data / ("rest" if arm in UNASKED else "pool")
    return [
        "curate", "--tasks", str(folder), "--base", str(base), "--run", str(run), "--mix", "200k",
        "--without", OTHERS, "--scale", str(SCALE), "--licences", "all", "--task-list", str(state.data / "tasks.txt"),
        "--kinds", str(state.data / "kinds.txt"), *ARMS[arm], "--set", f"samples.seed={seed}",
        "--set", f"split.seed={seed}", "--workers", "1",
    ]  # fmt: skip


def _draw(state: State, base: Path, arm: str, seed: int) -> None:
    """Curates an arm with the answers that are there, and cuts its rows to the same number of tokens."""
    run = state.arm(arm, seed)
    if arm not in UNASKED and not (run / "answers.jsonl").is_file():
        make_folder(run)
        shutil.copy(state.ask / "answers.jsonl", run / "answers.jsonl")
    oneday(*_curate(state, base, run, arm, seed))
    rows = cut(read_jsonl(run / MIX / "train.jsonl"), row_counter(base))
    make_folder(run / "mix")
    for name, found in (("train", rows), ("validation", read_jsonl(state.data / "validation.jsonl"))):
        with atomic_writer(run / "mix" / f"{name}.jsonl") as file:
            for row in found:
                file.write(json.dumps(row).encode() + b"\n")


def row_counter(base: Path) -> Callable[[Mapping[str, str]], int]:
    """Counts the tokens of a training row, with its end token."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)

    def count(row: Mapping[str, str]) -> int:
        return len(tokenizer(training_prompt(row["instruction"], row["input"]) + row["output"]).input_ids) + 1

    return count


def cut(
    rows: Iterable[Mapping[str, str]], count: Callable[[Mapping[str, str]], int], tokens: int = TOKENS
) -> list[Mapping[str, str]]:
    """The first rows that together have at most `tokens`, without those that are longer than a sequence."""
    kept, total = [], 0
    for row in rows:
        size = count(row)
        if size > SEQUENCE_LEN:
            continue
        if total + size > tokens:
            break
        kept.append(row)
        total += size
    return kept


def _train(state: State, base: Path, arm: str, seed: int) -> None:
    """Trains all steps: the budget is a day of computing, and `max_steps` ends the run long before."""
    run = state.arm(arm, seed)
    recipe = run / "recipe.yml"
    recipe.write_text(RECIPE.read_text().replace("seed: 2023", f"seed: {seed}"))
    oneday(
        "train", "--mix", str(run / "mix"), "--base", str(base), "--config", str(recipe), "--card", "cpu",
        "--run", str(run), "--budget", "24h", "--clock", "compute",
    )  # fmt: skip
    if last_checkpoint(run).name != f"checkpoint-{STEPS}":
        sys.exit(f"{run}: ended at {last_checkpoint(run).name} and not after {STEPS} steps. Look into its report.")


def last_checkpoint(run: Path) -> Path:
    """The checkpoint of the last step."""
    found = checkpoint_folders(run / TRAIN / OUTPUT)
    if not found:
        sys.exit(f"{run}: no checkpoint. Remove its unit of training, and give the command again.")
    return found[-1]


def _measure_arm(state: State, base: Path, arm: str, seed: int) -> None:
    _measure(state, base, str(last_checkpoint(state.arm(arm, seed))), f"{arm}-{seed}")


def _measure(state: State, base: Path, model: str, name: str) -> None:
    questions = state.data / "questions.jsonl"
    num = sum(1 for _ in read_jsonl(questions))
    oneday(
        "generate", "held-out", "--items", str(questions), "--model", model, "--base", str(base),
        "--out", str(state.responses(name)), "--max-new-tokens", str(MAX_NEW_TOKENS), "--template", "plain",
        "--set", f"questions={num}", "--uncharged",
    )  # fmt: skip


def report(state: State) -> dict[str, object]:
    """What stands by now. Without an arm that is measured, it says how far the work is."""
    finished = sorted(path.stem for path in (state.folder / "units").glob("*.json"))
    measured = read_measured(state.data / "questions.jsonl", state.responses, ARMS, SEEDS, BASE)
    return {
        "units_finished": len(finished),
        "units": 3 + 3 * len(ARMS) * len(SEEDS),
        "data": read_json(state.data / "division.json"),
        "cost_of_asking": _cost(state),
        "trained_on": {path.name: rows_of(path) for path in sorted((state.folder / "arms").glob("*-*"))},
        **results(measured, COMPARISONS, base=BASE, solved_rouge_l=SOLVED_ROUGE_L),
        "seconds_of_last_call": unit_times(state.folder / "units"),
    }


def _cost(state: State) -> dict[str, object] | None:
    """Tokens of inference over tokens of training; None before the questions are asked."""
    path = state.folder / "cost.json"
    return read_json(path) if path.is_file() else None


def main() -> None:
    """Does what is missing, or reports."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--state", type=Path, required=True, help="folder of the experiment")
    parser.add_argument("--base", type=Path, help="folder of the model")
    parser.add_argument("--tasks", type=Path, help="folder of NI task files")
    parser.add_argument("--report", action="store_true", help="print the results so far as one JSON line")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    state = State(arguments.state)
    if not arguments.report:
        if arguments.base is None or arguments.tasks is None:
            parser.error("--base and --tasks are needed, except with --report")
        for unit in units(state, arguments.base, arguments.tasks):
            state.run(unit)
    print_result("python -m benchmarks.real.selection --base BASE --tasks TASKS --state STATE", result=report(state))


if __name__ == "__main__":
    main()
