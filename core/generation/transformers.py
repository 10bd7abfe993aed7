"""A predictor that runs a model with transformers, on this machine's CPU or GPU.

All prompts of a task begin with the same preamble, definition and shots. The model reads this prefix once, and its keys
and values are kept for the other prompts. Prompts of all tasks share the batches in which answers are decoded.
Messages are rendered by the chat template of the tokenizer.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.decoding.prefix_cache import PrefixCache
from core.encoding.rendering import ChatRenderer
from core.errors import PredictionError
from core.generation.request import Request
from core.generation.signals import Signals
from core.model.completion import Completion
from core.model.folder import model_fingerprint
from core.model.language_model import LanguageModel
from core.model.libraries import give_back
from core.model.quantisation import Precision, Quantisation
from core.model.token_ids import encode

if TYPE_CHECKING:
    from core.decoding.greedy_decoder import GreedyRow

MOST_BATCH_TOKENS = 32_768
"""Largest number of prompt and answer tokens in a batch, the prefix included: 4 GiB of bf16 keys and values at 7B."""

MOST_READ = 8
"""Prompts that are read before the next token of the others, so that answers are handed over in time."""

PREFIX_BYTES = 256 << 20
"""Keys and values of prompts that are kept: 2,048 tokens of a 7B model in bf16, which hold the prefix of one task."""

_LEAST_WIDTH = 1024
"""Tokens of a prompt and its answer up to which all requests share batches; beyond, those up to twice as long do."""

TELL_EVERY_S = 10.0
"""Seconds after which complete answers are handed over to be stored and counted, even if there are none."""


class TransformersPredictor:
    """Greedy answers, decoded in batches that hold rows of any task.

    Args:
        path: A local model folder.
        lora_adapter: The folder of an adapter on it.
        batch_size: Largest number of rows per forward pass. Part of `revision`, because float sums depend on it.
        precision: As in `LanguageModel.load`.
        reuse_prefix: False only to measure the gain: each batch holds one task, and every prompt is read as a whole.
        chat_template: Renders messages in place of the tokenizer's own template.
        clock: Decides only when answers are handed over.
    Raises:
        PredictionError: the folder is no model, or lacks a tokenizer.
    """

    in_flight = 1
    keeps_answers = True

    def __init__(
        self,
        path: Path,
        *,
        lora_adapter: Path | None = None,
        batch_size: int = 32,
        precision: Precision | Quantisation | None = None,
        reuse_prefix: bool = True,
        chat_template: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = LanguageModel.load(path, lora_adapter=lora_adapter, precision=precision)
        self._batch_size = batch_size
        self._reuse_prefix = reuse_prefix
        self._prefixes = PrefixCache(PREFIX_BYTES)
        self._chat_template = chat_template
        self._clock = clock
        mode = "rows" if reuse_prefix else "whole"
        weights = model_fingerprint(path) + (f"+{model_fingerprint(lora_adapter)}" if lora_adapter else "")
        self._revision = f"{weights}:{self._model.precision}:batch{batch_size}:{mode}"

    @property
    def revision(self) -> str:
        """Weights, precision and batch shape."""
        return self._revision

    @cached_property
    def _renderer(self) -> ChatRenderer:
        return ChatRenderer(self._model.tokenizer, template=self._chat_template)

    @property
    def told(self) -> str:
        """Which chat template renders messages, in words."""
        return self._renderer.told

    def close(self) -> None:
        """Frees the GPU memory for what follows in this process."""
        del self._model
        self._prefixes.clear()
        give_back()

    @property
    def limit(self) -> "ContextLimit":
        """`fits` as an object that can be sent to another machine."""
        return ContextLimit(tokenizer=self._model.tokenizer, context=self._model.context_length)

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Whether prompt and answer fit into the model's context."""
        return self.limit(prompt, max_new_tokens)

    def complete(self, requests: Sequence[Request]) -> list[str]:
        """Greedy answers, in the order of the requests.

        Raises:
            PredictionError: a batch does not fit into the card's memory.
        """
        return [completion.text for completion in self.respond(requests)]

    def complete_batches(self, requests: Sequence[Request]) -> Iterator[dict[int, str]]:
        """As `complete`, in parts: what was answered in the last `TELL_EVERY_S`, by the number of the request."""
        for answers in self._respond(requests):
            yield {number: completion.text for number, completion in answers.items()}

    def rendered(self, request: Request) -> str:
        """The text that the model receives.

        Raises:
            Unusable: the chat template cannot show the messages.
        """
        if not request.messages:
            return request.prompt
        return self._renderer.prompt(request.messages, request.response_prefix).text

    def respond(self, requests: Sequence[Request]) -> list[Completion]:
        """As `complete`, with the length of each answer and the reason why it ended."""
        answers: dict[int, Completion] = {}
        for batch in self._respond(requests):
            answers |= batch
        return [answers[i] for i in range(len(requests))]

    def signals(self, requests: Sequence[Request]) -> list[Signals | None]:
        """How likely each request's first reference is, in the order of the requests."""
        from core.generation.reference_losses import reference_signals

        encoded = [self._encode(r) for r in requests]
        found: list[Signals | None] = [None] * len(requests)
        for numbers in self._groups(requests):
            texts = [requests[i].prompt + requests[i].references[0].strip() for i in numbers]
            prompts = [encoded[i] for i in numbers]
            signals = reference_signals(self._model, prompts, texts, reuse_prefix=self._reuse_prefix)
            for number, one in zip(numbers, signals, strict=True):
                found[number] = one
        return found

    def _respond(self, requests: Sequence[Request]) -> Iterator[dict[int, Completion]]:
        from core.decoding.row_decoder import can_decode

        encoded = [self._encode(r) for r in requests]
        widths: dict[int, list[list[GreedyRow]]] = defaultdict(list)
        for numbers in self._groups(requests):
            if not self._reuse_prefix or not can_decode(self._model):
                for batch in self._batches(requests, encoded, numbers):
                    yield dict(zip(batch, self._answer(requests, encoded, batch), strict=True))
                continue
            rows = self._rows(requests, encoded, numbers)
            width = max(row.size for row in rows)
            widths[max(_LEAST_WIDTH, 1 << (width - 1).bit_length())].append(rows)
        for _, groups in sorted(widths.items()):
            yield from self._decode(groups)

    def _decode(self, groups: "Sequence[Sequence[GreedyRow]]") -> Iterator[dict[int, Completion]]:
        """Answers tasks whose prompts are of similar length. Those with the longest answers begin."""
        from core.decoding.greedy_decoder import GreedyDecoder

        waiting = deque(row for rows in sorted(groups, key=lambda rows: -rows[0].max_new_tokens) for row in rows)
        width = max(row.size for row in waiting)
        num_rows = max(1, min(self._batch_size, MOST_BATCH_TOKENS // width, len(waiting)))
        decoder = GreedyDecoder(self._model, self._prefixes)
        told, answers = self._clock(), dict[int, Completion]()
        with self._naming_memory(num_rows, width):
            while waiting or decoder.rows:
                room = min(num_rows - len(decoder.rows), len(waiting), MOST_READ)
                ended = decoder.admit([waiting.popleft() for _ in range(room)]) if room else decoder.step()
                for row in ended:
                    answers[row.number] = self._model.completion(row.prompt_ids, row.ids, row.end_ids, row.stop)
                if (now := self._clock()) - told >= TELL_EVERY_S:
                    yield answers
                    told, answers = now, {}
        yield answers

    def _rows(
        self, requests: Sequence[Request], encoded: Sequence[list[int]], numbers: Sequence[int]
    ) -> "list[GreedyRow]":
        from core.decoding.greedy_decoder import GreedyRow

        first = requests[numbers[0]]
        end = self._renderer.end_id if first.messages else None
        return [
            GreedyRow(
                number=number,
                prompt_ids=encoded[number],
                max_new_tokens=first.max_new_tokens,
                stop=first.stop,
                end_ids=self._model.end_ids | (frozenset() if end is None else {end}),
                repetition_penalty=first.repetition_penalty,
            )
            for number in numbers
        ]

    def _encode(self, request: Request) -> list[int]:
        if not request.messages:
            return self._model.encode(request.prompt)
        return list(self._renderer.prompt(request.messages, request.response_prefix).input_ids)

    def _answer(
        self, requests: Sequence[Request], encoded: Sequence[list[int]], batch: Sequence[int]
    ) -> list[Completion]:
        first = requests[batch[0]]
        end = self._renderer.end_id if first.messages else None
        with self._naming_memory(len(batch), max(len(encoded[i]) for i in batch)):
            return self._model.complete(
                [encoded[i] for i in batch],
                max_new_tokens=first.max_new_tokens,
                stop=first.stop,
                repetition_penalty=first.repetition_penalty,
                ends=() if end is None else (end,),
            )

    @contextmanager
    def _naming_memory(self, num: int, longest: int) -> Iterator[None]:
        """Turns a lack of memory into an error with its mend."""
        try:
            yield
        except RuntimeError as e:
            if "out of memory" not in str(e).lower():
                raise
            raise PredictionError(
                f"{self._model.path}: {num} prompts of up to {longest} tokens do not fit "
                f"into memory. Pass a `batch_size=` below {num}; what is answered is kept."
            ) from e

    @staticmethod
    def _groups(requests: Sequence[Request]) -> Iterator[list[int]]:
        """Indices of requests that share task, shots and sampling, by length of the prompt."""

        def shared(i: int) -> tuple[str, int, int, tuple[str, ...], bool, float]:
            r = requests[i]
            return r.task, r.num_shared, r.max_new_tokens, r.stop, bool(r.messages), r.repetition_penalty

        def length(i: int) -> int:
            return len(requests[i].prompt) + sum(len(message.content) for message in requests[i].messages)

        order = sorted(range(len(requests)), key=lambda i: (shared(i), length(i), i))
        for _, group in groupby(order, key=shared):
            yield list(group)

    def _batches(
        self, requests: Sequence[Request], encoded: Sequence[list[int]], group: Sequence[int]
    ) -> Iterator[list[int]]:
        """Splits a group into batches, limited by the number of prompts and of tokens."""
        batch: list[int] = []
        for i in group:
            width = max(len(encoded[j]) for j in [*batch, i]) + requests[i].max_new_tokens
            if batch and (len(batch) == self._batch_size or width * (len(batch) + 1) > MOST_BATCH_TOKENS):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextLimit:
    """Whether a prompt fits. Tokens are counted only if the number of characters does not decide it."""

    tokenizer: Any
    context: int

    def __call__(self, prompt: str, max_new_tokens: int) -> bool:
        """A token is at least one byte, and few are longer than 64 characters."""
        if len(prompt) + max_new_tokens < self.context and prompt.isascii():
            return True
        if len(prompt) > 64 * self.context:
            return False
        return len(encode(self.tokenizer, prompt)) + max_new_tokens <= self.context
