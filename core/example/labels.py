"""How many tokens of rendered rows are trained, and which.

    count = LabelCount()
    count.add(row)
    count.told                       # "1 rows, 37 tokens, 10 of them trained (27.0 %)"
    trained_runs(tokenizer, row)     # [("<|im_start|>user ...", False), ("Hi<|im_end|>", True), ...]

Where it sits: rendering -> **labels** -> what a person is shown before a training.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from core.model.token_ids import IGNORED_LABEL, RowIds


@dataclass(slots=True)
class LabelCount:
    """Tokens of rows."""

    num_rows: int = 0
    num_tokens: int = 0
    num_trained: int = 0

    def add(self, row: RowIds) -> None:
        """Counts one row."""
        self.num_rows += 1
        self.num_tokens += len(row.input_ids)
        self.num_trained += row.num_answer_tokens

    @property
    def told(self) -> str:
        """In one line."""
        share = 100 * self.num_trained / self.num_tokens if self.num_tokens else 0.0
        return (
            f"{self.num_rows:,} rows, {self.num_tokens:,} tokens, {self.num_trained:,} of them trained ({share:.1f} %)"
        )


def trained_runs(tokenizer: Any, row: RowIds) -> list[tuple[str, bool]]:
    """The row's text in runs, each with whether it is trained."""
    pairs = zip(row.input_ids, row.labels, strict=True)
    runs = groupby(pairs, key=lambda pair: pair[1] != IGNORED_LABEL)
    return [(str(tokenizer.decode([token for token, _ in run])), is_trained) for is_trained, run in runs]
