"""The parameters of a mix: every choice that decides it, typed, in one place.

    CurationParameters(mix="200k", scale=0.01).fingerprint()["seed"]

Where it sits: the command line builds it; the pipeline and the manifest read it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from curation.predict import PromptParameters
from curation.sample import SampleParameters
from curation.score import ScoreParameters
from curation.select import Kind, SelectionRules


@dataclass(frozen=True, slots=True, kw_only=True)
class CurationParameters:
    """Everything that decides a mix, given the task files and the base model. All of it stands in the manifest."""

    mix: str = "200k"
    scale: float = 1.0
    without: frozenset[str] = frozenset()
    instances_per_task: int | None = None
    """How many instances of a task are asked, drawn at random; None: all."""
    task_list: tuple[str, ...] | None = None
    """Canonical names instead of the rules."""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    rules: SelectionRules = SelectionRules()
    prompts: PromptParameters = PromptParameters()
    scores: ScoreParameters = ScoreParameters()
    samples: SampleParameters = SampleParameters()
    seed: int = 2023

    def fingerprint(self) -> dict[str, Any]:
        """JSON-able, in a fixed order."""
        return {
            "mix": self.mix,
            "scale": self.scale,
            "without": sorted(self.without),
            "instances_per_task": self.instances_per_task,
            "task_list": sorted(self.task_list) if self.task_list is not None else None,
            "kinds": dict(sorted(self.kinds.items())),
            "rules": self.rules.fingerprint(),
            "prompts": asdict(self.prompts),
            "scores": asdict(self.scores),
            "samples": asdict(self.samples),
            "seed": self.seed,
        }
