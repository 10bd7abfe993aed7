"""The whole of `curate` over all task files: memory and time, and how both grow with the number of instances.

    python benchmarks/curation_scale.py [TASKS_FOLDER] [--rounds 3] [--workers 2] [--thin 20]

Every task is taken, whatever its language, category or licence; the mix is NI's part of 700k. Predictions come from a
seeded generator: right, corrupted or unrelated answers, by a difficulty drawn per task. Each measurement is a process
of its own, on all instances and on every second one, in pairs. Two variants: `words` counts no tokens, `tokens` has the
recommended policies with Mistral's tokenizer. `--thin 20` takes one instance of 20, for a quick look.

Prints one JSON line: medians of the rounds. `peak_mib` is the main process's resident peak (RUSAGE_SELF) and that of
its largest worker (VmHWM, looked up five times a second). RUSAGE_CHILDREN stands beside it: it is no less than what
the main process held when it started a worker, since a fresh process counts the pages that it had before exec.
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
    """Answers made of a request's own references."""

    in_flight = 1
    keeps_answers = False
    revision = f"pseudo-{SEED}"

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Nothing is too long for a generator."""
        return True

    def complete(self, requests: Sequence[Request]) -> list[str]:
        """An answer to each request."""
        return [answer(request) for request in requests]


def answer(request: Request) -> str:
    right = share(request.task)
    chance = share(request.task, request.id)
    if chance < right:
        return request.references[0]
    if chance < right + 0.7 * (1 - right):
        return corrupted(request)
    return " ".join(FILLER[: 1 + zlib.crc32(request.id.encode()) % len(FILLER)])


def corrupted(request: Request) -> str:
    """The reference with some words dropped and some replaced, the more the harder."""
    keep = share(request.id, "keep")
    words = []
    for number, word in enumerate(request.references[0].split()):
        chance = share(request.id, str(number))
        if chance < keep:
            words.append(word)
        elif chance < (1 + keep) / 2:
            words.append(FILLER[number % len(FILLER)])
    return " ".join(words)


def share(*texts: str) -> float:
    """A number in [0, 1) that hangs on the texts alone."""
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
    """One curation in this process."""
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
    """Resident peaks of this process's children, in KiB, as they are seen."""
    peaks, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(0.2):
            children = {pid for task in Path("/proc/self/task").glob("*/children") for pid in read(task).split()}
            for pid in children:
                lines = read(Path(f"/proc/{pid}/status")).splitlines()
                peaks[0] = max(peaks[0], *(int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()


def read(path: Path) -> str:
    """A file of /proc; empty if its process has ended."""
    try:
        return path.read_text()
    except OSError:
        return ""


def thinned(tasks: Path, folder: Path, step: int) -> Path:
    """The same files with every `step`-th instance; the folder itself if that is all."""
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
    """Of every number, inside dictionaries too."""
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
            "100": thinned(arguments.tasks, Path(folder), arguments.thin),
            "50": thinned(arguments.tasks, Path(folder), 2 * arguments.thin),
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
            **{percent: medians(found) for percent, found in by_percent.items()},
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
