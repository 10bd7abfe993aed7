"""A mix that is chosen from Natural Instructions for a stage, and questions about tasks that are held out of it.

    mix = chosen_mix(data, tasks=folder, base=base, folder=folder / "data/ab12", seed=2023)
    write_questions(data, tasks=folder, path=folder / "questions/sft.jsonl", seed=2023)

Whole tasks are held out, the same ones whatever is chosen. Every mix is cut to the same number of tokens. The base is
asked before a study's clock starts; `answers.jsonl` keeps its answers, so that asking can be interrupted.

Where it sits: data `build: curate` -> **choosing** -> building.py, prepare.py.
"""

import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from core.files import file_sha256, make_folder, read_as, read_jsonl, write_json, write_jsonl
from core.generation.engine import Engine, close
from core.generation.none import NoPredictor
from core.generation.request import Predictor
from core.model.folder import model_fingerprint
from core.model.token_counter import TokenCounter
from core.run_folder import MIX
from core.stage import locked
from curation.curate import curate
from curation.ni.kind import kind_of
from curation.ni.select import judge
from curation.ni.task import Task, read_task, task_paths
from curation.preset import CurationParameters, preset, reseeded
from curation.sample import Control
from curation.sources.source import MIXES, NI_SOURCES
from curation.stages.context import Curation, OnProgress
from harness.data.own_mix import TRAIN, VALIDATION
from studies.data import Curated
from studies.errors import StudyError
from studies.identity import digest

CHOSEN, CURATED = "chosen.json", "curated"

LONGEST_INPUT = 1_500
"""Characters of a question's input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What stands in `chosen.json`, last of all."""

    base: str
    """Fingerprint of the model that was asked."""
    tasks: str
    """Hash over the names and contents of the task files."""
    seed: int
    """Of the draw."""
    rows: int
    tokens: int


def chosen_mix(
    data: Curated,
    *,
    tasks: Path,
    base: Path,
    folder: Path,
    held_out_seed: int,
    seed: int,
    build: Callable[[Engine], Predictor] = Engine.build,
    on_progress: Callable[[str], None] = lambda line: None,
) -> Path:
    """The mix, or the one that an earlier call made.

    Args:
        folder: Of this mix alone.
        held_out_seed: Of the tasks that are held out, the same for every mix of a study.
        seed: Of the draw.
        build: Loads what answers.
        on_progress: Called with a line a minute.

    Raises:
        OnedayError: a task file cannot be used, or the chosen rows have too few tokens.
    """
    mix = make_folder(folder / MIX)
    fingerprint, files_sha256 = model_fingerprint(base), _sha256(tasks)
    with locked(folder):
        if (folder / CHOSEN).is_file():
            stored = read_as(Chosen, folder / CHOSEN)
            if (stored.base, stored.tasks, stored.seed) == (fingerprint, files_sha256, seed):
                return mix
        held = set(held_out(tasks, data.held_out_tasks, data.questions_per_task, held_out_seed))
        curation = _curation(data, tasks=tasks, held=held, base=base, run=folder / CURATED, seed=seed)
        curated = _curated(replace(curation, on_progress=_each_minute(on_progress)), base, build)
        rows, tokens = _cut(list(read_jsonl(curated / TRAIN)), TokenCounter.load(base), data)
        write_jsonl(mix / TRAIN, rows)
        write_jsonl(mix / VALIDATION, read_jsonl(curated / VALIDATION))
        chosen = Chosen(base=fingerprint, tasks=files_sha256, seed=seed, rows=len(rows), tokens=tokens)
        write_json(folder / CHOSEN, asdict(chosen))
    return mix


def _sha256(tasks: Path) -> str:
    return digest({path.name: file_sha256(path) for path in task_paths([tasks])})


def _curation(data: Curated, *, tasks: Path, held: Collection[Path], base: Path, run: Path, seed: int) -> Curation:
    """The curation without what answers."""
    return Curation(
        run=run,
        tasks=tuple(path for path in task_paths([tasks]) if path not in held),
        predictor=NoPredictor(),
        parameters=_parameters(data, seed),
        tokenizer=TokenCounter.load(base).path,
        redo=True,
    )


def _curated(curation: Curation, base: Path, build: Callable[[Engine], Predictor]) -> Path:
    if curation.parameters.samples.control is not Control.NONE:
        return curate(curation)
    predictor = build(Engine(name="transformers", base=base))
    try:
        return curate(replace(curation, predictor=predictor))
    finally:
        close(predictor)


def _each_minute(tell: Callable[[str], None]) -> OnProgress:
    """Passes on how far a stage is."""
    told = float("-inf")

    def on_progress(stage: str, done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= 60:
            told = time.monotonic()
            tell(f"{stage}: {done:,} of {total:,}")

    return on_progress


def _parameters(data: Curated, seed: int) -> CurationParameters:
    """The preset with the control. Only what is asked is limited to some instances of a task."""
    p = reseeded(preset(data.preset), seed)
    control = Control(data.control)
    return replace(
        p,
        scale=data.rows / sum(MIXES["200k"][name] for name in NI_SOURCES.values()),
        instances_per_task=data.instances_per_task if control is Control.NONE else None,
        samples=replace(p.samples, control=control),
    )


def _cut(
    rows: Sequence[dict[str, object]], counter: TokenCounter, data: Curated
) -> tuple[list[dict[str, object]], int]:
    """The first rows that together have at most `data.tokens` tokens.

    Raises:
        StudyError: all rows together have fewer, less a hundredth.
    """
    texts = [(str(row["instruction"]), str(row["input"]), str(row["output"])) for row in rows]
    kept, total = list[dict[str, object]](), 0
    for row, size in zip(rows, counter.count_rows(texts), strict=True):
        if total + size > data.tokens:
            return kept, total
        kept.append(row)
        total += size
    if total < 0.99 * data.tokens:
        raise StudyError(
            f"data with control {data.control}: the {len(rows)} chosen rows have {total:,} tokens and not "
            f"{data.tokens:,.0f}, so the arms cannot be compared. Lower tokens, or raise rows or instances_per_task."
        )
    return kept, total


@cache
def held_out(tasks: Path, num: int, questions: int, seed: int) -> tuple[Path, ...]:
    """The files of the tasks that are held out: `num` at random of those that curation would take.

    Raises:
        StudyError: there are fewer.
    """
    paths, found = task_paths([tasks]), list[Path]()
    rules = preset("recommended").rules
    for path in random.Random(f"held-out-{seed}").sample(paths, len(paths)):
        if len(found) == num:
            break
        task = read_task(path).task
        if judge(task, rules).keep and len(_short(task, seed)) >= questions:
            found.append(path)
    if len(found) < num or len(found) == len(paths):
        raise StudyError(
            f"{tasks}: {len(found)} of its {len(paths)} tasks can be held out with {questions} questions each, and "
            f"held_out_tasks is {num}. Lower it, or give more tasks."
        )
    return tuple(sorted(found))


def _short(task: Task, seed: int) -> list[int]:
    """Numbers of the instances that can be asked, in an order that depends on (seed, task)."""
    usable = [n for n, i in enumerate(task.instances) if i.input.strip() and len(i.input) <= LONGEST_INPUT]
    random.Random(f"questions-{seed}-{task.name}").shuffle(usable)
    return usable


def write_questions(data: Curated, *, tasks: Path, path: Path, seed: int) -> None:
    """Writes the questions of the held-out tasks as rows; the suite `held-out` reads them.

    Raises:
        OnedayError: as `held_out`; or a file cannot be read.
    """
    write_jsonl(path, _questions(data, tasks, seed))


def _questions(data: Curated, tasks: Path, seed: int) -> Iterator[dict[str, object]]:
    for path in held_out(tasks, data.held_out_tasks, data.questions_per_task, seed):
        task = read_task(path).task
        for number in _short(task, seed)[: data.questions_per_task]:
            instance = task.instances[number]
            yield {
                "id": instance.id,
                "source": "held-out tasks",
                "task": task.name,
                "kind": kind_of(task).kind.value,
                "instruction": task.definition,
                "input": instance.input,
                "output": instance.outputs[0].strip(),
            }
