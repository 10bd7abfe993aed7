"""A training job: what is trained, from what, how, on which card, within which budget.

Where it sits: the command line makes one; rehearsal, plan and run take it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.encoding.long_example import LongExamples
from core.files import file_sha256
from core.model.folder import model_fingerprint
from harness.budget.day import Charging
from harness.budget.gpu_profile import GpuProfile
from harness.dataset import Dataset, find_dataset
from harness.recipe import AxolotlConfig
from harness.tracker import Tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """All that a training run is made of."""

    run: Path
    mix: Path
    base: Path
    recipe: AxolotlConfig
    card: GpuProfile
    budget_s: float
    redo: bool = False
    charging: Charging = Charging.STRICT
    follow_plan: Path | None = None
    """A plan file to take as it is: repeats the run that wrote it."""
    average: int = 0
    """Keep time free to try the average of so many of the best adapters."""
    shared_card: bool = False
    """Others may use the card."""
    trackers: tuple[Tracker, ...] = ()
    """Trackers that also receive every step's metrics."""
    card_how: str = ""
    """Why this card's profile was taken; on record, and of no influence on the result."""
    long_examples: LongExamples = LongExamples.AUTO
    """What is done with an example that is longer than `sequence_len`."""
    device: str = ""
    """The one card that the trainer may see, as CUDA_VISIBLE_DEVICES names it; empty: whatever it sees."""

    def inputs(self) -> dict[str, Any]:
        """What decides the result, the budget left aside."""
        return {
            "train": file_sha256(self.mix / "train.jsonl"),
            "validation": file_sha256(self.mix / "validation.jsonl"),
            "base": model_fingerprint(self.base),
            "recipe": self.recipe.model_dump(),
            "card": self.card.name,
            "long_examples": self.long_examples.value,
            "follow_plan": file_sha256(self.follow_plan) if self.follow_plan else None,
        }

    def dataset(self) -> Dataset:
        """The mix as token ids, tokenised by the first command that asks for it.

        Raises:
            DataError: the mix cannot be trained on.
        """
        return find_dataset(
            self.run,
            mix=self.mix,
            base=self.base,
            sequence_len=self.recipe.sequence_len,
            long_examples=self.long_examples,
        )
