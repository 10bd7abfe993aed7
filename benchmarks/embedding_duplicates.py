"""Duplicates by embeddings: what they would drop beyond near-duplicates of words, and whether it asks the same.

    python benchmarks/embedding_duplicates.py [TASKS_FOLDER] [--rows 100000] [--peer PYTHON]

`--peer` is the Python of an environment with `PEER`, which this project does not depend on: of the libraries that were
looked at, the one whose wheel holds weights and tokenizer, so that it works without a model hub. semhash takes its
weights from there.

Rows of one task are compared by their inputs. A row counts as dropped if an earlier row that stays is at least as
similar as the threshold, by the cosine of the embeddings or by the curation's own estimate. Two rows of which each has
another answer are no duplicates: dropping one loses what it teaches. So each threshold comes with the share of dropped
rows whose answer equals that of the row that stays, and with the share by chance in the same tasks. Prints one JSON
line.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SHARED = ROOT / "../shared/data"
PEER = "wordllama==0.3.9"
THRESHOLDS = (0.9, 0.95, 0.98, 0.995)
OURS = 0.9
SEED = 2023


def rows_of(folder: Path) -> list[dict[str, str]]:
    """Of `rows.jsonl`, in order: task, input, answer."""
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]


def by_task(rows: list[dict[str, str]]) -> dict[str, list[int]]:
    """Task -> the numbers of its rows."""
    found: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        found[row["task"]].append(number)
    return found


def theirs(folder: Path) -> dict[str, Any]:
    """Threshold -> dropped row -> the row that stays."""
    import numpy as np
    import wordllama

    rows, started = rows_of(folder), time.process_time()
    package = Path(wordllama.__file__).parent  # its own search looks beside the folder that holds the tokenizer
    model = wordllama.WordLlama.load(cache_dir=package, disable_download=True)
    vectors = np.concatenate(
        [model.embed([row["input"] for row in rows[n : n + 1_000]], norm=True) for n in range(0, len(rows), 1_000)]
    )
    dropped: dict[str, dict[int, int]] = {str(threshold): {} for threshold in THRESHOLDS}
    for numbers in by_task(rows).values():
        similar = vectors[numbers] @ vectors[numbers].T
        for threshold in THRESHOLDS:
            stays = np.ones(len(numbers), dtype=bool)
            for place in range(len(numbers)):
                near = np.flatnonzero((similar[place, :place] >= threshold) & stays[:place])
                if near.size:
                    stays[place] = False
                    dropped[str(threshold)][numbers[place]] = numbers[int(near[0])]
    return {"cpu_s": round(time.process_time() - started, 1), "dropped": dropped}


def ours(folder: Path) -> dict[str, Any]:
    """The same by the curation's shingles."""
    sys.path.insert(0, str(ROOT))
    from curation.policies.duplicate import NearDuplicates, signature

    rows, started = rows_of(folder), time.process_time()
    near = NearDuplicates(threshold=OURS, path=folder / "signatures.bin")
    for row in rows:
        near.add(signature(row["input"], "", ""))
    task = {n: row["task"] for n, row in enumerate(rows)}
    found = {n: of for n, of in near.find().items() if task[n] == task[of]}
    return {"cpu_s": round(time.process_time() - started, 1), "dropped": {str(OURS): found}}


def write_rows(tasks: Path, num_rows: int, folder: Path) -> int:
    """Writes `rows.jsonl`: rows of all tasks at random, in their order."""
    rows = [
        {"task": path.stem, "input": instance["input"], "answer": " ".join(instance["output"][0].split()).casefold()}
        for path in sorted(tasks.glob("task*.json"))
        for instance in json.loads(path.read_text(encoding="utf-8"))["Instances"]
    ]
    chosen = sorted(random.Random(SEED).sample(range(len(rows)), min(num_rows, len(rows))))
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for number in chosen:
            file.write(json.dumps(rows[number]) + "\n")
    return len(chosen)


def judged(rows: list[dict[str, str]], dropped: dict[str, int], words: set[int]) -> dict[str, Any]:
    """How many rows are dropped, which of them by words too, and what their answers say."""
    rng, tasks = random.Random(SEED), by_task(rows)
    chance = same = 0
    for number, of in ((int(n), of) for n, of in dropped.items()):
        same += rows[number]["answer"] == rows[of]["answer"]
        other = number
        while other == number:
            other = rng.choice(tasks[rows[number]["task"]])
        chance += rows[number]["answer"] == rows[other]["answer"]
    num = max(1, len(dropped))
    return {
        "dropped": len(dropped), "not_by_words": len({int(n) for n in dropped} - words),
        "same_answer": round(same / num, 3), "same_answer_by_chance": round(chance / num, 3),
    }  # fmt: skip


def main() -> None:
    """Runs the benchmark and prints its JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tasks", type=Path, nargs="?", default=SHARED / "natural-instructions" / "tasks")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--peer", default=str(ROOT / ".embeddings" / "bin" / "python"))
    parser.add_argument("--measure", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, folder = options.measure
        print(json.dumps({"ours": ours, "theirs": theirs}[name](Path(folder))))
        return
    if not Path(options.peer).is_file():
        sys.exit(f"{options.peer}: not there. python -m venv .embeddings; .embeddings/bin/pip install '{PEER}'")
    with tempfile.TemporaryDirectory() as scratch:
        folder, found = Path(scratch), {}
        num = write_rows(options.tasks, options.rows, folder)
        for name, python in (("ours", sys.executable), ("theirs", options.peer)):
            command = [python, str(Path(__file__).resolve()), "--measure", name, str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[name] = json.loads(done.stdout.splitlines()[-1])
        rows = rows_of(folder)
    words = {int(n) for n in found["ours"]["dropped"][str(OURS)]}
    line = {"benchmark": "embedding_duplicates", "rows": num, "tasks": len(by_task(rows))}
    for name, values in found.items():
        judgements = {threshold: judged(rows, dropped, words) for threshold, dropped in values["dropped"].items()}
        line |= {name: {"cpu_s": values["cpu_s"], "thresholds": judgements}}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
