"""Signals of a row: the loss of its reference answer with and without the prompt, and the answer's length.

    >>> signals = Signals(num_tokens=4, loss=1.2, loss_alone=2.4)
    >>> signals.ifd
    0.5

The losses are means over the answer's tokens, so that long and short answers compare. Their ratio is the
instruction-following difficulty (IFD) of Li et al. 2023, arXiv 2308.12032: near 1, the prompt hardly helps the model to
produce the answer; above 1, it misleads. The paper leaves rows above 1 out and takes the highest of the others.

Where it sits: beside the asking loop, measured by the same loaded model on the same prompts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

import orjson

from core.files import sha256
from core.generation.answer_store import ShardStore
from core.generation.request import SHARD_SIZE, Answer, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Of the reference answer that a row is trained on, the first one. The end token is not counted."""

    num_tokens: int
    loss: float
    """Mean negative log-likelihood of the answer's tokens behind the prompt, in nats."""
    loss_alone: float
    """The same behind the token that begins a text, without the prompt."""

    @property
    def ifd(self) -> float | None:
        """Loss behind the prompt per loss without it. None: the answer is certain without any prompt."""
        return self.loss / self.loss_alone if self.loss_alone > 0 else None


@runtime_checkable
class SignalPredictor(Protocol):
    """A predictor that can also tell how likely a given answer is."""

    def signals(self, requests: Sequence[Request]) -> Sequence[Signals | None]:
        """The signals of each request's first reference, in order. None: it has none, or cannot be measured.

        Raises:
            PredictionError: the engine failed. Stored signals are kept.
        """


class SignalStore(ShardStore):
    """Signals by the hash of model, prompt and reference."""

    def __getitem__(self, key: str) -> Signals | None:
        found: Mapping[str, float] | None = self.value(key)
        return None if found is None else signals_of(found)


def signals_of(row: Mapping[str, float]) -> Signals:
    """The signals of a JSON object."""
    return Signals(num_tokens=int(row["num_tokens"]), loss=float(row["loss"]), loss_alone=float(row["loss_alone"]))


Asked = tuple[Request, str, Answer]


def with_signals(
    asked: Iterable[Asked], predictor: SignalPredictor, revision: str, store: SignalStore | None
) -> Iterator[tuple[Asked, Signals | None]]:
    """Adds the signals to what `ask` yields, shard by shard. Only what the store does not hold is measured.

    Args:
        store: None: nothing is stored, because the predictor only looks signals up.
    """
    iterator = iter(asked)
    while shard := list(islice(iterator, SHARD_SIZE)):
        keys = [_key(request, revision) if isinstance(answer, str) else None for request, _, answer in shard]
        missing = {
            key: request
            for key, (request, _, _) in zip(keys, shard, strict=True)
            if key is not None and (store is None or key not in store)
        }
        fresh = dict(zip(missing, predictor.signals(list(missing.values())), strict=True)) if missing else {}
        if store is not None and fresh:
            store.add(fresh)
        for one, key in zip(shard, keys, strict=True):
            if key is None or key in fresh or store is None:
                yield one, None if key is None else fresh[key]
            else:
                yield one, store[key]


def _key(request: Request, revision: str) -> str:
    return sha256(orjson.dumps([revision, request.prompt, request.references[:1], "signals"]))
