"""Time and memory of all processes of a curation from stored predictions, compared with another checkout.

    python benchmarks/curation_replay.py [TASKS_FOLDER] [--against CHECKOUT] [--rounds 3] [--workers 2] [--thin 20]

The curation takes every task; the mix is NI's part of 700k with the recommended policies and Mistral's tokenizer. The
predictions are those of `curation_scale.py`, written once and then replayed. Each measurement runs in a process of its
own, and the checkouts take turns. The time includes reading the index of the predictions.

Prints one JSON line: medians of the rounds. `cpu_s` is the CPU time of all processes, which is more reliable than
`seconds` on a busy machine. `peak_mib` is the largest sum of the proportional set sizes (PSS: shared pages count once)
of the main process and its workers, sampled five times a second; `rss_mib` is the same with resident set sizes.
`same_mix` says whether all runs wrote the same train.jsonl and validation.jsonl.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
REAL = HERE / "../shared/data/natural-instructions/tasks"
INTERVAL_S = 0.2


class MemoryWatch:
    """Records the peak of the summed memory of this process and its children while the context is open."""

    def __init__(self) -> None:
        self.pss_kib = self.rss_kib = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(INTERVAL_S):
            sizes_of_pids = [memory_kib(pid) for pid in own_pids()]
            self.pss_kib = max(self.pss_kib, sum(pss for pss, _ in sizes_of_pids))
            self.rss_kib = max(self.rss_kib, sum(rss for _, rss in sizes_of_pids))


def cpu_s() -> float:
    """CPU time of this process and of its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def own_pids() -> set[str]:
    children = {pid for task in Path("/proc/self/task").glob("*/children") for pid in read(task).split()}
    return {str(os.getpid()), *children}


def memory_kib(pid: str) -> tuple[int, int]:
    """Returns the proportional and the resident set size; both are 0 if the process has ended."""
    sizes = {line.split(":")[0]: line.split()[1] for line in read(Path(f"/proc/{pid}/smaps_rollup")).splitlines()[1:]}
    return int(sizes.get("Pss", 0)), int(sizes.get("Rss", 0))


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def measure(tasks: Path, predictions: Path, workers: int) -> dict[str, Any]:
    """Runs one curation in this process, with the packages of the first checkout in PYTHONPATH."""
    from curation_scale import parameters

    from core.files import file_sha256, read_json
    from core.generation.replay import ReplayPredictor
    from core.model.token_counter import TokenCounter
    from core.run_folder import CURATION, MIX
    from curation.curate import curate
    from curation.stages.context import Curation

    with tempfile.TemporaryDirectory() as folder, MemoryWatch() as memory:
        run = Path(folder) / "run"
        start, cpu_before = time.perf_counter(), cpu_s()
        curation = Curation(
            run=run,
            tasks=(tasks,),
            predictor=ReplayPredictor([predictions]),
            parameters=parameters(tasks, "tokens"),
            tokenizer=TokenCounter.mistral_7b().path,
            workers=workers,
        )
        index_s = time.perf_counter() - start
        mix = curate(curation)
        seconds = time.perf_counter() - start
        return {
            "seconds": round(seconds, 2),
            "cpu_s": round(cpu_s() - cpu_before, 2),
            "index_s": round(index_s, 2),
            "stages": {name: round(read_json(run / name / "done.json")["seconds"], 2) for name in CURATION},
            "rows": read_json(run / MIX / "summary.json")["tallies"]["row"]["kept"],
            "peak_mib": round(memory.pss_kib / 1024),
            "rss_mib": round(memory.rss_kib / 1024),
            "disk_mib": round(sum(p.stat().st_size for p in run.rglob("*") if p.is_file()) / 2**20),
            "digest": "-".join(file_sha256(mix / f"{name}.jsonl") for name in ("train", "validation")),
        }


def write_predictions(tasks: Path, path: Path) -> None:
    """Writes an answer to every instance, in the format of stored model answers."""
    from curation_scale import PseudoPredictor, parameters

    from core.run_folder import PREDICTIONS
    from curation.stages.context import Curation
    from curation.stages.predictions import predict_stage
    from curation.stages.tasks import select_stage

    with tempfile.TemporaryDirectory() as folder:
        chosen = parameters(tasks, "words")
        curation = Curation(run=Path(folder), tasks=(tasks,), predictor=PseudoPredictor(), parameters=chosen)
        predict_stage(curation, select_stage(curation))
        (Path(folder) / PREDICTIONS / "predictions.jsonl").rename(path)


def in_child(checkout: Path, tasks: Path, predictions: Path, workers: int) -> dict[str, Any]:
    command = [sys.executable, __file__, str(tasks), "--workers", str(workers), "--measure", str(predictions)]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def medians(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Median of every number, in nested dictionaries too."""
    return {
        key: medians([run[key] for run in runs]) if isinstance(value, dict) else statistics.median(r[key] for r in runs)
        for key, value in runs[0].items()
        if key != "digest"
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("tasks", type=Path, nargs="?", default=REAL)
    parser.add_argument("--against", type=Path, help="another checkout of this project, measured in turns")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--thin", type=int, default=1, help="keep every N-th instance")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.tasks, arguments.measure, arguments.workers)))
        return
    from curation_scale import write_thinned

    checkouts = {"this": HERE, **({"against": arguments.against.resolve()} if arguments.against else {})}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        tasks = write_thinned(arguments.tasks, Path(folder), arguments.thin)
        predictions = Path(folder) / "predictions.jsonl"
        write_predictions(tasks, predictions)
        for _ in range(arguments.rounds):
            for name, checkout in checkouts.items():
                runs[name].append(in_child(checkout, tasks, predictions, arguments.workers))
    result: dict[str, Any] = {"rounds": arguments.rounds, "workers": arguments.workers}
    result |= {name: medians(of) for name, of in runs.items()}
    result["same_mix"] = len({run["digest"] for of in runs.values() for run in of}) == 1
    if arguments.against:
        pairs = list(zip(runs["this"], runs["against"], strict=True))
        result["seconds_ratio"] = round(statistics.median(a["seconds"] / b["seconds"] for a, b in pairs), 2)
        result["cpu_ratio"] = round(statistics.median(a["cpu_s"] / b["cpu_s"] for a, b in pairs), 2)
        result["peak_ratio"] = round(statistics.median(a["peak_mib"] / b["peak_mib"] for a, b in pairs), 2)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
