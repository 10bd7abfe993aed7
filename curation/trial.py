"""A curation of own data alone, in a folder that is thrown away, to see which rows it leaves out.

    trial([Path("mine.jsonl")], CurationParameters(), tokenizer=None).dropped

It runs the stages themselves, so what it tells is what they do. No model is asked: every row counts as one that the
base gets wrong.

Where it sits: the stages up to the samples -> **trial** -> check; the last stage, the mix, leaves nothing out.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from core.errors import MixError, SelectionError
from core.example.layout import Layout
from core.files import read_jsonl
from core.generation.none import NoPredictor
from core.run_folder import OWN, SAMPLES, TASKS
from core.stage import DROPPED, Dropped
from curation.ni.task import read_task
from curation.preset import CurationParameters
from curation.sources.own_data import OWN_TASKS, own_stage
from curation.stages.context import Curation
from curation.stages.predictions import predict_stage
from curation.stages.samples import sample_stage
from curation.stages.scores import score_stage
from curation.stages.tasks import select_stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a curation would leave out."""

    dropped: tuple[Dropped, ...] = field(default=())
    """Good rows, by the id that they have in a run; each once, with the first reason that spoke against it."""
    failure: str = ""
    """Why there would be no mix at all; empty: there would be one."""


def trial(
    own: Sequence[Path],
    parameters: CurationParameters,
    *,
    tokenizer: Path | None,
    suites: Mapping[str, Path] | None = None,
    layout: Layout | None = None,
    take_all: bool = True,
) -> Trial:
    """Curates own data that holds a usable row, without a model.

    Args:
        take_all: False: the rows that would be examples in prompts are left out too.
    Raises:
        OnedayError: an option does not fit, a file cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="oneday-") as scratch:
        run = Path(scratch)
        stage = own_stage(
            run, own, seed=parameters.seed, redo=False, take_all=take_all, layout=layout,
            language=parameters.policies.language,
        )  # fmt: skip
        samples = replace(parameters.samples, take_all=True, own_share=None, add={})
        curation = Curation(
            run=run,
            tasks=(stage.path(OWN_TASKS),),
            predictor=NoPredictor(),
            parameters=replace(parameters, mix=None, fit=None, adaptive=None, samples=samples),
            suites=suites or {},
            tokenizer=tokenizer,
        )
        failure = ""
        try:
            chosen = select_stage(curation)
            sample_stage(curation, chosen, score_stage(curation, predict_stage(curation, chosen)))
        except (MixError, SelectionError) as e:
            failure = str(e).removeprefix(f"{run}: ")
        return Trial(dropped=tuple(_dropped(run)), failure=failure)


def _dropped(run: Path) -> Iterator[Dropped]:
    """Of good rows: what could not be read at all was told when it was read."""
    tasks = run / OWN / OWN_TASKS
    for name in (OWN, TASKS, SAMPLES):
        path = run / name / DROPPED
        for record in read_jsonl(path) if path.is_file() else ():
            dropped = Dropped(**{key: value for key, value in record.items() if key != "stage"})
            if dropped.unit == "task":
                instances = read_task(tasks / f"{dropped.id}.json").task.instances
                yield from (replace(dropped, unit="row", id=instance.id) for instance in instances)
            elif name != OWN or dropped.reason == "used_as_example":
                yield dropped
