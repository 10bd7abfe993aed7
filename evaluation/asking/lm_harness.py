"""The real lm-evaluation-harness on a model of ours: its tasks by name, or a user's own task files.

    with prepared(["arc_easy", "mine.yaml"]) as tasks:
        found = run_tasks(tasks, model, LmEvalSettings())

Its version is the one that Axolotl pins. lm_eval is imported here alone.

Where it sits: beside our suites; the model is passed in.
"""

import contextlib
import difflib
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from core.errors import MissingPackage
from core.lm_eval_figure import LmEvalFigure
from core.model.language_model import LanguageModel
from evaluation.errors import EvaluationError
from evaluation.extra import missing_libraries
from evaluation.ifeval.sentences import PUNKT, write_punkt_data

LIBRARY = "lm_eval"
TASK_FILES = (".yaml", ".yml")
_ERROR = "_stderr"
_NEAREST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LmEvalSettings:
    """What lm_eval is told."""

    batch_size: int = 8
    limit: int | None = None
    """At most so many documents of each task. None: all."""
    num_fewshot: int | None = None
    """None: as each task says."""
    chat: bool = False
    """Whether prompts go through the chat template of the model's tokenizer."""
    seed: int = 1234
    """Of the shots that are drawn. Source: lm_eval's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LmEvalResult:
    """What lm_eval found."""

    version: str
    figures: tuple[LmEvalFigure, ...]
    samples: tuple[Mapping[str, object], ...]
    """Every document with the model's answer, as lm_eval logs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """Tasks whose data lm_eval has loaded."""

    manager: Any
    names: tuple[str, ...]


@contextlib.contextmanager
def prepared(tasks: Sequence[str]) -> Iterator[Tasks]:
    """Finds the tasks and loads their data, before a model is loaded.

    Args:
        tasks: Names or patterns of lm_eval's tasks, task files, or folders of task files.

    Raises:
        MissingPackage: lm_eval is not installed.
        EvaluationError: a task is unknown, a task file is wrong, or its data cannot be had.
    """
    if missing_libraries([LIBRARY]):
        raise MissingPackage(f"{LIBRARY} is not installed. pip install 'oneday-llm[train]', whose Axolotl pins it.")
    with _punkt_data():
        from lm_eval.tasks import TaskManager, get_task_dict

        for name in ("lm_eval", "lm-eval"):
            logging.getLogger(name).setLevel(logging.ERROR)
        own = [Path(task).is_dir() or Path(task).suffix in TASK_FILES for task in tasks]
        manager = TaskManager(include_defaults=not all(own))  # reading thousands of task files takes seconds
        named = [found for task in tasks for found in _find(task, manager)]
        try:
            get_task_dict(named, manager)
        except Exception as e:  # lm_eval, its tasks' own code and `datasets` raise what they like
            told = next(iter(str(e).splitlines()), "")[:300]
            raise EvaluationError(
                f"{', '.join(tasks)}: lm_eval cannot load it ({type(e).__name__}: {told}). Check the task file, and "
                "that its data set is here or the hub can be reached."
            ) from e
        yield Tasks(manager=manager, names=tuple(named))


def _find(task: str, manager: Any) -> list[str]:
    """The names that a name, a pattern, a task file or a folder of task files stands for."""
    path = Path(task)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in TASK_FILES)
        if not files:
            raise EvaluationError(f"{task}: no task file in it ({' or '.join(TASK_FILES)}). Check `lm_eval=`.")
        return [_register(file, manager) for file in files]
    if path.suffix in TASK_FILES:
        return [_register(path, manager)]
    found: list[str] = manager.match_tasks([task])
    if not found:
        near = ", ".join(difflib.get_close_matches(task, manager.all_tasks, n=_NEAREST))
        raise EvaluationError(
            f"{task}: lm_eval has no such task{f'; near are {near}' * bool(near)}. Name one, or a file that ends in "
            ".yaml."
        )
    return found


def _register(path: Path, manager: Any) -> str:
    """Puts a task file into lm_eval's index, under its name.

    lm_eval 0.4.11 fails on the configuration of a task that its index does not hold, and its `include_path` would read
    every YAML file below the folder.
    """
    from lm_eval.utils import load_yaml_config

    try:
        config = load_yaml_config(str(path))
    except Exception as e:  # YAML, an import of the user's own functions
        told = next(iter(str(e).splitlines()), "")[:300]
        raise EvaluationError(f"{path}: cannot be read ({type(e).__name__}: {told}). Check the task file.") from e
    name = config.get("task") if isinstance(config, dict) else None
    if not isinstance(name, str):
        raise EvaluationError(f"{path}: no task file of lm_eval: it needs a key task with a name. Mend it.")
    manager.task_index[name] = {"type": "task", "yaml_path": str(path.absolute())}
    for names in (manager.all_tasks, manager.all_subtasks):
        if name not in names:
            names.append(name)
    return name


def run_tasks(tasks: Tasks, model: LanguageModel, settings: LmEvalSettings) -> LmEvalResult:
    """Asks the model everything, and scores it as lm_eval does.

    Raises:
        EvaluationError: the model has no chat template, and one is wanted.
    """
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    if settings.chat and not isinstance(model.tokenizer.chat_template, str):
        raise EvaluationError(f"{model.path}: its tokenizer has no chat template. Leave `chat_template=true` out.")
    wrapped = HFLM(
        pretrained=model.model,
        tokenizer=model.tokenizer,
        batch_size=settings.batch_size,
        max_length=model.context_length,
    )
    raw = lm_eval.simple_evaluate(
        model=wrapped,
        tasks=list(tasks.names),
        task_manager=tasks.manager,
        limit=settings.limit,
        num_fewshot=settings.num_fewshot,
        apply_chat_template=settings.chat,
        random_seed=settings.seed,
        numpy_random_seed=settings.seed,
        torch_random_seed=settings.seed,
        fewshot_random_seed=settings.seed,
    )
    assert raw is not None, "the only process is rank 0"
    return LmEvalResult(version=lm_eval.__version__, figures=_figures(raw, settings), samples=tuple(_samples(raw)))


def _figures(raw: Mapping[str, Any], settings: LmEvalSettings) -> tuple[LmEvalFigure, ...]:
    """Sorted by task and metric; an error that lm_eval gives as `N/A` is None."""
    found = []
    for task, metrics in {**raw["results"], **raw.get("groups", {})}.items():
        for key, value in metrics.items():
            metric, comma, filter_name = key.partition(",")
            if not comma or metric.endswith(_ERROR) or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            error = metrics.get(f"{metric}{_ERROR},{filter_name}")
            found.append(
                LmEvalFigure(
                    task=task,
                    metric=metric,
                    filter=filter_name,
                    value=float(value),
                    stderr=float(error) if isinstance(error, int | float) else None,
                    num=raw.get("n-samples", {}).get(task, {}).get("effective"),
                    num_fewshot=raw.get("n-shot", {}).get(task),
                    version=str(raw.get("versions", {}).get(task, "")),
                    limit=settings.limit,
                )
            )
    return tuple(sorted(found, key=lambda f: (f.task, f.metric, f.filter)))


def _samples(raw: Mapping[str, Any]) -> Iterator[dict[str, object]]:
    """As lm_eval logs them; what JSON lacks is written as text."""
    for task, rows in raw.get("samples", {}).items():
        for row in rows:
            yield {"task": task, **{key: _plain(value) for key, value in row.items()}}


def _plain(value: Any) -> Any:
    try:
        return orjson.loads(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS))
    except orjson.JSONEncodeError:
        return repr(value)


@contextlib.contextmanager
def _punkt_data() -> Iterator[None]:
    """Gives NLTK the sentence model that lm_eval's IFEval would download."""
    if missing_libraries([PUNKT, "nltk"]):
        yield
        return
    import nltk

    with tempfile.TemporaryDirectory(prefix="oneday-punkt-") as folder:
        write_punkt_data(Path(folder), "english")
        nltk.data.path.insert(0, folder)
        try:
            yield
        finally:
            nltk.data.path.remove(folder)
