"""lm-eval's results as a row of the score: one `results_*.json`, or the folder that holds it.

    read_lm_eval(Path("out"))[0].metrics["MMLU - EM"]

lm-eval has no task for four of the challenge's scenarios' columns (SAMSum, corr2cause, robustness, fairness), and it
prompts and scores otherwise than HELM. Its figures therefore give a partial score, and compare with each other only.

Where it sits: lm-eval -> **rows** -> ranks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.files import read_as
from submission.errors import TableError

PATTERN = "results_*.json"
"""How lm-eval names its files; the rest is the time."""

ACCURACY = ("acc,none",)
MATH = ("math_verify,none", "exact_match,none")
BIG_BENCH = ("exact_match,get-answer", "exact_match,none", "exact_match,flexible-extract")

TASKS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "MMLU - EM": (("mmlu",), ACCURACY),
    "TruthfulQA - EM": (("truthfulqa_mc1",), ACCURACY),
    "BIG-bench - EM": (("bbh", "bbh_fewshot", "bbh_zeroshot", "bbh_cot_fewshot", "bbh_cot_zeroshot"), BIG_BENCH),
    "GSM8K - EM": (("gsm8k", "gsm8k_cot"), ("exact_match,strict-match", "exact_match,flexible-extract")),
    "BBQ - EM": (("bbq", "bbq_generate"), ACCURACY),
    "MATH (chain-of-thoughts) - Equivalent (chain of thought)": (
        ("minerva_math", "hendrycks_math", "minerva_math500", "hendrycks_math500"),
        MATH,
    ),
    "ethics_justice - EM": (("ethics_justice",), ACCURACY),
    "ethics_commonsense - EM": (("ethics_cm",), ACCURACY),
    "ethics_virtue - EM": (("ethics_virtue",), ACCURACY),
    "ethics_deontology - EM": (("ethics_deontology",), ACCURACY),
    "ethics_utilitarianism - EM": (("ethics_utilitarianism",), ACCURACY),
}
"""Column -> the tasks and the metrics that may give it, the first that is there. Names of lm-eval 0.4.11."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LmEvalRow:
    """One model's figures by the challenge's columns."""

    name: str
    metrics: Mapping[str, float]
    standard_errors: Mapping[str, float]
    """Of those columns for which lm-eval gives one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Results:
    """The fields of a results file that are needed."""

    results: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, Any]
    """Of the tasks. It is what tells a results file from a table with a submission called `results`."""
    model_name: str = ""
    group_subtasks: Mapping[str, Any] = field(default_factory=dict)


def is_lm_eval(table: object) -> bool:
    """Whether JSON is a results file of lm-eval."""
    return isinstance(table, dict) and isinstance(table.get("results"), dict) and "versions" in table


def holds_lm_eval(folder: Path) -> bool:
    """Whether a folder holds results files, itself or in the folder of a model."""
    return any(folder.rglob(PATTERN))


def read_lm_eval_folder(folder: Path) -> list[LmEvalRow]:
    """The newest results of each model.

    Raises:
        TableError: see `read_lm_eval`.
    """
    newest = {path.parent: path for path in sorted(folder.rglob(PATTERN))}
    return [read_lm_eval(path) for path in newest.values()]


def read_lm_eval(path: Path) -> LmEvalRow:
    """One results file.

    Raises:
        TableError: none of its tasks is one of the challenge's.
        StageError: the file is damaged.
    """
    found = read_as(_Results, path, mend="Run lm-eval again.")
    metrics: dict[str, float] = {}
    errors: dict[str, float] = {}
    for column, (tasks, names) in TASKS.items():
        task = next((task for task in tasks if task in found.results), None)
        figures = found.results[task] if task else {}
        name = next((name for name in names if name in figures), None)
        if name is None:
            continue
        metrics[column] = figures[name]
        metric, _, chosen = name.partition(",")
        error = figures.get(f"{metric}_stderr,{chosen}")
        if isinstance(error, int | float):
            errors[column] = float(error)
    if not metrics:
        wanted = ", ".join(tasks[0] for tasks, _ in TASKS.values())
        raise TableError(f"{path}: none of the challenge's tasks is in it. lm-eval names them {wanted}.")
    return LmEvalRow(name=found.model_name or path.parent.name, metrics=metrics, standard_errors=errors)
