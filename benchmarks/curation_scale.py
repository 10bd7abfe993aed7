"""Memory and time of a curation over all task files, and their growth with the number of instances.

    python benchmarks/curation_scale.py [TASKS_FOLDER] [--rounds 3] [--workers 2] [--thin 20]

The curation takes every task, whatever its language, category or licence; the mix is NI's part of 700k. A seeded
generator makes the predictions: right, corrupted or unrelated answers, by a difficulty drawn per task. Each measurement
runs in a process of its own, in pairs on all instances and on every second one. The variant `words` counts no tokens;
`tokens` has the recommended policies with Mistral's tokenizer. `--thin 20` keeps one instance of 20, for a quick run.

Prints one JSON line: medians of the rounds. `peak_mib` has the resident peak of the main process (RUSAGE_SELF) and of
its largest worker (VmHWM, sampled five times a second). `rusage_children` (RUSAGE_CHILDREN) is at least the size of the
main process when it started a worker, because a new process counts the pages that it had before exec.
"""

import argparse
import contextlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.files import read_json
from core.generation.prediction import canonical_name
from core.generation.request import Request
from core.model.token_counter import TokenCounter
from core.run_folder import CURATION, MIX, PREDICTIONS, TASKS
from curation.curate import curate
from curation.ni.task import task_paths
from curation.policies.licence import LicencePolicy
from curation.preset import CurationParameters
from curation.sources.source import MIXES, NI_SOURCES
from curation.stages.context import Curation

SEED = 2023
REAL = Path(__file__).parent.parent / "../shared/data/natural-instructions/tasks"
VARIANTS = ("words", "tokens")
FILLER = ["the", "answer", "cannot", "be", "told", "from", "what", "was", "given", "here"]


class PseudoPredictor:
    """A predictor that derives its answers from the references of a request."""

    in_flight = 1
    keeps_answers = False
    revision = f"pseudo-{SEED}"

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Accepts every prompt."""
        return True

    def complete(self, requests: Sequence[Request]) -> list[str]:
        """Returns an answer to each request."""
        return [answer(request) for request in requests]


def answer(request: Request) -> str:
    right = hash_share(request.task)
    chance = hash_share(request.task, request.id)
    if chance < right:
        return request.references[0]
    if chance < right + 0.7 * (1 - right):
        return corrupt(request)
    return " ".join(FILLER[: 1 + zlib.crc32(request.id.encode()) % len(FILLER)])


def corrupt(request: Request) -> str:
    """Returns the reference with a random share of its words dropped or replaced."""
    keep = hash_share(request.id, "keep")
    words = []
    for number, word in enumerate(request.references[0].split()):
        chance = hash_share(request.id, str(number))
        if chance < keep:
            words.append(word)
        elif chance < (1 + keep) / 2:
            words.append(FILLER[number % len(FILLER)])
    return " ".join(words)


def hash_share(*texts: str) -> float:
    """Returns a number in [0, 1) that depends only on the texts."""
    return zlib.crc32("\0".join((str(SEED), *texts)).encode()) / 2**32


def parameters(tasks: Path, variant: str) -> CurationParameters:
    p = CurationParameters(
        mix="700k",
        without=frozenset(MIXES["700k"]) - set(NI_SOURCES.values()),
        task_list=tuple(canonical_name(path.stem) for path in task_paths([tasks])),
    )
    policies = replace(p.policies, licences=LicencePolicy.ALL)
    return replace(p, policies=replace(policies, max_tokens=None) if variant == "words" else policies)


def measure(tasks: Path, variant: str, workers: int) -> dict[str, Any]:
    """Runs one curation in this process."""
    with tempfile.TemporaryDirectory() as folder, worker_peak() as peak:
        run = Path(folder) / "run"
        curation = Curation(
            run=run,
            tasks=(tasks,),
            predictor=PseudoPredictor(),
            parameters=parameters(tasks, variant),
            tokenizer=TokenCounter.mistral_7b().path if variant == "tokens" else None,
            workers=workers,
        )
        start = time.perf_counter()
        curate(curation)
        seconds = time.perf_counter() - start
        details = read_json(run / MIX / "summary.json")["details"]
        return {
            "seconds": round(seconds, 2),
            "stages": {name: round(read_json(run / name / "done.json")["seconds"], 2) for name in CURATION},
            "read": read_json(run / TASKS / "summary.json")["tallies"]["instance"]["read"],
            "predictions": read_json(run / PREDICTIONS / "summary.json")["tallies"]["instance"]["kept"],
            "rows": details["train_rows"] + details["validation_rows"],
            "peak_mib": {
                "main": mib(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss),
                "worker": mib(max(peak)),
                "rusage_children": mib(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss),
            },
            "disk_mib": mib(sum(p.stat().st_size for p in run.rglob("*") if p.is_file()) / 1024),
        }


def mib(kib: float) -> int:
    return round(kib / 1024)


@contextlib.contextmanager
def worker_peak() -> Iterator[list[int]]:
    """Samples the largest resident peak of this process's children, in KiB, while the context is open."""
    peaks, done = [0], threading.Event()

    def sample() -> None:
        while not done.wait(0.2):
            children = {pid for task in Path("/proc/self/task").glob("*/children") for pid in read(task).split()}
            for pid in children:
                lines = read(Path(f"/proc/{pid}/status")).splitlines()
                peaks[0] = max(peaks[0], *(int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()


def read(path: Path) -> str:
    """Reads a file of /proc; returns an empty text if its process has ended."""
    try:
        return path.read_text()
    except OSError:
        return ""


def write_thinned(tasks: Path, folder: Path, step: int) -> Path:
    """Copies the task files with every `step`-th instance; returns `tasks` itself if `step` is 1."""
    if step == 1:
        return tasks
    copies = folder / f"every{step}"
    copies.mkdir()
    for path in task_paths([tasks]):
        document = json.loads(path.read_text(encoding="utf-8"))
        document["Instances"] = document["Instances"][::step]
        (copies / path.name).write_text(json.dumps(document), encoding="utf-8")
    return copies


def in_child(tasks: Path, variant: str, workers: int) -> dict[str, Any]:
    command = [sys.executable, __file__, str(tasks), "--workers", str(workers), "--measure", variant]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def medians(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Median of every number, in nested dictionaries too."""
    return {
        key: medians([run[key] for run in runs]) if isinstance(value, dict) else statistics.median(r[key] for r in runs)
        for key, value in runs[0].items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("tasks", type=Path, nargs="?", default=REAL)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--thin", type=int, default=1)
    parser.add_argument("--variant", choices=VARIANTS, action="append")
    parser.add_argument("--measure", choices=VARIANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.tasks, arguments.measure, arguments.workers)))
        return
    variants = arguments.variant or VARIANTS
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {v: {"100": [], "50": []} for v in variants}
    with tempfile.TemporaryDirectory() as folder:
        inputs = {
            "100": write_thinned(arguments.tasks, Path(folder), arguments.thin),
            "50": write_thinned(arguments.tasks, Path(folder), 2 * arguments.thin),
        }
        for _ in range(arguments.rounds):
            for variant in variants:
                for percent, tasks in inputs.items():
                    runs[variant][percent].append(in_child(tasks, variant, arguments.workers))
    result: dict[str, Any] = {"rounds": arguments.rounds, "workers": arguments.workers}
    for variant, by_percent in runs.items():
        pairs = zip(by_percent["100"], by_percent["50"], strict=True)
        result[variant] = {
            "t100_over_t50": round(statistics.median(a["seconds"] / b["seconds"] for a, b in pairs), 2),
            **{percent: medians(measurements) for percent, measurements in by_percent.items()},
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
