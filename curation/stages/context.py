"""The inputs that all stages of a curation share."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from core.errors import MixError, PredictionError
from core.generation.none import NoPredictor
from core.generation.request import Predictor
from core.generation.signals import SignalPredictor
from core.stage import Stage
from curation.ni.select import own_name
from curation.ni.task import read_task, task_paths
from curation.preset import CurationParameters
from curation.sources.mapping import Record
from curation.sources.source import Located, mix_targets

ANSWERS = "answers.jsonl"
"""File in the run folder with every answer of the base model; it stays valid when parameters change."""

SIGNALS = "signals.jsonl"
"""File in the run folder with every row's signals, which stay valid like the answers."""

OnProgress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""


def asks_anything(curation: "Curation") -> bool:
    """Whether the base is asked about any task. Own rows are not asked about if all of them are taken."""
    samples = curation.parameters.samples
    if samples.asks(is_own=True):
        return True
    return samples.asks(is_own=False) and any(
        own_name(read_task(path).task.categories) is None for path in curation.files.values()
    )


@dataclass(frozen=True, kw_only=True)
class Curation:
    """One curation: its inputs, its parameters and its run folder."""

    run: Path
    tasks: tuple[Path, ...]
    """Folders and files of NI tasks, in any order."""
    predictor: Predictor
    parameters: CurationParameters
    sources: Mapping[str, Located] = field(default_factory=dict)
    """The other sources of the mix."""
    suites: Mapping[str, Path] = field(default_factory=dict)
    """Evaluation suites that no row may repeat: name -> file of JSON lines."""
    probe_losses: Path | None = None
    """Losses of rows before and after a probe training, for the rows that stay hard. None: no row is dropped for it."""
    tokenizer: Path | None = None
    """Tokenizer file; None: tokens are not counted."""
    workers: int = 1
    redo: bool = False
    on_progress: OnProgress = lambda stage, done, total: None
    within_s: float | None = None
    """Seconds for asking the base, with adaptive asking. It decides only how many rounds are asked. None: no limit."""
    clock: Callable[[], float] = time.monotonic
    load: Callable[[Located], Iterator[Record]] | None = None
    """Reads the records of another source; None: from its file or the hub."""

    def __post_init__(self) -> None:
        if self.parameters.samples.task_tokens is not None and self.tokenizer is None:
            raise MixError("`samples.task_tokens=` counts tokens: `tokenizer=none` cannot be. Give the base's folder.")
        if self.parameters.signals and not isinstance(self.predictor, SignalPredictor | NoPredictor):
            raise PredictionError(
                "`signals=true`: this predictor does not tell the loss of a given answer. Use "
                "`predictor=transformers`, or `predictor=replay` with predictions that hold signals."
            )

    @cached_property
    def files(self) -> dict[str, Path]:
        """Task file by name."""
        return {path.name: path for path in task_paths(self.tasks)}

    @cached_property
    def targets(self) -> dict[str, int]:
        """Rows wanted per source, in the order of Table 1. Own rows are added once they are read."""
        p = self.parameters
        return mix_targets(p.mix, p.scale, p.without, self.sources)

    def stage(self, name: str, inputs: Mapping[str, object]) -> Stage:
        """A stage of this run."""
        return Stage(self.run / name, inputs=inputs, redo=self.redo)
