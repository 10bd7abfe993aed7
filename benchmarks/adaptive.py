"""Prompts that `--adaptive` saves, and how often it errs, by replay of stored answers over many seeds.

    python benchmarks/adaptive.py [PREDICTIONS.jsonl ...] [--seeds 200] [--tasks 30]

The stored answers are the exact-match tasks of the given files; by default the benchmark runs the demo's curation with
the demo's base model. The planted answers are synthetic tasks of 500 to 6,500 instances with accuracies uniform in [0,
1]. Each seed shuffles the instances of every task, and the replay answers as the model would. Every data set runs
twice: with a quota (the tasks' part of the 200k mix, which divides 50,000 rows among about 300 exact-match tasks; for
the demo its own 1,000 rows), and without one, so that only the certainty of the bucket stops the questions.

Prints one JSON line: the share of prompts saved over all seeds, the share of (task, seed) pairs whose bucket differs
from that of the full run, the largest such share of a single task, and the stated bound. The bound limits each task's
probability, so a single task's share over 200 seeds may exceed it by chance: .05 +- .015.
"""

import argparse
import contextlib
import io
import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from core.generation.prediction import Prediction, read_predictions
from core.generation.request import Kind
from core.run_folder import PREDICTIONS
from core.score import rouge_l_scorer, score
from curation.candidate import CandidateParameters, is_solved
from curation.ni.adaptive import AdaptiveParameters, Progress, ask_adaptively, shuffled
from curation.ni.bucket import BucketParameters, task_bucket
from curation.preset import preset
from curation.sample import SampleParameters
from curation.sources.source import MIXES, NI_EXACT_MATCH
from oneday.demo.demo import SCALE, curate_demo
from oneday.display.console import Console

SEED = 2023
MIN_INSTANCES, MAX_INSTANCES = 500, 6_500
"""Number of instances of a synthetic task. Source: upstream NI files hold up to 6,500."""

TASKS_OF_THE_MIX = 300
"""Exact-match tasks that share the mix's quota. Source: the winner's list."""

BUCKETS, SAMPLES, PARAMETERS = BucketParameters(), SampleParameters(), AdaptiveParameters()

Answers = Mapping[str, Mapping[str, bool]]
"""Maps task and instance to whether the answer was right."""


def read_answers(predictions: Iterable[Prediction]) -> Answers:
    parameters = preset("recommended").scores
    rouge_l = rouge_l_scorer(parameters)
    answers: dict[str, dict[str, bool]] = defaultdict(dict)
    for prediction in predictions:
        if prediction.kind is Kind.EXACT_MATCH:
            value = score(prediction, parameters, rouge_l).score
            answers[prediction.task][prediction.id] = is_solved(prediction.kind, value, CandidateParameters())
    return answers


def synthetic_answers(num_tasks: int) -> Answers:
    rng = random.Random(SEED)
    answers = {}
    for number in range(num_tasks):
        accuracy, size = rng.random(), rng.randint(MIN_INSTANCES, MAX_INSTANCES)
        answers[f"planted{number}"] = {str(i): rng.random() < accuracy for i in range(size)}
    return answers


def demo_answers() -> Answers:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        with contextlib.redirect_stdout(io.StringIO()):
            curate_demo(run, retain=0.0, redo=False, console=Console())
        return read_answers(read_predictions(run / PREDICTIONS / "predictions.jsonl"))


def ask(answers: Answers, seed: int, target: int) -> list[Progress]:
    """Replays one adaptive run."""

    def answer(chunks: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[tuple[bool, bool]]]:
        return {task: [(answers[task][i], True) for i in ids] for task, ids in chunks.items()}

    tasks = [Progress(task=name, order=shuffled(list(ids), seed=seed, task=name)) for name, ids in answers.items()]
    rounds = ask_adaptively(tasks, answer, target=target, samples=SAMPLES, buckets=BUCKETS, parameters=PARAMETERS)
    assert sum(rounds) == sum(t.num_asked for t in tasks)
    return tasks


def replay(answers: Answers, num_seeds: int, target: int) -> dict[str, object]:
    whole = {name: task_bucket(sum(ids.values()), len(ids), BUCKETS) for name, ids in answers.items()}
    num_asked, num_differing = 0, dict.fromkeys(answers, 0)
    start = time.perf_counter()
    for seed in range(num_seeds):
        for progress in ask(answers, seed, target):
            num_asked += progress.num_asked
            num_differing[progress.task] += progress.bucket(BUCKETS) != whole[progress.task]
    seconds = time.perf_counter() - start
    return {
        "target_rows": target,
        "prompts_saved": round(1 - num_asked / (num_seeds * sum(map(len, answers.values()))), 4),
        "bucket_differs": round(sum(num_differing.values()) / (num_seeds * len(answers)), 5),
        "worst_task_differs": round(max(num_differing.values()) / num_seeds, 4),
        "overhead_s_per_run": round(seconds / num_seeds, 4),
    }


def replay_both(answers: Answers, num_seeds: int, target: int) -> dict[str, object]:
    return {
        "tasks": len(answers),
        "instances": sum(map(len, answers.values())),
        "with_quota": replay(answers, num_seeds, target),
        "certainty_alone": replay(answers, num_seeds, 0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("predictions", type=Path, nargs="*")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=30, help="number of synthetic tasks")
    parser.add_argument("--planted-only", action="store_true")
    arguments = parser.parse_args()
    quota = MIXES["200k"][NI_EXACT_MATCH]
    result: dict[str, object] = {"seeds": arguments.seeds, "error_bound": PARAMETERS.error}
    if arguments.predictions:
        answers = read_answers(p for path in arguments.predictions for p in read_predictions(path))
        if not answers:
            parser.error('no exact-match prediction in these files. Each line needs "kind": "exact_match".')
        result["given"] = replay_both(answers, arguments.seeds, quota * len(answers) // TASKS_OF_THE_MIX)
    elif not arguments.planted_only:
        result["demo"] = replay_both(demo_answers(), arguments.seeds, round(quota * SCALE))
    answers = synthetic_answers(arguments.tasks)
    result["planted"] = replay_both(answers, arguments.seeds, quota * len(answers) // TASKS_OF_THE_MIX)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
