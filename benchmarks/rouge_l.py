"""Time and scores of ROUGE-L by `rouge-score-rs` against `rouge-score` with stemmer, on the same texts.

    python benchmarks/rouge_l.py [PREDICTIONS.jsonl] [--before REVISION]

The benchmark also times the tokenizer of `recommended` and, with `--before`, the scorer of an earlier revision of this
repository (RapidFuzz over stems, before rouge-score-rs). The texts are the first 2,000 of the given predictions
(default: ../shared/data/gpt3-predictions if it exists), and 2,000 random sentences of the demo's words. Prints one JSON
line: medians of five interleaved rounds, ratios, and the largest difference from the scores of `rouge-score`, which
must be 0.
"""

import argparse
import json
import random
import statistics
import subprocess
import time
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rouge_score import rouge_scorer

from core.generation.prediction import read_predictions
from core.score import RougeLScorer, WordsAndNumbersScorer
from oneday.demo.tasks import FRUITS, PEOPLE, PLACES, THINGS, TOWNS, VERBS

ROUNDS = 5
NUM_PAIRS = 2_000
REAL = Path(__file__).parent.parent / "../shared/data/gpt3-predictions/predictions.jsonl"
Pairs = list[tuple[str, tuple[str, ...]]]
Score = Callable[[str, tuple[str, ...]], float]


def synthetic_pairs() -> Pairs:
    rng = random.Random(1)
    words = [*FRUITS, *PEOPLE, *PLACES, *THINGS, *TOWNS, *VERBS, *VERBS.values()]

    def text() -> str:
        return " ".join(rng.choices(words, k=rng.randint(5, 60)))

    return [(text(), (text(),)) for _ in range(NUM_PAIRS)]


def rouge_score() -> Score:
    peer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    return lambda prediction, references: max(peer.score(r, prediction)["rougeL"].fmeasure for r in references)


def scorer_of_revision(revision: str) -> Callable[[], Score]:
    """Returns the `RougeLScorer` of an earlier revision."""
    command = ["git", "show", f"{revision}:core/score.py"]
    source = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent).stdout
    module = types.ModuleType("score_before")
    exec(compile(source, "score_before", "exec"), module.__dict__)  # noqa: S102
    scorer: Callable[[], Score] = module.RougeLScorer
    return scorer


def time_scorer(score: Score, texts: Pairs) -> tuple[float, list[float]]:
    start = time.perf_counter()
    scores = [score(prediction, references) for prediction, references in texts]
    return time.perf_counter() - start, scores


def measure(texts: Pairs, contenders: dict[str, Callable[[], Score]]) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    scores: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, build in contenders.items():  # a new scorer, because filling its caches is part of the cost
            spent, scores[name] = time_scorer(build(), texts)
            seconds[name].append(spent)
    medians = {name: statistics.median(values) for name, values in seconds.items()}

    def largest_difference(name: str) -> float:
        return max(abs(a - b) for a, b in zip(scores["rouge_score"], scores[name], strict=True))

    return {
        "pairs": len(texts),
        "median_s": {name: round(value, 4) for name, value in medians.items()},
        "ratio_to_rouge_score_rs": {
            name: round(value / medians["rouge_score_rs"], 2) for name, value in medians.items()
        },
        "largest_difference": {
            name: largest_difference(name) for name in contenders if name not in ("rouge_score", "recommended")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("predictions", type=Path, nargs="?", default=REAL if REAL.is_file() else None)
    parser.add_argument("--before", help="revision whose scorer is timed too; its libraries must be installed")
    arguments = parser.parse_args()
    contenders: dict[str, Callable[[], Score]] = {
        "rouge_score": rouge_score,
        "rouge_score_rs": RougeLScorer,
        "recommended": WordsAndNumbersScorer,
    }
    if arguments.before:
        contenders[f"before_{arguments.before}"] = scorer_of_revision(arguments.before)
    pair_lists = {"made": synthetic_pairs()}
    if arguments.predictions:
        given: Iterable[Any] = read_predictions(arguments.predictions)
        pair_lists = {"given": [(p.prediction, p.references) for p in given][:NUM_PAIRS], **pair_lists}
    print(json.dumps({name: measure(texts, contenders) for name, texts in pair_lists.items()}))


if __name__ == "__main__":
    main()
