"""The `transformers` predictor against one prompt at a time, on the same requests with the demo's base model.

    python benchmarks/predictor_transformers.py [TASKS_FOLDER] [--tasks 4] [--requests 128] [--rounds 3]

Three variants use the same weights and threads: `oneday` (batches of 32, the examples of a task are read once),
`batches` (the same without reuse) and `one_by_one` (batch 1 without reuse). The requests are one shard of each of
several exact-match tasks, with 32 new tokens (default: ../shared/data/natural-instructions/tasks if it exists, else the
demo's corpus); tasks whose examples do not fit into the context are left out. Prints one JSON line: medians of
interleaved rounds, ratios, and the share of answers that equal those of `one_by_one` (sums of floats depend on the
shape of a batch).
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch

from core.generation.request import Kind, Request
from core.generation.transformers import TransformersPredictor
from curation.ni.few_shot import PromptParameters, build_requests
from curation.ni.kind import kind_of
from curation.ni.task import Task, read_task, task_paths
from oneday.demo.tasks import write_corpus

BASE = Path(__file__).parent.parent / "oneday/demo/demo_base"
REAL = Path(__file__).parent.parent / "../shared/data/natural-instructions/tasks"
PEER = "one_by_one"


def exact_match_tasks(folder: Path) -> Iterator[Task]:
    for path in task_paths([folder]):
        task = read_task(path).task
        if kind_of(task).kind is Kind.EXACT_MATCH:
            yield task


def shard(task: Task, num: int, predictor: TransformersPredictor) -> list[Request]:
    """Returns a task's first requests that fit into the context with all examples."""
    found = build_requests(
        task, Kind.EXACT_MATCH, task.instances, PromptParameters(), predictor.fits, drop=lambda dropped: None
    )
    whole = (r for r in found if r.num_shots == len(task.positive_examples))
    return list(islice(whole, num))


def shards(folder: Path, num_tasks: int, num: int, predictor: TransformersPredictor) -> list[list[Request]]:
    found = (shard(task, num, predictor) for task in exact_match_tasks(folder))
    return list(islice((requests for requests in found if len(requests) == num), num_tasks))


def complete_all(predictor: TransformersPredictor, requests: Sequence[Sequence[Request]]) -> list[str]:
    return [answer for shard_requests in requests for answer in predictor.complete(shard_requests)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--requests", type=int, default=128, help="number of requests of each task")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    predictors = {
        PEER: TransformersPredictor(BASE, batch_size=1, reuse_prefix=False),
        "batches": TransformersPredictor(BASE, reuse_prefix=False),
        "oneday": TransformersPredictor(BASE),
    }
    folder = arguments.folder or (REAL if REAL.is_dir() else None)
    with tempfile.TemporaryDirectory() as demo:
        if folder is None:
            write_corpus(Path(demo))
        requests = shards(folder or Path(demo), arguments.tasks, arguments.requests, predictors["oneday"])
    seconds: dict[str, list[float]] = {name: [] for name in predictors}
    texts: dict[str, list[str]] = {}
    for predictor in predictors.values():
        predictor.complete(requests[0][:2])
    for _ in range(arguments.rounds):
        for name, predictor in predictors.items():
            start = time.perf_counter()
            texts[name] = complete_all(predictor, requests)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    num = len(texts[PEER])
    print(
        json.dumps(
            {
                "data": "NI" if folder else "demo",
                "tasks": [shard_requests[0].task for shard_requests in requests],
                "requests": num,
                "mean_prompt_characters": round(
                    statistics.mean(len(r.prompt) for shard_requests in requests for r in shard_requests)
                ),
                "threads": torch.get_num_threads(),
                "rounds": arguments.rounds,
                "median_s": {name: round(value, 2) for name, value in medians.items()},
                "requests_per_s": {name: round(num / value, 1) for name, value in medians.items()},
                "ratio_to_one_by_one": {name: round(medians[PEER] / value, 1) for name, value in medians.items()},
                "ratio_to_batches": round(medians["batches"] / medians["oneday"], 2),
                "equal_answers": {
                    name: round(sum(a == b for a, b in zip(texts[PEER], found, strict=True)) / num, 4)
                    for name, found in texts.items()
                },
            }
        )
    )


if __name__ == "__main__":
    main()
