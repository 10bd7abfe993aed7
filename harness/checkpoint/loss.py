"""Losses of checkpoints on validation rows. The base is loaded once; adapters, or all weights, are exchanged.

    losses = CheckpointLosses(base, precision="4bit", rows=rows)
    losses.sums(Path("07_train/output/checkpoint-40"), [0, 5, 9])

Where it sits: below the timed picker.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from core.generation.answer_loss import answer_losses
from core.model.language_model import LanguageModel
from core.model.quantisation import Precision, Quantisation
from core.model.token_ids import IGNORED_LABEL, RowIds
from harness.checkpoint.exchange import Exchange

BATCH_TOKENS = 4_096
"""Tokens of one forward pass; their fp32 logits take 0.5 GiB with a vocabulary of 32,000."""


class CheckpointLosses:
    """Computes the summed loss of each row under a checkpoint: an adapter, or a whole model.

    Args:
        base: Local model folder.
        precision: Precision of the base in training; None: bf16 on a GPU, fp32 on a CPU.
        before_batch: Called before every forward pass; may raise to abort.
    """

    def __init__(
        self,
        base: Path,
        *,
        precision: Precision | Quantisation | None,
        rows: Sequence[RowIds],
        before_batch: Callable[[], None] = lambda: None,
    ) -> None:
        self._rows = [(row.input_ids, row.labels) for row in rows]
        self.num_answer_tokens = [sum(label != IGNORED_LABEL for label in row.labels[1:]) for row in rows]
        self._before_batch = before_batch
        self._model = LanguageModel.load(base, precision=precision)
        self._weights = Exchange(self._model)

    @property
    def quantisation(self) -> Quantisation:
        """Quantisation of the loaded base."""
        return self._model.quantisation

    def sums(self, checkpoint: Path, rows: Sequence[int]) -> list[float]:
        """Summed negative log-likelihood (nats) of these rows' answers.

        Raises:
            PredictionError: The checkpoint cannot be read, or does not fit the base.
        """
        self._weights.use(checkpoint)
        return [total for total, _ in self._losses(rows)]

    def base_mean(self, rows: Sequence[int]) -> float:
        """Mean loss of the base without an adapter over these rows, in nats per answer token."""
        with self._weights.of_base():
            losses = self._losses(rows)
        return sum(total for total, _ in losses) / sum(num for _, num in losses)

    def _losses(self, rows: Sequence[int]) -> list[tuple[float, int]]:
        return answer_losses(
            self._model, [self._rows[row] for row in rows], batch_tokens=BATCH_TOKENS, before_batch=self._before_batch
        )

    def mean(self, checkpoint: Path) -> float:
        """Mean loss over all rows, in nats per answer token."""
        return sum(self.sums(checkpoint, range(len(self._rows)))) / sum(self.num_answer_tokens)


class PairLosses(CheckpointLosses):
    """Losses of pairs of answers against the base as reference: -log sigmoid(beta x margin), as in DPO.

    Args:
        rows: Of each pair the chosen side and the rejected one, in turn.
        beta: The recipe's `rl_beta`.
    """

    def __init__(
        self,
        base: Path,
        *,
        precision: Precision | Quantisation | None,
        rows: Sequence[RowIds],
        beta: float,
        before_batch: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(base, precision=precision, rows=rows, before_batch=before_batch)
        self.num_answer_tokens = [1] * (len(rows) // 2)  # every pair has the same weight
        self._beta = beta
        self._reference: dict[int, float] = {}

    def sums(self, checkpoint: Path, rows: Sequence[int]) -> list[float]:
        """The loss of each of these pairs."""
        if unknown := [row for row in rows if row not in self._reference]:
            with self._weights.of_base():
                self._reference |= dict(zip(unknown, self._margins(unknown), strict=True))
        self._weights.use(checkpoint)
        gained = (now - self._reference[row] for row, now in zip(rows, self._margins(rows), strict=True))
        return [math.log1p(math.exp(-abs(x))) + max(0.0, -x) for x in (self._beta * gain for gain in gained)]

    def base_mean(self, rows: Sequence[int]) -> float:
        """The loss of the reference itself."""
        return math.log(2)

    def _margins(self, rows: Sequence[int]) -> list[float]:
        """The log-probability of each pair's chosen answer, minus that of its rejected answer."""
        sides = self._losses([side for row in rows for side in (2 * row, 2 * row + 1)])
        return [rejected - chosen for (chosen, _), (rejected, _) in zip(sides[::2], sides[1::2], strict=True)]

    def mean(self, checkpoint: Path) -> float:
        """Mean loss over all pairs."""
        losses = self.sums(checkpoint, range(len(self.num_answer_tokens)))
        return sum(losses) / len(losses)
