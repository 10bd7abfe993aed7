"""Greedy decoding of rows of many tasks in one batch: a row that ends leaves, and another takes its place.

    decoder = RowDecoder(model, num_rows=32, width=1024, read_prefix=model.read_prefix)
    for ended in decoder.run([RowGroup(shared=ids, rows=[row, row]), ...]):
        ...

The prompts of a task are read behind their shared prefix, all but their last token. From there on every row has a slot
of a fixed width for its keys and values, whichever task it comes from, and one forward pass adds a token to each row.

Where it sits: below the `transformers` predictor. A server's rows, which are sampled and scored, have a decoder of
their own (`submission/engine/generate.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from core.model.language_model import LanguageModel, Prefix

if TYPE_CHECKING:
    import torch

MOST_READ = 8
"""Prompts of a task that are read together: their keys and values take memory besides the slots."""

_TAIL = 8
"""Tokens before a stop string that are decoded with it, so that it is found inside whole characters."""


@dataclass(slots=True, kw_only=True, eq=False)
class Row:
    """One prompt, and the ids of its answer so far."""

    number: int
    """The caller's."""
    prompt_ids: Sequence[int]
    max_new_tokens: int
    stop: Sequence[str]
    ends: frozenset[int]
    """Ids that end the answer."""
    repetition_penalty: float = 1.0
    ids: list[int] = field(default_factory=list)
    """New ones, an end token included."""

    @property
    def size(self) -> int:
        """The largest number of tokens that it can reach."""
        return len(self.prompt_ids) + self.max_new_tokens

    def push(self, token_id: int, tokenizer: Any) -> bool:
        """Appends a token; returns whether the row has ended."""
        self.ids.append(token_id)
        if token_id in self.ends or len(self.ids) >= self.max_new_tokens:
            return True
        if not self.stop:
            return False
        tail = self.ids[-max(4 * len(s) for s in self.stop) - _TAIL :]
        text = tokenizer.decode(tail)
        return any(s in text for s in self.stop)


@dataclass(frozen=True, kw_only=True)
class RowGroup:
    """Rows of one task."""

    shared: Sequence[int]
    """Ids that all prompts begin with; none is as long. Empty: nothing is shared."""
    rows: Sequence[Row]


def can_decode(model: LanguageModel, width: int) -> bool:
    """Whether every layer keeps the keys and values of all `width` tokens, so that rows can be decoded in slots."""
    from transformers import DynamicCache

    layers = DynamicCache(config=model.model.config).layers
    windows = [layer.sliding_window for layer in layers if type(layer) is DynamicSlidingWindowLayer]
    known = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
    return bool(layers) and known and all(width <= window for window in windows)


class RowDecoder:
    """The rows that are being decoded.

    Args:
        num_rows: Largest number of rows in a forward pass.
        width: Largest `size` of a row.
        read_prefix: Gives the keys and values of a prefix, `LanguageModel.read_prefix` or one that keeps the last.
    """

    def __init__(
        self, model: LanguageModel, *, num_rows: int, width: int, read_prefix: Callable[[Sequence[int]], Prefix]
    ) -> None:
        self._model, self._num_rows, self._read_prefix = model, num_rows, read_prefix
        self._rows: list[Row] = []
        self._slots = _Slots(model, num_rows=num_rows, width=width)

    def run(self, groups: Iterable[RowGroup]) -> Iterator[list[Row]]:
        """Decodes all rows. Yields after each token of every row, with the rows that ended with it, often none."""
        waiting = deque((group.shared, deque(group.rows)) for group in groups)
        while waiting or self._rows:
            while waiting and (room := self._num_rows - len(self._rows)):
                shared, rows = waiting[0]
                self._admit(shared, [rows.popleft() for _ in range(min(room, len(rows), MOST_READ))])
                if not rows:
                    waiting.popleft()
                yield []
            yield self._step()

    def _admit(self, shared: Sequence[int], rows: Sequence[Row]) -> None:
        """Reads all but the last token of the prompts."""
        import torch
        from transformers import DynamicCache

        prefix = self._read_prefix(shared) if shared else None
        num = len(shared)
        rests = [list(row.prompt_ids[num:-1]) for row in rows]
        longest = max(map(len, rests))
        cache = DynamicCache(config=self._model.model.config)
        if prefix:
            for layer, read in zip(cache.layers, prefix.cache.layers, strict=True):
                layer.update(*(t.expand(len(rows), -1, -1, -1) for t in (read.keys, read.values)))
        if longest:
            device = self._model.device
            ids = torch.tensor([rest + [0] * (longest - len(rest)) for rest in rests], device=device)
            mask = [[1] * (num + len(rest)) + [0] * (longest - len(rest)) for rest in rests]
            with torch.inference_mode():
                self._model.model(
                    input_ids=ids,
                    attention_mask=torch.tensor(mask, device=device),
                    position_ids=torch.arange(num, num + longest, device=device)[None].expand(len(rows), -1),
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
        for place, row in enumerate(rows):
            self._slots.fill(len(self._rows), cache, place, len(row.prompt_ids) - 1)
            self._rows.append(row)

    def _step(self) -> list[Row]:
        """One token for every row; returns those that have ended with it."""
        import torch

        last = [row.ids[-1] if row.ids else row.prompt_ids[-1] for row in self._rows]
        with torch.inference_mode():
            logits = self._slots.forward(last)
            self._penalise(logits)
            chosen = logits.argmax(dim=-1).tolist()
        tokenizer = self._model.tokenizer
        going = [not row.push(token, tokenizer) for row, token in zip(self._rows, chosen, strict=True)]
        ended = [row for row, goes in zip(self._rows, going, strict=True) if not goes]
        for place in reversed([place for place, goes in enumerate(going) if not goes]):
            self._slots.free(place, len(self._rows) - 1)
            self._rows[place] = self._rows[-1]
            self._rows.pop()
        return ended

    def _penalise(self, logits: torch.Tensor) -> None:
        """Divides the positive logits, and multiplies the negative ones, of the tokens of a row's prompt and answer.

        Source: Keskar et al. 2019, as in transformers.
        """
        import torch

        for place, row in enumerate(self._rows):
            if row.repetition_penalty != 1.0:
                seen = torch.tensor(sorted({*row.prompt_ids, *row.ids}), device=logits.device)
                found, penalty = logits[place, seen], row.repetition_penalty
                logits[place, seen] = torch.where(found > 0, found / penalty, found * penalty)


class _Slots:
    """Keys and values of the rows: row `n` has slot `n`, filled from the left."""

    def __init__(self, model: LanguageModel, *, num_rows: int, width: int) -> None:
        self._model, self._num_rows, self._width = model, num_rows, width
        self.lengths: list[int] = []
        self.index: Any = None
        self._cache: Any = None

    def fill(self, slot: int, cache: Any, place: int, length: int) -> None:
        """Copies a row that was read; `slot` is the next free one."""
        from transformers import DynamicCache

        assert slot == len(self.lengths)
        if self._cache is None:
            self._cache = DynamicCache()
            self._cache.layers = [_SlotLayer(self) for _ in cache.layers]
            self._cache.layer_class_to_replicate = None
        for layer, read in zip(self._cache.layers, cache.layers, strict=True):
            if length:
                layer.reserve(read.keys, read.values, self._num_rows, self._width)
                layer.keys[slot, :, :length] = read.keys[place, :, :length]
                layer.values[slot, :, :length] = read.values[place, :, :length]
        self.lengths.append(length)

    def free(self, slot: int, last: int) -> None:
        """Moves the last row into a slot whose row has ended."""
        length = self.lengths[last]
        if slot != last:
            for layer in self._cache.layers:
                layer.keys[slot, :, :length] = layer.keys[last, :, :length]
                layer.values[slot, :, :length] = layer.values[last, :, :length]
            self.lengths[slot] = length
        self.lengths.pop()

    def forward(self, ids: Sequence[int]) -> torch.Tensor:
        """Adds a token to each row. Returns the logits of the next one, fp32, shape [rows, vocabulary]."""
        import torch

        device = self._model.device
        lengths = torch.tensor(self.lengths, device=device)
        self.index = torch.arange(len(ids), device=device), lengths
        mask = torch.arange(max(self.lengths) + 1, device=device)[None] <= lengths[:, None]
        output = self._model.model(
            input_ids=torch.tensor(ids, device=device)[:, None],
            attention_mask=mask,
            position_ids=lengths[:, None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.lengths = [length + 1 for length in self.lengths]
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits


class _SlotLayer(DynamicLayer):  # type: ignore[misc,unused-ignore]
    """The keys and values of one layer, shape [slots, heads, width, size]."""

    def __init__(self, slots: _Slots) -> None:
        super().__init__()
        self._slots = slots

    def reserve(self, keys: torch.Tensor, values: torch.Tensor, num_rows: int, width: int) -> None:
        """Allocates the slots with the shapes and the type of what was read."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
            self.keys, self.values = (t.new_zeros(num_rows, t.shape[1], width, t.shape[3]) for t in (keys, values))

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes a new token behind each row; returns all tokens up to the longest row's."""
        slots = self._slots
        self.reserve(key_states, value_states, slots._num_rows, slots._width)
        rows, lengths = slots.index
        self.keys[rows, :, lengths] = key_states[:, :, 0]
        self.values[rows, :, lengths] = value_states[:, :, 0]
        shown = max(slots.lengths) + 1
        return self.keys[: len(rows), :, :shown], self.values[: len(rows), :, :shown]

    def get_seq_length(self) -> int:
        """Tokens of the longest row."""
        return max(self._slots.lengths, default=0)
