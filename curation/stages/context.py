"""What every stage of one curation is given."""

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
"""In the run folder: every answer the base model ever gave; it outlives a changed parameter."""

OnProgress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""


def asks_anything(curation: "Curation") -> bool:
    """Whether there is a task that the base is asked about: all but the user's own, where all of those are taken."""
    takes_all = curation.parameters.samples.take_all
    return not takes_all or any(own_name(read_task(path).task.categories) is None for path in curation.files.values())


@dataclass(frozen=True, kw_only=True)
class Curation:
    """One curation: what goes in, what decides, where it goes."""

    run: Path
    tasks: tuple[Path, ...]
    """Folders and files of NI tasks, in any order."""
    predictor: Predictor
    parameters: CurationParameters
    sources: Mapping[str, Located] = field(default_factory=dict)
    """The other sources that the mix wants."""
    suites: Mapping[str, Path] = field(default_factory=dict)
    """Evaluation suites that no row may repeat: name -> JSON lines."""
    tokenizer: Path | None = None
    """A tokenizer file; None: tokens are not counted."""
    workers: int = 1
    redo: bool = False
    on_progress: OnProgress = lambda stage, done, total: None
    load: Callable[[Located], Iterator[Record]] | None = None
    """Reads another source's records; None: from its file or the hub."""

    @cached_property
    def files(self) -> dict[str, Path]:
        """Task file by name."""
        return {path.name: path for path in task_paths(self.tasks)}

    @cached_property
    def targets(self) -> dict[str, int]:
        """Rows wanted per source, in the order of Table 1; the user's own are known once they are read."""
        p = self.parameters
        return mix_targets(p.mix, p.scale, p.without, self.sources)

    def stage(self, name: str, inputs: Mapping[str, object]) -> Stage:
        """A stage of this run."""
        return Stage(self.run / name, inputs=inputs, redo=self.redo)
