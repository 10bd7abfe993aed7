"""Which tokens of a row are trained, as text.

    trained_runs(tokenizer, row)     # [("<|im_start|>user ...", False), ("Hi<|im_end|>", True), ...]

Where it sits: example_ids -> **labels** -> the sample beside a tokenised table.
"""

from itertools import groupby
from typing import Any

from core.model.token_ids import IGNORED_LABEL, RowIds


def trained_runs(tokenizer: Any, row: RowIds) -> list[tuple[str, bool]]:
    """The row's text in runs, each with whether it is trained."""
    pairs = zip(row.input_ids, row.labels, strict=True)
    runs = groupby(pairs, key=lambda pair: pair[1] != IGNORED_LABEL)
    return [(str(tokenizer.decode([token for token, _ in run])), is_trained) for is_trained, run in runs]
