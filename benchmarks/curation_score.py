"""Scoring, bucketing and sampling of the same generated answers: our code against two peers.

    python benchmarks/curation_score.py [PREDICTIONS.jsonl] [--rounds 3] [--long 4000]

The peer `winner` follows the 2023 winner's script for generation tasks, with the package `rouge` (here only its
ROUGE-L; the script computes more). The peer `rouge_score` is the package of that name with stemmer in a plain loop. Our
code runs three times: with `--rouge rouge-score` (`oneday`), whose scores must equal those of `rouge_score`; with the
choices of `recommended`; and with the winner's choices and `rouge` (`oneday_as_winner`), whose scores must equal those
of `winner`. An empty text scores 1.0 here and 1 - 5e-9 in the package, so empty answers are compared separately. All
contenders use the winner's quotas. The texts are the given predictions (default: ../shared/data/gpt3-predictions if it
exists, else short synthetic ones), and long synthetic ones of about 120 words. Prints one JSON line: medians of
interleaved rounds, ratios, largest differences, and the number of rows drawn.
"""

import argparse
import json
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rouge import Rouge as RougePackage
from rouge_score import rouge_scorer

from core.generation.prediction import Prediction, read_predictions
from core.generation.request import Kind
from core.score import EmptyRule, Rouge, RougeText, Score, ScoreParameters, rouge_l_scorer, score
from curation.candidate import Candidate, CandidateParameters, is_solved
from curation.ni.bucket import BucketParameters, bucket_tasks, generation_bucket
from curation.preset import preset
from curation.sample import draw
from curation.sources.source import NI_GENERATION
from oneday.demo.tasks import FRUITS, PEOPLE, PLACES, THINGS, TOWNS, VERBS

SEED = 2023
REAL = Path(__file__).parent.parent / "../shared/data/gpt3-predictions/predictions.jsonl"
EDGES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Upper edges of the winner's seven buckets; answers with higher scores are never sampled."""

Predictions = Sequence[Prediction]
Contender = Callable[[Predictions], tuple[list[float], int]]
"""Returns the scores in the order of the predictions, and the number of rows drawn."""


def synthetic_predictions(num: int, min_words: int, max_words: int) -> list[Prediction]:
    """Makes seeded answers of `min_words` to `max_words` words; each repeats a random share of its reference."""
    rng = random.Random(f"{SEED}-{min_words}-{max_words}")
    words = [*FRUITS, *PEOPLE, *PLACES, *THINGS, *TOWNS, *VERBS, *VERBS.values()]
    predictions = []
    for number in range(num):
        reference = rng.choices(words, k=rng.randint(min_words, max_words))
        kept = rng.random()
        answer = " ".join(word if rng.random() < kept else rng.choice(words) for word in reference)
        predictions.append(
            Prediction(
                task=f"made{number % 8}",
                id=str(number),
                kind=Kind.GENERATION,
                num_shots=0,
                references=(" ".join(reference) + ".",),
                prediction=f"{answer}.\n\nand on",
                request_sha256="",
            )
        )
    return predictions


def data_sets(path: Path | None, num_long: int) -> dict[str, Predictions]:
    if path is None and REAL.is_file():
        path = REAL
    given = list(read_predictions(path)) if path else synthetic_predictions(4_000, 5, 20)
    return {
        "given": sorted(given, key=lambda p: p.task),
        "long": sorted(synthetic_predictions(num_long, 100, 140), key=lambda p: p.task),
    }


def num_drawn_by_winner(predictions: Predictions, scores: Sequence[float]) -> int:
    """Samples as the winner's script does: most of each task's worst bucket, and some of every other bucket."""
    buckets: dict[tuple[str, int], list[Prediction]] = defaultdict(list)
    for prediction, value in zip(predictions, scores, strict=True):
        for number, edge in enumerate(EDGES):
            if value < edge:
                buckets[prediction.task, number].append(prediction)
                break
    num = 0
    rng = random.Random(SEED)
    for (_, number), rows in buckets.items():
        rng.shuffle(rows)
        num += len(rows[: int((0.2 if number else 0.8) * len(rows))])
    return num


def clean(text: str) -> str:
    return text.strip().replace(".", "").lower()


def score_as_winner(predictions: Predictions) -> tuple[list[float], int]:
    rouge = RougePackage(metrics=["rouge-l"])
    scores = []
    for prediction in predictions:
        answer = clean(prediction.prediction.split("\n\n")[0])
        best = 0.0
        for given in prediction.references:
            reference = clean(given)
            results = rouge.get_scores(answer or reference, reference or answer)
            best = max(best, results[0]["rouge-l"]["f"])
        scores.append(best)
    return scores, num_drawn_by_winner(predictions, scores)


def score_with_rouge_score(predictions: Predictions) -> tuple[list[float], int]:
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    scores = []
    for prediction in predictions:
        answer = prediction.prediction.split("\n\n")[0]
        scores.append(max(scorer.score(r, answer)["rougeL"].fmeasure for r in prediction.references))
    return scores, num_drawn_by_winner(predictions, scores)


def score_with_oneday(parameters: ScoreParameters) -> Contender:
    """Scores with our code and samples with the winner's quotas, so that every contender draws as many rows."""
    buckets, samples = BucketParameters(), preset("birbal-scripts").samples

    def run(predictions: Predictions) -> tuple[list[float], int]:
        rouge_l = rouge_l_scorer(parameters)  # a new scorer, because filling its caches is part of the cost
        scores = [score(p, parameters, rouge_l) for p in predictions]
        bucket_tasks(scores, buckets)
        chosen, _ = draw((candidate(s, buckets) for s in scores), {NI_GENERATION: len(scores)}, samples)
        return [s.score for s in scores], len(chosen)

    return run


def candidate(scored: Score, buckets: BucketParameters) -> Candidate:
    return Candidate(
        source=NI_GENERATION,
        task=scored.task,
        id=scored.id,
        kind=scored.kind,
        bucket=generation_bucket(scored.score, buckets),
        solved=is_solved(scored.kind, scored.score, CandidateParameters()),
        exact=b"",
        num_tokens=0,
    )


CONTENDERS: dict[str, Contender] = {
    "winner": score_as_winner,
    "oneday_as_winner": score_with_oneday(
        ScoreParameters(rouge=Rouge.ROUGE, rouge_text=RougeText.CLEANED, empty=EmptyRule.REFERENCE)
    ),
    "rouge_score": score_with_rouge_score,
    "oneday": score_with_oneday(replace(preset("recommended").scores, rouge=Rouge.ROUGE_SCORE)),
    "oneday_recommended": score_with_oneday(preset("recommended").scores),
}


def differences(predictions: Predictions, scores: dict[str, list[float]]) -> dict[str, float]:
    """Largest absolute differences between the scores of contenders that must agree."""
    rows = list(zip(predictions, *(scores[name] for name in CONTENDERS), strict=True))
    as_winner = {True: 0.0, False: 0.0}
    for prediction, peer, own, *_ in rows:
        empty = not clean(prediction.prediction.split("\n\n")[0])
        as_winner[empty] = max(as_winner[empty], abs(peer - own))
    return {
        "oneday from rouge_score": max(abs(peer - own) for *_, peer, own, _ in rows),
        "oneday_as_winner from winner": as_winner[False],
        "the same, empty answers": as_winner[True],
    }


def measure(predictions: Predictions, rounds: int) -> dict[str, object]:
    for contender in CONTENDERS.values():
        contender(predictions[:8])  # imports are not timed
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    scores: dict[str, list[float]] = {}
    rows: dict[str, int] = {}
    for _ in range(rounds):
        for name, contender in CONTENDERS.items():
            start = time.perf_counter()
            scores[name], rows[name] = contender(predictions)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "predictions": len(predictions),
        "mean_words": round(statistics.mean(len(p.references[0].split()) for p in predictions), 1),
        "median_s": {name: round(value, 4) for name, value in medians.items()},
        "ratio_to_rouge_score": round(medians["rouge_score"] / medians["oneday"], 1),
        "ratio_to_rouge_score_recommended": round(medians["rouge_score"] / medians["oneday_recommended"], 1),
        "ratio_to_winner": round(medians["winner"] / medians["oneday"], 1),
        "ratio_to_winner_same_rouge": round(medians["winner"] / medians["oneday_as_winner"], 2),
        "largest_difference": differences(predictions, scores),
        "rows_drawn": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("predictions", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", type=int, default=4_000, help="number of long synthetic texts")
    arguments = parser.parse_args()
    data = data_sets(arguments.predictions, arguments.long)
    results = {name: measure(predictions, arguments.rounds) for name, predictions in data.items()}
    print(json.dumps({"rounds": arguments.rounds, **results}))


if __name__ == "__main__":
    main()
