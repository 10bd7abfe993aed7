"""`oneday evaluate --lm-eval`: the real lm-evaluation-harness on a model, its figures kept and shown."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from core.files import write_jsonl
from core.lm_eval_figure import LmEvalFigure, record_figures
from core.model.language_model import LanguageModel
from core.model.libraries import give_back, hub, is_offline
from evaluation.asking.lm_harness import LmEvalSettings, prepared, run_tasks
from evaluation.errors import EvaluationError
from evaluation.suite import Table
from oneday.commands.evaluation.asked_model import find_asked_model, is_url
from oneday.display.console import Console
from oneday.requests.evaluating import EvaluateRequest

SAMPLES = "lm_eval_samples.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class LmEvalReport:
    """What a call gave, for table, page and JSON."""

    version: str
    checkpoint: Mapping[str, object]
    precision: str
    settings: LmEvalSettings
    figures: tuple[LmEvalFigure, ...]

    @property
    def table(self) -> Table:
        """Every figure with its error."""
        limited = f", at most {self.settings.limit} documents of each task" if self.settings.limit else ""
        return Table(
            title=f"lm_eval {self.version}: {self.checkpoint['name']}{limited}",
            columns=("task", "metric", "value", "standard error", "n", "shots"),
            rows=tuple(_row(figure) for figure in self.figures),
        )

    def as_json(self) -> dict[str, object]:
        """As the last line and scores.json have it."""
        return asdict(self)


def run_harness(request: EvaluateRequest, console: Console) -> LmEvalReport:
    """Loads the tasks, then the model; keeps the figures in the manifest of a run.

    Raises:
        OnedayError: a task or the model cannot be used.
    """
    if request.model is None:
        raise EvaluationError("`model=` is missing: which model lm_eval asks. Give a run or a model folder.")
    if is_url(request.model):
        raise EvaluationError(f"`model={request.model}`: lm_eval loads the model itself. Give a run or a model folder.")
    offline = is_offline(os.environ)  # as the user has it: loading a model forbids the hub
    asked = find_asked_model(
        request.model,
        base=request.base,
        precision=request.precision,
        base_changed=request.base_changed_on_purpose,
        fetch=console.say,
    )
    for warning in asked.warnings:
        console.say(f"warning: {warning}")
    settings = LmEvalSettings(
        batch_size=request.batch_size,
        limit=request.limit,
        num_fewshot=request.num_fewshot,
        chat=request.chat_template,
    )
    tasks = [name.strip() for text in request.lm_eval for name in text.split(",") if name.strip()]
    with hub(is_asked_for=not offline), prepared(tasks) as found:
        console.say(f"lm_eval: {', '.join(found.names)} on {request.model}")
        assert asked.served is not None
        model = LanguageModel.load(
            asked.served.base, lora_adapter=asked.served.lora_adapter, precision=asked.served.precision
        )
        result = run_tasks(found, model, settings)
        del model
        give_back()
    write_jsonl(request.folder / SAMPLES, result.samples)
    report = LmEvalReport(
        version=result.version,
        checkpoint=dict(asked.checkpoint),
        precision=asked.precision,
        settings=settings,
        figures=result.figures,
    )
    if asked.run is not None:
        record_figures(asked.run, report.version, report.figures)
    return report


def _row(figure: LmEvalFigure) -> tuple[str, ...]:
    return (
        figure.task,
        figure.name,
        f"{figure.value:.4f}",
        "-" if figure.stderr is None else f"{figure.stderr:.4f}",
        "-" if figure.num is None else str(figure.num),
        "-" if figure.num_fewshot is None else str(figure.num_fewshot),
    )
