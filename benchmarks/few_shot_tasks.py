"""Few-shot prompts of many tasks, few of each: this checkout against an earlier one, with a real model.

    python benchmarks/few_shot_tasks.py --base models/smollm2-135m --tasks natural-instructions/tasks --before CHECKOUT

Both answer the same requests with the same weights and threads, each in a process of its own, round after round. Prints
one JSON line: prompts per second and per CPU second, their ratios, the load of the machine, and how many answers equal.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]


def answer(base: Path, folder: Path, num_tasks: int, num: int) -> dict[str, Any]:
    """Answers the first instances of tasks that are spread evenly over the folder, with whichever code is imported."""
    import torch

    from core.generation.transformers import TransformersPredictor
    from curation.ni.few_shot import PromptParameters, build_requests
    from curation.ni.kind import kind_of
    from curation.ni.task import read_task, task_paths

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    predictor = TransformersPredictor(base)
    paths = task_paths([folder])
    requests = []
    for path in paths[:: max(1, len(paths) // num_tasks)][:num_tasks]:
        task = read_task(path).task
        requests += build_requests(
            task, kind_of(task).kind, task.instances[:num], PromptParameters(), predictor.fits, lambda dropped: None
        )
    wall, cpu = time.perf_counter(), time.process_time()
    texts = [completion.text for completion in predictor.respond(requests)]
    return {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu, "texts": texts}


def run(checkout: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """`answer` with the code of a checkout."""
    command = [
        sys.executable, "-P", str(Path(__file__).resolve()), "--answer", "--base", str(arguments.base),
        "--tasks", str(arguments.tasks), "--num-tasks", str(arguments.num_tasks), "--num", str(arguments.num),
    ]  # fmt: skip
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(checkout)}, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rates(rounds: Mapping[str, list[dict[str, Any]]], name: str, num: int) -> dict[str, float]:
    return {who: round(num / statistics.median(r[name] for r in of), 3) for who, of in rounds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--tasks", type=Path, required=True)
    parser.add_argument("--before", type=Path, help="an earlier checkout")
    parser.add_argument("--num-tasks", type=int, default=10)
    parser.add_argument("--num", type=int, default=4, help="instances of each task")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--answer", action="store_true", help="answer with the imported code, as the rounds do")
    arguments = parser.parse_args()
    if arguments.answer:
        print(json.dumps(answer(arguments.base, arguments.tasks, arguments.num_tasks, arguments.num)))
        return
    if arguments.before is None:
        parser.error("--before is needed")
    rounds: dict[str, list[dict[str, Any]]] = {"before": [], "after": []}
    for _ in range(arguments.rounds):
        for name, checkout in (("before", arguments.before), ("after", HERE)):
            rounds[name].append(run(checkout.resolve(), arguments))
    before, after = rounds["before"][0]["texts"], rounds["after"][0]["texts"]
    wall, cpu = rates(rounds, "seconds", len(after)), rates(rounds, "cpu_seconds", len(after))
    print(
        json.dumps(
            {
                "prompts": len(after),
                "tasks": arguments.num_tasks,
                "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
                "load": round(os.getloadavg()[0], 1),
                "prompts_per_s": wall,
                "prompts_per_cpu_s": cpu,
                "ratio": round(wall["after"] / wall["before"], 2),
                "ratio_of_cpu": round(cpu["after"] / cpu["before"], 2),
                "equal_answers": sum(a == b for a, b in zip(before, after, strict=True)),
            }
        )
    )


if __name__ == "__main__":
    main()
