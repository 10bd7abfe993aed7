"""`oneday compare`: base against tuned on held-out questions, stored in 10_scores with every answer."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from curation.files import read_as, sha256, write_json
from curation.language_model import LanguageModel
from curation.model_folder import model_fingerprint
from curation.prompt import STOP
from curation.quantisation import Precision, Quantisation
from curation.stage import Stage, Summary, Tally
from curation.stages.context import MIX
from harness.compare import ANSWERS, COMPARISON, SCORED, Comparison, Pair, compare
from harness.errors import DataError
from harness.manifest import read_manifest, record
from harness.pick import PICK, PICKED, read_picked
from oneday.console import Console
from oneday.held_out import SEED, Question, held_out_questions, score_answer
from submission.checkpoint import find_served

BATCH = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest:
    """The options of `oneday compare`, as given."""

    run: Path
    num: int = 200
    base: Path | None = None
    base_changed: bool = False
    """The base may be another one than in training."""
    mix: Path | None = None
    max_new_tokens: int = 128
    redo: bool = False


def run_compare(request: CompareRequest, console: Console) -> None:
    """Asks both models and shows the difference."""
    if not (request.run / PICK / PICKED).is_file():
        raise DataError(f"{request.run}: nothing picked in it. Train first, or run `oneday pick {request.run}`.")
    mix = request.mix or mix_of(request.run)
    if not (mix / "validation.jsonl").is_file():
        raise DataError(f"{mix}: no validation.jsonl in it. Give the mix of the run with --mix.")
    comparisons = compare_run(
        request.run,
        held_out_questions(mix, request.num),
        base=request.base,
        base_changed=request.base_changed,
        max_new_tokens=request.max_new_tokens,
        redo=request.redo,
        console=console,
    )
    console.result({"run": str(request.run), "groups": [asdict(c) for c in comparisons]})


def mix_of(run: Path) -> Path:
    """The mix that a run was trained on: its own, else the folder on record."""
    own = run / MIX
    return own if own.is_dir() else Path(str(read_manifest(run).get("train", {}).get("mix_path", own)))


def compare_run(
    run: Path,
    questions: Sequence[Question],
    *,
    base: Path | None,
    base_changed: bool = False,
    max_new_tokens: int,
    redo: bool,
    console: Console,
) -> list[Comparison]:
    """Base and picked model on the same questions, both in the precision of training, greedy, without shots."""
    served = find_served(run, base=base, base_changed=base_changed)
    picked = read_picked(run)
    inputs = {
        "picked": picked.checkpoint, "loss": picked.validation_loss, "seed": SEED,
        "questions": len(questions), "max_new_tokens": max_new_tokens, "base": model_fingerprint(served.base),
        "asked": sha256(json.dumps([asdict(question) for question in questions]).encode()),
    }  # fmt: skip
    stage = Stage(run / SCORED, inputs=inputs, redo=redo)
    if not stage.is_done:
        console.say(f"base against tuned: {len(questions)} questions that no training row repeats")
        answers = {
            who: _answers(served.base, adapter, served.precision, questions, max_new_tokens, _progress(console, who))
            for who, adapter in (("base", None), ("tuned", served.lora_adapter))
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
    comparisons = read_as(list[Comparison], stage.path(COMPARISON))
    record(run, "compare", {**inputs, "groups": [asdict(c) for c in comparisons]})
    show_comparison(comparisons, console)
    return comparisons


def _progress(console: Console, who: str) -> Callable[[int, int], None]:
    return lambda done, total: console.progress(f"ask {who}", done, total)


def _answers(
    base: Path,
    adapter: Path | None,
    precision: Precision | Quantisation | None,
    questions: Sequence[Question],
    max_new_tokens: int,
    on_progress: Callable[[int, int], None],
) -> list[str]:
    model = LanguageModel.load(base, lora_adapter=adapter, precision=precision)
    answers: list[str] = []
    for start in range(0, len(questions), BATCH):
        prompts = [question.prompt for question in questions[start : start + BATCH]]
        answers += model.generate(prompts, max_new_tokens=max_new_tokens, stop=(STOP,))
        on_progress(len(answers), len(questions))
    return answers


def show_comparison(comparisons: list[Comparison], console: Console) -> None:
    """Means, difference, interval, p."""
    rows = [
        (
            c.group, str(c.num), f"{c.base:.3f}", f"{c.tuned:.3f}", f"{c.tuned - c.base:+.3f}",
            f"[{c.low:+.3f}, {c.high:+.3f}]", f"{c.p:.4f}",
        )
        for c in comparisons
    ]  # fmt: skip
    title = "base against tuned: same zero-shot prompts, exact match or ROUGE-L, paired bootstrap"
    console.table(title, ("group", "n", "base", "tuned", "difference", "95 % interval", "p"), rows)
