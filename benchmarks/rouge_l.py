"""Our ROUGE-L against `rouge-score` with stemmer, on the same texts, in one run.

    python benchmarks/rouge_l.py [PREDICTIONS.jsonl]

Without a file the texts are random sentences of the demo's words. Prints one JSON line: medians of five interleaved
rounds, their ratio, and the largest difference between the two scores.
"""

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rouge_score import rouge_scorer

from curation.demo_tasks import FRUITS, PEOPLE, PLACES, THINGS, TOWNS, VERBS
from curation.predict import read_predictions
from curation.score import RougeLScorer

ROUNDS = 5
Pairs = list[tuple[str, tuple[str, ...]]]


def pairs(arguments: list[str]) -> Pairs:
    if arguments:
        return [(p.prediction, p.references) for p in read_predictions(Path(arguments[0]))]
    rng = random.Random(1)
    words = [*FRUITS, *PEOPLE, *PLACES, *THINGS, *TOWNS, *VERBS, *VERBS.values()]

    def text() -> str:
        return " ".join(rng.choices(words, k=rng.randint(5, 60)))

    return [(text(), (text(),)) for _ in range(2_000)]


def timed(score: Callable[[str, tuple[str, ...]], float], texts: Pairs) -> tuple[float, list[float]]:
    start = time.perf_counter()
    scores = [score(prediction, references) for prediction, references in texts]
    return time.perf_counter() - start, scores


def main() -> None:
    texts = pairs(sys.argv[1:])
    peer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)

    def theirs(prediction: str, references: tuple[str, ...]) -> float:
        return max(peer.score(reference, prediction)["rougeL"].fmeasure for reference in references)

    seconds: dict[str, list[float]] = {"rouge_score": [], "oneday": []}
    difference = 0.0
    for _ in range(ROUNDS):
        spent, expected = timed(theirs, texts)
        seconds["rouge_score"].append(spent)
        spent, found = timed(RougeLScorer(), texts)  # a fresh one: its caches are part of the cost
        seconds["oneday"].append(spent)
        difference = max(difference, *(abs(a - b) for a, b in zip(expected, found, strict=True)))
    medians = {name: round(statistics.median(values), 4) for name, values in seconds.items()}
    ratio = round(medians["rouge_score"] / medians["oneday"], 1)
    print(json.dumps({"pairs": len(texts), "median_s": medians, "ratio": ratio, "largest_difference": difference}))


if __name__ == "__main__":
    main()
