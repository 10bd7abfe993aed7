"""Near-duplicates and contamination over 400,000 rows: this project against datatrove's own steps on the same rows.

    python benchmarks/near_duplicates.py [TASKS_FOLDER] [--rows 400000] [--suite gsm8k/train.jsonl] [--peer PYTHON]

`--peer` is the Python of an environment with `PEER`, which this project does not depend on. The rows are the inputs of
Natural Instructions, with 400 near copies (a word of each 200 is another) and 400 spans of the suite planted. Both
programs see texts only, 5-word shingles, 128 hashes and 13-grams. Each runs in one process, which counts its own
seconds of CPU and its peak memory.

Definitions differ: datatrove takes a shared band of 16 hashes for a repeat, and this project an estimated similarity of
0.9 besides; datatrove has no shingle of a row with fewer than five words, and cuts words otherwise. So decisions are
compared where both mean the same: longer rows whose exact Jaccard similarity to the row that they repeat is at least
`SURE` are to be dropped by both, and no row below `NEVER` by ours. Prints one JSON line; exit code 1 if they differ.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SHARED = ROOT / "../shared/data"
BANDS, HASHES = 8, 16
NGRAM = 13
PEER = "datatrove[io,processing]==0.10.1 spacy"
NUM_PLANTED = 400
SURE, NEVER, MOST_APART = 0.97, 0.8, 0.01
SHINGLE = 5
SEED = 2023


class Measured:
    """Seconds of CPU by phase, of this process."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = {}

    def phase(self, name: str, work: Callable[[], Any]) -> Any:
        """Runs a phase."""
        started = time.process_time()
        result = work()
        self.cpu_s[name] = round(time.process_time() - started, 1)
        return result

    def line(self, **more: object) -> str:
        """A JSON line with the peak of the memory."""
        status = Path("/proc/self/status").read_text()  # ru_maxrss counts the parent's pages too
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        return json.dumps({"cpu_s": self.cpu_s, "peak_mib": peak // 1024, **more})


def texts_of(folder: Path) -> Iterator[str]:
    """The texts of `rows.jsonl`, in order."""
    with (folder / "rows.jsonl").open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["text"]


def ours(folder: Path) -> str:
    """Drops rows as the curation does, but by texts alone."""
    sys.path.insert(0, str(ROOT))
    from curation.policies.contamination import Suites
    from curation.policies.duplicate import NearDuplicates, signature

    measured = Measured()
    near = NearDuplicates(threshold=0.9, path=folder / "signatures.bin")

    def sign() -> None:
        for text in texts_of(folder):
            near.add(signature(text, "", ""))

    measured.phase("signatures", sign)
    repeats: dict[int, int] = measured.phase("repeats", near.find)
    suites = measured.phase("index", lambda: Suites.read({"suite": folder / "suite.jsonl"}, ngram=NGRAM))
    found = measured.phase(
        "contaminated", lambda: [n for n, text in enumerate(texts_of(folder)) if suites.find(text) is not None]
    )
    return measured.line(repeats=sorted(repeats.items()), contaminated=found)


def theirs(folder: Path) -> str:
    """The same by datatrove's pipeline steps, in its environment."""
    from datatrove.data import Document
    from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupSignature,
    )
    from datatrove.utils.text import TextNormConfig, ngrams, simplify_text

    plain = TextNormConfig(norm_numbers=False)
    config = MinhashConfig(n_grams=5, num_buckets=BANDS, hashes_per_bucket=HASHES, norm_config=plain)
    measured = Measured()

    def documents() -> Iterator[Any]:
        for number, text in enumerate(texts_of(folder)):
            yield Document(text=text, id=str(number))

    signer = MinhashDedupSignature(output_folder=str(folder / "sign"), config=config)
    measured.phase("signatures", lambda: [None for _ in signer.run(documents(), 0, 1) or ()])

    def cluster() -> None:
        buckets = MinhashDedupBuckets(
            input_folder=str(folder / "sign"), output_folder=str(folder / "buckets"), config=config
        )
        for bucket in range(BANDS):
            buckets.run(None, bucket, BANDS)
        MinhashDedupCluster(
            input_folder=str(folder / "buckets"), output_folder=str(folder / "remove"), config=config,
            save_cluster_id=True,
        ).run(None, 0, 1)  # fmt: skip

    measured.phase("repeats", cluster)
    decontamination = NGramsDecontConfig(n_grams=NGRAM, norm_config=plain)
    check = NGramsDecontFilter(index_folder=str(folder), config=decontamination)

    def index() -> None:  # their step that makes it imports lighteval
        hashes = {}
        for line in (folder / "suite.jsonl").read_text(encoding="utf-8").splitlines():
            for text in json.loads(line).values():
                words = check.tokenizer.word_tokenize(simplify_text(text, plain))
                hashes |= {check.hash_func(" ".join(gram)): "suite" for gram in ngrams(words, NGRAM)}
        check._index_hashes = hashes

    measured.phase("index", index)
    found = measured.phase("contaminated", lambda: [int(d.id) for d in documents() if check.filter(d) is not True])
    return measured.line(repeats=kept_of_clusters(folder / "remove"), contaminated=found)


def kept_of_clusters(folder: Path) -> list[tuple[int, int]]:
    """(removed row, row of its cluster that stays) as datatrove's files say."""
    import numpy

    def numbers(pattern: str) -> list[int]:
        return [int(n) for file in sorted(folder.glob(pattern)) for n in numpy.fromfile(file, dtype="<u4")]

    removed, pairs = set(numbers("*.remove")), numbers("*.clusters")
    cluster_of = dict(zip(pairs[::2], pairs[1::2], strict=True))
    kept = {cluster: row for row, cluster in cluster_of.items() if row not in removed}
    return sorted((row, kept[cluster]) for row, cluster in cluster_of.items() if row in removed)


def write_rows(tasks: Path, suite: Path, num_rows: int, folder: Path) -> dict[str, list[int]]:
    """Writes `rows.jsonl` and `suite.jsonl`, and returns the numbers of the planted rows."""
    rng = random.Random(SEED)
    texts = [
        instance["input"]
        for path in sorted(tasks.glob("task*.json"))
        for instance in json.loads(path.read_text(encoding="utf-8"))["Instances"]
    ]
    if len(texts) > num_rows:
        texts = rng.sample(texts, num_rows)
    records = [json.loads(line) for line in suite.read_text(encoding="utf-8").splitlines()]
    num = len(texts)
    long = [n for n, text in enumerate(texts) if len(text.split()) >= 200]
    for n in rng.sample(long, min(NUM_PLANTED, len(long))):
        words = texts[n].split()
        for at in range(100, len(words), 200):
            words[at] = "another"
        texts.append(" ".join(words))
    copies = list(range(num, len(texts)))
    for _ in range(NUM_PLANTED):
        words = rng.choice(records)["question"].split()
        start = rng.randrange(max(1, len(words) - 20))
        texts.append(f"Read this. {' '.join(words[start : start + 20])} What follows from it, number {rng.random()}?")
    spans = list(range(num + len(copies), len(texts)))
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for number, text in enumerate(texts):
            file.write(json.dumps({"id": str(number), "text": text}) + "\n")
    with (folder / "suite.jsonl").open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps({"question": record["question"]}) + "\n")
    return {"copies": copies, "spans": spans}


def jaccard(a: str, b: str) -> float:
    """Of the sets of 5-word shingles, as the curation makes them."""
    from core.text import nfc, pieces

    def shingles(text: str) -> set[str]:
        words = pieces(nfc(text).lower())
        return {" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))}

    x, y = shingles(a), shingles(b)
    return len(x & y) / len(x | y)


def compared(folder: Path, planted: dict[str, list[int]], us: dict[str, Any], them: dict[str, Any]) -> dict[str, Any]:
    """What both dropped, and how alike the rows are that only one dropped."""
    texts = list(texts_of(folder))
    mine, other = dict(us["repeats"]), dict(them["repeats"])
    short = {n for n in (*mine, *other) if len(texts[n].split()) < SHINGLE}
    only = {"ours": mine.keys() - other.keys() - short, "theirs": other.keys() - mine.keys() - short}
    alike = {
        name: sorted(jaccard(texts[n], texts[(mine if name == "ours" else other)[n]]) for n in numbers)
        for name, numbers in only.items()
    }
    both = mine.keys() & other.keys()
    sure = {
        name: round(sum(value >= SURE for value in values) / max(1, len(both)), 4) for name, values in alike.items()
    }
    lowest = min((jaccard(texts[n], texts[of]) for n, of in mine.items()), default=1.0)
    return {
        "agree": max(sure.values()) <= MOST_APART and lowest >= NEVER,
        "dropped_by_both": len(both),
        "repeats_of_fewer_words": {"ours": len(short & mine.keys()), "theirs": len(short & other.keys())},
        "sure_and_dropped_by_one": sure,
        "dropped_by_one": {name: len(values) for name, values in alike.items()},
        "their_median_jaccard": {
            name: round(statistics.median(values), 3) for name, values in alike.items() if values
        },
        "lowest_jaccard_ours": round(lowest, 3),
        "planted_copies": {
            "ours": sum(n in mine for n in planted["copies"]), "theirs": sum(n in other for n in planted["copies"]),
            "of": len(planted["copies"]),
        },
        "planted_spans": {
            "ours": len(set(us["contaminated"]) & set(planted["spans"])),
            "theirs": len(set(them["contaminated"]) & set(planted["spans"])), "of": len(planted["spans"]),
        },
        "contaminated_by_both": len(set(us["contaminated"]) & set(them["contaminated"])),
        "contaminated_only": {
            "ours": len(set(us["contaminated"]) - set(them["contaminated"])),
            "theirs": len(set(them["contaminated"]) - set(us["contaminated"])),
        },
    }  # fmt: skip


def main() -> None:
    """Runs the benchmark and prints its JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("tasks", type=Path, nargs="?", default=SHARED / "natural-instructions" / "tasks")
    parser.add_argument("--suite", type=Path, default=SHARED / "gsm8k" / "train.jsonl")
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--peer", default=str(ROOT / ".datatrove" / "bin" / "python"))
    parser.add_argument("--measure", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, folder = options.measure
        print({"ours": ours, "theirs": theirs}[name](Path(folder)))
        return
    if not Path(options.peer).is_file():
        sys.exit(
            f"{options.peer}: not there. python -m venv .datatrove; .datatrove/bin/pip install 'datatrove[processing]'"
        )
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        planted = write_rows(options.tasks, options.suite, options.rows, folder)
        found = {}
        for name, python in (("ours", sys.executable), ("theirs", options.peer)):
            command = [python, str(Path(__file__).resolve()), "--measure", name, str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[name] = json.loads(done.stdout.splitlines()[-1])
        line: dict[str, Any] = {
            "benchmark": "near_duplicates", "rows": sum(1 for _ in texts_of(folder)),
            **{name: {key: values[key] for key in ("cpu_s", "peak_mib")} for name, values in found.items()},
            **compared(folder, planted, found["ours"], found["theirs"]),
        }  # fmt: skip
    for phase in found["ours"]["cpu_s"]:
        line[f"{phase}_ours_over_theirs"] = round(
            found["ours"]["cpu_s"][phase] / max(0.1, found["theirs"]["cpu_s"][phase]), 3
        )
    print(json.dumps(line))
    sys.exit(0 if line["agree"] else 1)


if __name__ == "__main__":
    main()
