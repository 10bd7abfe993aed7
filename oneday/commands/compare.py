"""`oneday compare`: base against tuned on held-out questions, stored in 10_scores with every answer."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from core.comparison import Comparison
from core.manifest import read_origins, record
from core.run_folder import MIX, PICK, SCORED
from evaluation.asking.base_against_tuned import compare_models
from evaluation.held_out import Question, held_out_questions
from harness.checkpoint.pick import PICKED, read_picked
from harness.errors import DataError
from oneday.display.console import Console
from oneday.requests.looking import CompareRequest
from submission.checkpoint import find_served


def run_compare(request: CompareRequest, console: Console) -> None:
    """Lets both models answer and shows the difference."""
    if not (request.run / PICK / PICKED).is_file():
        raise DataError(f"{request.run}: no picked checkpoint. Train first, or run `oneday pick {request.run}`.")
    mix = request.mix or mix_of(request.run)
    if not (mix / "validation.jsonl").is_file():
        raise DataError(f"{mix}: no validation.jsonl in it. Give the mix of the run with `mix=`.")
    comparisons = compare_run(
        request.run,
        held_out_questions(mix, request.questions),
        base=request.base,
        base_changed=request.base_changed_on_purpose,
        max_new_tokens=request.max_new_tokens,
        redo=request.redo,
        console=console,
    )
    console.result({"run": str(request.run), "groups": [asdict(c) for c in comparisons]})


def mix_of(run: Path) -> Path:
    """The mix that a run was trained on: its own, else the recorded folder."""
    own = run / MIX
    return own if own.is_dir() else Path(read_origins(run).train.mix_path or own)


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
    """Compares base and picked model on the same questions: zero-shot, greedy, in the precision of training."""
    served = find_served(run, base=base, base_changed=base_changed)
    picked = read_picked(run)
    comparisons, inputs = compare_models(
        run / SCORED,
        questions,
        base=served.base if served.lora_adapter else base or Path(picked.base_model),
        tuned=None if served.lora_adapter else served.base,
        lora_adapter=served.lora_adapter,
        precision=served.precision,
        inputs={"picked": picked.checkpoint, "loss": picked.validation_loss},
        max_new_tokens=max_new_tokens,
        redo=redo,
        say=console.say,
        on_progress=console.progress,
    )
    record(run, "compare", {**inputs, "groups": [asdict(c) for c in comparisons]})
    show_comparison(comparisons, console)
    return comparisons


def show_comparison(comparisons: list[Comparison], console: Console) -> None:
    """Shows means, difference, interval and p of each group."""
    rows = [
        (
            c.group, str(c.num), f"{c.base:.3f}", f"{c.tuned:.3f}", f"{c.tuned - c.base:+.3f}",
            f"[{c.low:+.3f}, {c.high:+.3f}]", f"{c.p:.4f}",
        )
        for c in comparisons
    ]  # fmt: skip
    title = "base against tuned: same zero-shot prompts, exact match or ROUGE-L, paired bootstrap"
    console.table(title, ("group", "n", "base", "tuned", "difference", "95 % interval", "p"), rows)
