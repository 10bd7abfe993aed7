"""A training job: mix, base model, recipe, card and budget of one run.

Where it sits: the command line creates it; rehearsal, plan and run receive it.
"""

from dataclasses import dataclass
from pathlib import Path

from core.encoding.long_example import LongExamples
from core.files import file_sha256
from core.model.folder import model_fingerprint
from harness.budget.gpu_profile import GpuProfile
from harness.checkpoint.averaging import Averaging
from harness.data.dataset import Dataset, find_dataset
from harness.ledger.day import Charging
from harness.parent import Parent
from harness.recipe import AxolotlConfig
from harness.tracker import Tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """All inputs of a training run."""

    run: Path
    mix: Path
    base: Path
    recipe: AxolotlConfig
    card: GpuProfile
    budget_s: float
    redo: bool = False
    charging: Charging = Charging.STRICT
    follow_plan: Path | None = None
    """A schedule file to follow unchanged, which repeats the run that wrote it."""
    averaging: Averaging = Averaging()
    """The averages that the picker tries; time for that is reserved."""
    shared_card: bool = False
    """Allow other processes to use the card."""
    trackers: tuple[Tracker, ...] = ()
    """Trackers that also receive every step's metrics."""
    card_how: str = ""
    """Why this card's profile was chosen; recorded only, without influence on the result."""
    long_examples: LongExamples = LongExamples.AUTO
    """How an example longer than `sequence_len` is handled."""
    parent: Parent | None = None
    """The run whose picked weights are the base; None: the base comes from no run."""
    writes_final_model: bool = False
    """After the pick the whole weights are written, inside the budget; the rehearsal measures how long that takes."""
    pause_at: int = 0
    """Step after which training stops, to be continued by the same job without it; 0: none. It changes no result."""
    device: str = ""
    """The only card visible to the trainer, as a value of CUDA_VISIBLE_DEVICES; empty: no restriction."""

    def inputs(self) -> dict[str, object]:
        """Everything but the budget that determines the result, as recorded in `inputs.json`."""
        parent = {"parent": self.parent.described()} if self.parent else {}
        return parent | {
            "train": file_sha256(self.mix / "train.jsonl"),
            "validation": file_sha256(self.mix / "validation.jsonl"),
            "base": model_fingerprint(self.base),
            "recipe": self.recipe.model_dump(),
            "card": self.card.name,
            "long_examples": self.long_examples.value,
            "follow_plan": file_sha256(self.follow_plan) if self.follow_plan else None,
            **({"final_model": True} if self.writes_final_model else {}),
        }

    def dataset(self) -> Dataset:
        """The tokenised mix; the first call tokenises it, later ones find the table.

        Raises:
            DataError: The mix cannot be trained on.
        """
        return find_dataset(
            self.run,
            mix=self.mix,
            base=self.base,
            sequence_len=self.recipe.sequence_len,
            long_examples=self.long_examples,
            pairs=self.recipe.is_paired,
        )
