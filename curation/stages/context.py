"""The inputs that all stages of a curation share."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from core.generation.request import Predictor
from core.stage import Stage
from curation.ni.select import own_name
from curation.ni.task import read_task, task_paths
from curation.preset import CurationParameters
from curation.sources.mapping import Record
from curation.sources.source import Located, mix_targets

ANSWERS = "answers.jsonl"
"""File in the run folder with every answer of the base model; it stays valid when parameters change."""

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
