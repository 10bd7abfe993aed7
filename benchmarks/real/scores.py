"""What training changed by the measures of others: HELM and lm-evaluation-harness, a small real model against its base.

    python -m benchmarks.real.scores --base smollm2-135m --tuned runs/real/08_pick/adapter \\
        --tasks natural-instructions/tasks --gsm8k gsm8k --state runs/real-scores
    python -m benchmarks.real.scores --state runs/real-scores --report           # what stands by now

HELM runs its simple suite and GSM8K, lm_eval two tasks on the held-out questions of division.py: `ni_answer`, in which
the model writes the answer, scored by exact match, and `ni_choice`, in which the likeliest of a task's labels is taken.
Differences are paired by document, with a bootstrap over the tasks of Natural Instructions, or over HELM's instances.

Each unit is a command of `oneday` that resumes by itself; the same command goes on after a kill. Prints one JSON line.
"""

import argparse
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import yaml

from benchmarks.real.division import DividedTask, DivisionParameters, divide, read_tasks, row_of
from benchmarks.real.paired import difference
from benchmarks.real.result import print_result
from benchmarks.real.selection import State, Unit, oneday
from core.example.prompt import training_prompt
from core.files import file_sha256, make_folder, read_json, read_jsonl, sha256, write_json, write_jsonl, write_text
from core.generation.request import Kind
from core.model.folder import model_fingerprint
from curation.ni.task import Task
from oneday.commands.evaluation.lm_eval import SAMPLES
from submission.helm.results import read_runs

logger = logging.getLogger("scores")

MODELS = ("base", "tuned")
MOST_LABELS = 8
MAX_NEW_TOKENS = 64
ANSWER, CHOICE = "ni_answer", "ni_choice"
METRICS = {ANSWER: "exact_match", CHOICE: "acc"}


def labels_of(task: Task) -> list[str]:
    """The answers of a task that has few, sorted; empty if it has many."""
    found = {instance.outputs[0].strip() for instance in task.instances}
    return sorted(found) if 2 <= len(found) <= MOST_LABELS else []


def documents(divided: Sequence[DividedTask]) -> list[dict[str, object]]:
    """The questions of tasks scored by exact match, in random order, so that a limit takes any of them."""
    found: list[dict[str, object]] = []
    for d in divided:
        if d.kind is not Kind.EXACT_MATCH:
            continue
        labels = labels_of(d.task)
        for instance in d.questions:
            row = row_of(d, instance, d.group)
            prompt = training_prompt(d.task.definition, instance.input)
            own = {"id": row["id"], "ni_task": d.task.name, "prompt": prompt, "answer": row["output"]}
            found.append({**own, "labels": labels, "gold": labels.index(str(row["output"])) if labels else -1})
    random.Random("scores").shuffle(found)
    return found


def task_file(name: str, data: Path) -> dict[str, object]:
    """A task of lm_eval."""
    task: dict[str, object] = {
        "task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data.absolute())}},
        "test_split": "test", "doc_to_text": "{{prompt}}", "metadata": {"version": 1.0},
    }  # fmt: skip
    if name == CHOICE:
        how = {"output_type": "multiple_choice", "doc_to_choice": "{{labels}}", "doc_to_target": "gold"}
        return {**task, **how, "target_delimiter": ""}
    metric = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
    return {
        **task,
        "output_type": "generate_until",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": MAX_NEW_TOKENS, "do_sample": False},
        "metric_list": [{**metric, "ignore_case": True, "ignore_punctuation": True}],
    }


def write_tasks(folder: Path, tasks: Path) -> None:
    """Writes the documents and the two task files."""
    found = documents(divide(read_tasks(tasks), DivisionParameters()))
    make_folder(folder)
    for name, rows in ((ANSWER, found), (CHOICE, [row for row in found if row["labels"]])):
        write_jsonl(folder / f"{name}.jsonl", rows)
        write_text(folder / f"{name}.yaml", yaml.safe_dump(task_file(name, folder / f"{name}.jsonl")))


def units(
    state: State, models: Mapping[str, Path], base: Path, tasks: Path, gsm8k: Path | None, questions: int
) -> Iterator[Unit]:
    """All units; the base and the tuned model take turns."""
    digest = sha256("\n".join(f"{p.name} {file_sha256(p)}" for p in sorted(tasks.glob("*.json"))).encode())
    data = {"tasks": digest, "division": asdict(DivisionParameters())}
    yield Unit(name="data", inputs=data, work=lambda: write_tasks(state.folder / "tasks", tasks))
    for name, model in models.items():
        inputs = {**data, "model": model_fingerprint(model), "base": model_fingerprint(base), "questions": questions}
        on = ["--base", str(base)] if model != base else []
        asked = [
            "evaluate", "--lm-eval", str(state.folder / "tasks"), "--model", str(model), *on, "--limit", str(questions),
            "--out", str(state.folder / f"lm-eval-{name}"),
        ]  # fmt: skip
        yield Unit(name=f"lm-eval-{name}", inputs=inputs, work=partial(oneday, *asked))
    for name, model in models.items():
        inputs = {"model": model_fingerprint(model), "questions": questions, "gsm8k": gsm8k is not None}
        on = ["--base", str(base)] if model != base else []
        helm = [
            "helm", "--checkpoint", str(model), *on, "--instances", str(questions),
            "--out", str(state.folder / f"helm-{name}"), *(["--gsm8k", str(gsm8k)] if gsm8k else []),
        ]  # fmt: skip
        yield Unit(name=f"helm-{name}", inputs=inputs, work=partial(oneday, *helm))


def lm_eval_scores(folder: Path) -> dict[str, dict[str, tuple[float, str]]]:
    """Task -> document -> its score, and the task of Natural Instructions that it comes from."""
    found: dict[str, dict[str, tuple[float, str]]] = {name: {} for name in METRICS}
    for sample in read_jsonl(folder / SAMPLES):
        name, document = sample["task"], sample["doc"]
        found[name][document["id"]] = (float(sample[METRICS[name]]), document["ni_task"])
    return found


def helm_scores(out: Path) -> dict[str, dict[str, tuple[float, str]]]:
    """Scenario -> instance -> its score by the metric that HELM ranks by."""
    suite = out / "benchmark_output" / "runs" / "simple"
    metrics = {run.run: (run.group, run.metric) for run in read_runs(suite)}
    found: dict[str, dict[str, tuple[float, str]]] = {}
    for folder in sorted(path.parent for path in suite.glob("*/per_instance_stats.json")):
        group, metric = metrics[read_json(folder / "run_spec.json")["name"]]
        scores = found.setdefault(group, {})
        for instance in read_json(folder / "per_instance_stats.json"):
            stats = {stat["name"]["name"]: stat for stat in instance["stats"] if "perturbation" not in stat["name"]}
            if metric in stats:
                name = f"{instance['instance_id']}-{instance['train_trial_index']}"
                scores[name] = (float(stats[metric]["mean"]), name)
    return found


def compared(
    tuned: Mapping[str, Mapping[str, tuple[float, str]]], base: Mapping[str, Mapping[str, tuple[float, str]]]
) -> dict[str, object]:
    """Means and the paired difference of every task that both have."""
    result: dict[str, object] = {}
    for name in sorted(tuned.keys() & base.keys()):
        both = sorted(tuned[name].keys() & base[name].keys())
        ours, theirs = ({n: scores[name][n][0] for n in both} for scores in (tuned, base))
        outcome = difference([ours], [theirs], {n: base[name][n][1] for n in both})
        if outcome is not None:
            means = {"base": _mean(theirs), "tuned": _mean(ours)}
            result[name] = {**means, "difference": outcome.as_json()}
    return result


def _mean(scores: Mapping[str, float]) -> float:
    return round(sum(scores.values()) / len(scores), 4)


def report(state: State) -> dict[str, object]:
    """What both models have answered."""
    done = {path.stem for path in (state.folder / "units").glob("*.json")}
    result: dict[str, object] = {}
    for harness, read in (("lm-eval", lm_eval_scores), ("helm", helm_scores)):
        if all(f"{harness}-{name}" in done for name in MODELS):
            base, tuned = (read(state.folder / f"{harness}-{name}") for name in MODELS)
            result[harness] = compared(tuned, base)
    return result


def main() -> None:
    """Asks what is missing, or reports."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--state", type=Path, required=True, help="folder of the answers")
    parser.add_argument("--base", type=Path, help="folder of the model")
    parser.add_argument("--tuned", type=Path, help="run, adapter or model folder")
    parser.add_argument("--tasks", type=Path, help="folder of NI task files")
    parser.add_argument("--gsm8k", type=Path, help="folder with GSM8K's train.jsonl")
    parser.add_argument("--questions", type=int, default=100, help="at most, of each task and scenario")
    parser.add_argument("--report", action="store_true", help="print the results so far as one JSON line")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    state, base, tuned = State(arguments.state), arguments.base, arguments.tuned
    if not arguments.report:
        if None in (base, tuned, arguments.tasks):
            parser.error("--base, --tuned and --tasks are needed, except with --report")
        models = dict(zip(MODELS, (base, tuned), strict=True))
        for unit in units(state, models, base, arguments.tasks, arguments.gsm8k, arguments.questions):
            state.run(unit)
        write_json(state.folder / "questions.json", arguments.questions)
    num = read_json(state.folder / "questions.json") if (state.folder / "questions.json").is_file() else None
    command = (
        "python -m benchmarks.real.scores --base BASE --tuned ADAPTER --tasks TASKS --gsm8k GSM8K --state STATE "
        f"--questions {num or arguments.questions}"
    )
    print_result(command, result=report(state))


if __name__ == "__main__":
    main()
