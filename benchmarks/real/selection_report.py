"""The results of selection.py, from the responses that are there.

    print(json.dumps(report(State(Path("runs/selection")))))

Where it sits: beside selection.py, whose text says what is compared.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.real.division import HELD_INSTANCES, HELD_TASKS
from benchmarks.real.paired import difference
from core.files import read_json, read_jsonl
from core.generation.prediction import read_predictions
from core.run_folder import PREDICTIONS, TASKS
from curation.ni.few_shot import PromptParameters, build_requests
from curation.ni.instances import INSTANCES, InstanceStore
from curation.ni.select import read_selected
from evaluation.held_out import Question, held_out_questions, score_answer
from evaluation.responses import read_responses

Scores = Mapping[str, float]
"""Question -> score."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The scores of every model that has answered, and what each question is."""

    questions: Mapping[str, Question]
    base: Scores
    arms: Mapping[str, Sequence[Scores]]
    """Arm -> scores of each seed that is measured."""

    def tasks(self, chosen: Callable[[Question], bool]) -> dict[str, str]:
        """Question -> task, of the chosen questions."""
        return {name: question.task for name, question in self.questions.items() if chosen(question)}

    def mean(self, scores: Iterable[Scores], names: Iterable[str]) -> float | None:
        """The mean over questions and seeds."""
        found = [of[name] for of in scores for name in names]
        return round(sum(found) / len(found), 4) if found else None


def read_measured(
    questions: Path, responses: Callable[[str], Path], arms: Iterable[str], seeds: Sequence[int], base: str
) -> Measured:
    """Scores all responses that are complete."""
    num = sum(1 for _ in read_jsonl(questions))
    asked = {question.id: question for question in held_out_questions(questions, num)}

    def scores(name: str) -> Scores | None:
        path = responses(name)
        if not path.is_file():
            return None
        return {str(row.id): score_answer(asked[str(row.id)], row.text) for row in read_responses(path).rows}

    found = {arm: [s for seed in seeds if (s := scores(f"{arm}-{seed}")) is not None] for arm in arms}
    return Measured(questions=asked, base=scores(base) or {}, arms={arm: of for arm, of in found.items() if of})


def views(measured: Measured, solved_rouge_l: float) -> dict[str, dict[str, str]]:
    """The groups of questions that are reported: name -> question -> task."""

    def solved(question: Question) -> bool:
        least = 1.0 if question.exact else solved_rouge_l
        return measured.base.get(question.id, 0.0) >= least

    return {
        HELD_TASKS: measured.tasks(lambda q: q.group == HELD_TASKS),
        HELD_INSTANCES: measured.tasks(lambda q: q.group == HELD_INSTANCES),
        f"{HELD_TASKS}, exact match": measured.tasks(lambda q: q.group == HELD_TASKS and q.exact),
        f"{HELD_TASKS}, ROUGE-L": measured.tasks(lambda q: q.group == HELD_TASKS and not q.exact),
        f"{HELD_INSTANCES}, exact match": measured.tasks(lambda q: q.group == HELD_INSTANCES and q.exact),
        f"{HELD_INSTANCES}, ROUGE-L": measured.tasks(lambda q: q.group == HELD_INSTANCES and not q.exact),
        "solved before": measured.tasks(solved),
    }


def results(
    measured: Measured, comparisons: Iterable[tuple[str, str, str]], *, base: str, solved_rouge_l: float
) -> dict[str, Any]:
    """Means of every model and differences of every comparison, in every group of questions.

    Differences to the model itself are added: what training gained, whichever the rows.
    """
    groups = views(measured, solved_rouge_l)
    models: dict[str, Sequence[Scores]] = {base: [measured.base], **measured.arms} if measured.base else {}
    pairs = [*comparisons, *((arm, base, "to the model") for arm in measured.arms)]
    return {
        "means": {
            name: {group: measured.mean(scores, tasks) for group, tasks in groups.items()}
            for name, scores in models.items()
        },
        "seeds": {arm: len(of) for arm, of in measured.arms.items()},
        "differences": [
            {"ours": ours, "theirs": theirs, "rank": rank, "group": group, **outcome.as_json()}
            for ours, theirs, rank in pairs
            if ours in models and theirs in models
            for group, tasks in groups.items()
            if (outcome := difference(models[ours], models[theirs], tasks)) is not None
        ],
    }


def cost_of_asking(run: Path, base: Path, trained: int) -> dict[str, Any]:
    """Tokens that the model read and wrote to answer the questions of a curation, by its tokenizer.

    Args:
        trained: Tokens that an arm trains on.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)

    def count(text: str) -> int:
        return len(tokenizer(text).input_ids)

    answers = {(p.task, p.id): p.prediction for p in read_predictions(run / PREDICTIONS / "predictions.jsonl")}
    instances, parameters = InstanceStore(run / TASKS / INSTANCES), PromptParameters()
    whole = shared = written = num = 0
    for task in read_selected(run / TASKS / "tasks.jsonl"):
        asked = [i for i in instances.read(task.block) if (task.name, i.id) in answers]
        requests = list(build_requests(task, task.kind, asked, parameters, lambda p, n: True, lambda dropped: None))
        num += len(requests)
        whole += sum(count(r.prompt) for r in requests)
        shared += count(requests[0].prompt[: requests[0].num_shared]) * (len(requests) - 1) if requests else 0
        written += sum(count(answers[r.task, r.id]) for r in requests)
    return {
        "prompts": num,
        "prompt_tokens": whole,
        "prompt_tokens_computed": whole - shared,
        "answer_tokens": written,
        "computed_over_trained": round((whole - shared + written) / trained, 2),
    }


def rows_of(run: Path) -> dict[str, Any] | None:
    """What an arm trained on; None if it has not been drawn."""
    path = run / "mix" / "train.jsonl"
    if not path.is_file():
        return None
    rows = list(read_jsonl(path))
    return {
        "rows": len(rows),
        "tasks": len({row["task"] for row in rows}),
        "exact_match_rows": sum(row["kind"] == "exact_match" for row in rows),
    }


def unit_times(folder: Path) -> dict[str, int]:
    """Seconds of the last call of each finished unit."""
    return {path.stem: read_json(path)["seconds_of_last_call"] for path in sorted(folder.glob("*.json"))}
