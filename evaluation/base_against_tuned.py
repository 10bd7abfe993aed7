"""Base against tuned on held-out questions: both models asked, scored, compared; a stage of the run folder.

    comparisons, inputs = compare_models(run / SCORED, questions, base=..., lora_adapter=..., ...)

Where it sits: held_out -> **base_against_tuned** -> statistics.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from core.comparison import ANSWERS, COMPARISON, Comparison
from core.example.prompt import STOP
from core.files import read_as, sha256, write_json
from core.model.folder import model_fingerprint
from core.model.language_model import LanguageModel
from core.model.quantisation import Precision, Quantisation
from core.stage import Stage, Summary, Tally
from evaluation.held_out import SEED, Question, score_answer
from evaluation.statistics import Pair, compare

BATCH = 40
"""Questions that are answered together."""

OnProgress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""


def compare_models(
    folder: Path,
    questions: Sequence[Question],
    *,
    base: Path,
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
        inputs: What identifies the tuned model; the questions and the base are added.

    Returns:
        The comparison of each group of questions, and the inputs of the stage.
    """
    decides = {
        **inputs, "seed": SEED, "questions": len(questions), "max_new_tokens": max_new_tokens,
        "base": model_fingerprint(base), "asked": sha256(json.dumps([asdict(q) for q in questions]).encode()),
    }  # fmt: skip
    stage = Stage(folder, inputs=decides, redo=redo)
    if not stage.is_done:
        say(f"base against tuned: {len(questions)} questions that no training row repeats")
        answers = {
            who: _answers(base, adapter, precision, questions, max_new_tokens, who, on_progress)
            for who, adapter in (("base", None), ("tuned", lora_adapter))
        }
        rows, pairs = [], []
        for number, question in enumerate(questions):
            texts = {who: given[number] for who, given in answers.items()}
            scores = {who: score_answer(question, text) for who, text in texts.items()}
            pairs.append(Pair(group=question.group, base=scores["base"], tuned=scores["tuned"]))
            rows.append({**asdict(question), "texts": texts, "scores": scores})
        stage.write_rows(ANSWERS, rows)
        comparisons = compare(sorted(pairs, key=lambda p: p.group), seed=SEED)
        write_json(stage.path(COMPARISON), [asdict(c) for c in comparisons])
        stage.finish(Summary(tallies={"instance": Tally(read=len(rows), kept=len(rows))}))
    return read_as(list[Comparison], stage.path(COMPARISON)), decides


def _answers(
    base: Path,
    lora_adapter: Path | None,
    precision: Precision | Quantisation | None,
    questions: Sequence[Question],
    max_new_tokens: int,
    who: str,
    on_progress: OnProgress,
) -> list[str]:
    model = LanguageModel.load(base, lora_adapter=lora_adapter, precision=precision)
    answers: list[str] = []
    for start in range(0, len(questions), BATCH):
        prompts = [question.prompt for question in questions[start : start + BATCH]]
        answers += model.generate(prompts, max_new_tokens=max_new_tokens, stop=(STOP,))
        on_progress(f"ask {who}", len(answers), len(questions))
    return answers
