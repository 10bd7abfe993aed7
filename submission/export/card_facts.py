"""What a model card tells, gathered from a run.

Where it sits: manifest + pick + measurement -> **facts** -> model card.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.model.quantisation import Quantisation
from submission.export.base_name import BaseName
from submission.export.other_program import Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    rows_by_source: Mapping[str, int] = field(default_factory=dict)
    rows_by_spdx: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Curated:
    counts: _Counts = _Counts()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spent:
    budget_s: float
    charged_s: float
    by_phase: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    recipe: Mapping[str, Any] = field(default_factory=dict)
    ledger: _Spent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What of a manifest is told here."""

    versions: Mapping[str, str] = field(default_factory=dict)
    curate: _Curated = _Curated()
    train: _Trained = _Trained()


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a model card tells."""

    manifest: Mapping[str, Any]
    """`manifest.json` of the run."""
    picked: Mapping[str, Any]
    """`picked.json` of the run."""
    name: str
    base: BaseName
    base_licence: str | None
    """As the base's own card has it; it binds what was made from it."""
    quantisation: Quantisation
    """How the base was kept in training."""
    weights: str
    """`lora_adapter`, `trained` (all weights), or the type of merged weights."""
    gguf: str | None = None
    """Name of the GGUF file."""
    has_modelfile: bool = False
    is_eager: bool = False
    """Attention has to be computed by the eager kernel, because torch's leaves a bound out."""
    is_changed: bool = False
    """The weights are merged into another base than the one in training."""
    prompts: str
    """A sentence about the template of the prompts."""
    agreement: Mapping[str, Any] | None = None
    """Merged weights against base and adapter."""
    measured: Measured | None = None
    """The written folder as another program loads it."""
    program: str = ""
    """The other program."""
    scores: Sequence[Mapping[str, Any]] = ()
    """Base against tuned, by group."""
    command: str
    """The command that made the export."""

    @property
    def lora_rank(self) -> int:
        """The adapter's rank; 0 if it is not recorded."""
        rank = self.manifest.get("train", {}).get("recipe", {}).get("lora_r")
        return rank if isinstance(rank, int) else 0
