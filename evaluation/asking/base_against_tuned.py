"""Base against tuned on held-out questions: both models asked, scored, compared; a stage of the run folder.

    comparisons, inputs = compare_models(run / SCORED, questions, base=..., lora_adapter=..., ...)

The stage holds the responses of both models in the form that `oneday evaluate held-out` reads.

Where it sits: held_out, generation -> **base_against_tuned**; scoring and difference give the figures.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from core.comparison import ANSWERS, COMPARISON, OVERALL, Comparison
from core.files import read_as, sha256, write_json
from core.generation.answer_store import AnswerStore
from core.generation.transformers import TransformersPredictor
from core.model.folder import model_fingerprint
from core.model.quantisation import Precision, Quantisation
from core.stage import SCRATCH, Stage, Summary, Tally
from evaluation.asking.generation import Asked, GenerationSettings, generate
from evaluation.cells import ScoredItem
from evaluation.difference import Difference, differences
from evaluation.held_out import GROUP, SCORE, SEED, HeldOut, Question
from evaluation.join import join
from evaluation.responses import read_responses, write_responses
from evaluation.scoring import Evaluation, Figure, evaluate
from evaluation.suite import Template

BATCH = 40
"""Questions that are answered together."""

BASE, TUNED = "base", "tuned"
_IDENTITY = ("suite", "language", "id")
"""Fields of a question that do not decide what is asked."""

OnProgress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""


def compare_models(
    folder: Path,
    questions: Sequence[Question],
    *,
    base: Path,
    tuned: Path | None = None,
    lora_adapter: Path | None,
    precision: Precision | Quantisation | None,
    inputs: Mapping[str, object],
    max_new_tokens: int,
    redo: bool,
    say: Callable[[str], None],
    on_progress: OnProgress,
) -> tuple[list[Comparison], dict[str, object]]:
    """Asks both models greedily, without shots, in the precision of training; a finished comparison is read again.

    Args:
        folder: The stage that keeps every answer.
        tuned: The tuned model, where all weights were trained; None: `lora_adapter` on the base.
        inputs: What identifies the tuned model; the questions and the base are added.

    Returns:
        The comparison of each group of questions, and the inputs of the stage.
    """
    asked = [{key: value for key, value in asdict(q).items() if _decides(key, value)} for q in questions]
    decides = {
        **inputs, "seed": SEED, "questions": len(questions), "max_new_tokens": max_new_tokens,
        "base": model_fingerprint(base), "asked": sha256(json.dumps(asked).encode()),
    }  # fmt: skip
    stage = Stage(folder, inputs=decides, redo=redo)
    if not stage.is_done:
        say(f"base against tuned: {len(questions)} questions that no training row repeats")
        suite = HeldOut(questions)
        base_scores, tuned_scores = (
            _evaluate(stage, suite, model, adapter, precision, max_new_tokens, who, on_progress)
            for who, model, adapter in ((BASE, base, None), (TUNED, tuned or base, lora_adapter))
        )
        shutil.rmtree(stage.path(SCRATCH), ignore_errors=True)
        stage.write_rows(ANSWERS, _rows(base_scores, tuned_scores))
        write_json(stage.path(COMPARISON), [asdict(c) for c in comparisons_of(base_scores, tuned_scores)])
        stage.finish(Summary(tallies={"instance": Tally(read=len(questions), kept=len(questions))}))
    return read_as(list[Comparison], stage.path(COMPARISON)), decides


def _decides(key: str, value: object) -> bool:
    """Whether a field decides what is asked. A question of earlier versions has no messages."""
    return key not in _IDENTITY and not (key == "messages" and not value)


def _evaluate(
    stage: Stage,
    suite: HeldOut,
    base: Path,
    lora_adapter: Path | None,
    precision: Precision | Quantisation | None,
    max_new_tokens: int,
    who: str,
    on_progress: OnProgress,
) -> Evaluation:
    """Loads, asks, writes the responses, scores."""
    defaults = GenerationSettings.of(suite.generation(), template=Template.PLAIN)
    settings = replace(defaults, max_new_tokens=max_new_tokens)
    predictor = TransformersPredictor(base, lora_adapter=lora_adapter, precision=precision, batch_size=BATCH)
    try:
        with AnswerStore(stage.path(SCRATCH) / f"{who}.jsonl") as store:
            found = generate(
                suite,
                predictor,
                settings,
                asked=Asked(engine="transformers", checkpoint={"name": who}, batch_size=BATCH),
                store=store,
                on_progress=lambda done, total: on_progress(f"ask {who}", done, total),
            )
    finally:
        predictor.close()
    path = stage.path(f"{who}.jsonl")
    manifest = {"precision": str(precision), "unanswered": dict(found.unanswered)}
    write_responses(path, found.rows, suite_sha256=suite.fingerprint(), settings=manifest)
    responses = read_responses(path)
    return evaluate(suite, join(suite, responses), responses, seed=SEED)


def _rows(base: Evaluation, tuned: Evaluation) -> Iterator[dict[str, object]]:
    """Every question with both answers and their scores. A conversation is shown as the input."""
    for theirs, ours in zip(base.rows, tuned.rows, strict=True):
        question = ours.item
        assert isinstance(question, Question)
        said = "\n\n".join(f"{message.role}: {message.content}" for message in question.messages)
        yield {
            **asdict(question),
            **({"input": said} if said else {}),
            "texts": {BASE: theirs.response.text, TUNED: ours.response.text},
            "scores": {BASE: _score(theirs), TUNED: _score(ours)},
        }


def _score(row: ScoredItem) -> float | None:
    return next(outcome.value for outcome in row.outcomes if outcome.metric == SCORE)


def comparisons_of(base: Evaluation, tuned: Evaluation) -> list[Comparison]:
    """Every group by its name, then all questions together."""
    found = differences(tuned, base, seed=SEED)
    groups = [
        _comparison(name, base.by[GROUP][name][SCORE], tuned.by[GROUP][name][SCORE], of[SCORE])
        for name, of in found.by[GROUP].items()
    ]
    return [*groups, _comparison(OVERALL, base.metrics[SCORE], tuned.metrics[SCORE], found.metrics[SCORE])]


def _comparison(group: str, base: Figure, tuned: Figure, difference: Difference) -> Comparison:
    assert base.value is not None
    assert tuned.value is not None
    assert difference.interval is not None
    assert difference.p is not None
    low, high = difference.interval
    return Comparison(
        group=group,
        num=tuned.n,
        base=round(base.value, 4),
        tuned=round(tuned.value, 4),
        low=round(low, 4),
        high=round(high, 4),
        p=round(difference.p, 5),
    )
