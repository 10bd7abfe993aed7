"""Keys and values of rows that are decoded together: every row's newest token stands in the same column.

    columns = RowColumns(model)
    columns.add([5, 3])                                        # two rows of 5 and 3 tokens, of which none is read
    columns.forward(0, [[1, 5, 6, 7, 8], [0, 0, 1, 5, 6]])     # logits behind the last token of both
    columns.extend()                                           # one more token in every row

    column      0 1 2 3 4 5 6
    row 0           a b c d e
    row 1               f g h

A new token is written into the next column for all rows, so nothing is copied, and each row's tokens are adjacent, as
layers with a window of attention require. What stands left of a row is masked.

Where it sits: below row_decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from core.decoding.prefix_cache import Layers
from core.model.language_model import LanguageModel

SPARE = 64
"""Columns that are allocated beyond the newest token: all rows are copied once per so many new tokens."""


class RowColumns:
    """The rows, by number."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self.clear()

    def clear(self) -> None:
        """Frees the memory."""
        self.lengths: list[int] = []
        self.end = 0
        """The column behind every row's newest token."""
        self.num_rows = self.num_columns = 0
        """Allocated."""
        self.rows, self.num_shown, self.num_read = slice(0, 0), 0, 0
        """The rows and the columns that the forward pass sees, and how many of those were read before it."""
        self._cache: Any = DynamicCache()
        self._cache.layer_class_to_replicate = partial(_Layer, self)

    def add(self, lengths: Sequence[int]) -> None:
        """Adds rows of such lengths, behind the last one."""
        self._reserve(len(self.lengths) + len(lengths), longest=max(lengths), num_new=0)
        self.lengths += lengths

    def extend(self) -> None:
        """Adds a column for a new token of every row."""
        self._reserve(len(self.lengths), longest=0, num_new=1)
        self.end += 1
        self.lengths = [length + 1 for length in self.lengths]

    def keep(self, keeps: Sequence[bool]) -> list[int]:
        """Drops rows; returns the old numbers of those that are left. The last row takes the place of a dropped one."""
        left = list(range(len(self.lengths)))
        for number in reversed([number for number, is_kept in enumerate(keeps) if not is_kept]):
            last = len(self.lengths) - 1
            if number != last:
                columns = slice(self.end - self.lengths[last], self.end)
                for layer in self._cache.layers:
                    layer.keys[number, :, columns] = layer.keys[last, :, columns]
                    layer.values[number, :, columns] = layer.values[last, :, columns]
                self.lengths[number], left[number] = self.lengths[last], left[last]
            self.lengths.pop()
            left.pop()
        return left

    def write(self, row: int, start: int, layers: Layers, num: int) -> None:
        """Copies the first `num` tokens of keys and values to a row's tokens from `start` on."""
        place = self.end - self.lengths[row] + start
        while len(self._cache.layers) < len(layers):
            self._cache.layers.append(_Layer(self))
        for layer, (keys, values) in zip(self._cache.layers, layers, strict=True):
            layer.allocate(keys, values)
            layer.keys[row, :, place : place + num] = keys[:, :num]
            layer.values[row, :, place : place + num] = values[:, :num]

    def read(self, row: int, start: int, end: int) -> Layers:
        """Copies of the keys and values of some of a row's tokens."""
        first = self.end - self.lengths[row]
        columns = slice(first + start, first + end)
        return [
            (layer.keys[row, :, columns].clone(), layer.values[row, :, columns].clone()) for layer in self._cache.layers
        ]

    def forward(self, first: int, ids: Sequence[Sequence[int]], *, num_logits: int = 1) -> torch.Tensor:
        """Runs the model on the last tokens of rows, all tokens before being read.

        Args:
            first: Number of the first row.
            ids: Of each row, equally many. What exceeds a row's length, on the left, is ignored.
        Returns:
            Logits of the last `num_logits` positions, shape [rows, positions, vocabulary]; 0: of all positions.
        """
        device, num_new = self._model.device, len(ids[0])
        self.rows = slice(first, first + len(ids))
        self.num_shown = max(self.lengths[self.rows])
        self.num_read = self.num_shown - num_new
        lengths = torch.tensor(self.lengths[self.rows], device=device)[:, None]
        positions = torch.arange(self.num_shown, device=device)[None] - (self.num_shown - lengths)
        output = self._model.model(
            input_ids=torch.tensor(ids, device=device),
            attention_mask=(positions >= 0).long(),
            position_ids=positions[:, -num_new:].clamp(min=0),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=num_logits,
        )
        logits: torch.Tensor = output.logits
        return logits

    def _reserve(self, num_rows: int, *, longest: int, num_new: int) -> None:
        """Room for so many rows, for `longest` tokens up to the newest, and for `num_new` tokens more."""
        if num_rows <= self.num_rows and longest <= self.end and self.end + num_new <= self.num_columns:
            return
        old = slice(self.end - max(self.lengths, default=0), self.end)
        if num_rows > self.num_rows:
            self.num_rows = num_rows + num_rows // 4
        self.end = max(longest, *self.lengths, 0)
        self.num_columns = self.end + num_new + SPARE
        for layer in self._cache.layers:
            layer.move(len(self.lengths), old)


class _Layer(DynamicLayer):  # type: ignore[misc,unused-ignore]
    """Keys and values of one layer, shape [rows, heads, columns, size]."""

    def __init__(self, columns: RowColumns) -> None:
        super().__init__()
        self._columns = columns

    def allocate(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Allocates with the type and the sizes of what is to be written, shape [..., heads, tokens, size]."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
            self.keys, self.values = self._zeros(keys), self._zeros(values)

    def move(self, num_rows: int, columns: slice) -> None:
        """Allocates anew, and copies what the columns hold to those before the new end."""
        if self.is_initialized:
            self.keys, self.values = (self._moved(t, num_rows, columns) for t in (self.keys, self.values))

    def _moved(self, old: torch.Tensor, num_rows: int, columns: slice) -> torch.Tensor:
        new, end = self._zeros(old), self._columns.end
        new[:num_rows, :, end - (columns.stop - columns.start) : end] = old[:num_rows, :, columns]
        return new

    def _zeros(self, like: torch.Tensor) -> torch.Tensor:
        # zeros, because a masked column still takes part in sums, with weight 0
        return like.new_zeros(self._columns.num_rows, like.shape[-3], self._columns.num_columns, like.shape[-1])

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes the newest tokens; returns all tokens up to the longest row's."""
        self.allocate(key_states, value_states)
        rows, end = self._columns.rows, self._columns.end
        new = slice(end - key_states.shape[2], end)
        self.keys[rows, :, new], self.values[rows, :, new] = key_states, value_states
        shown = slice(end - self._columns.num_shown, end)
        return self.keys[rows, :, shown], self.values[rows, :, shown]

    def get_seq_length(self) -> int:
        """Tokens that were read before this forward pass, as the mask counts them."""
        return self._columns.num_read
