"""A predictor that runs a model with transformers, on this machine's CPU or GPU.

All prompts of a task begin with the same preamble, definition and shots. The model reads this prefix once, and its keys
and values are reused for every prompt of the task. Messages are rendered by the chat template of the tokenizer.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from core.encoding.rendering import ChatRenderer
from core.errors import PredictionError
from core.generation.request import Request
from core.model.completion import Completion
from core.model.folder import model_fingerprint
from core.model.language_model import LanguageModel, Prefix
from core.model.libraries import give_back
from core.model.quantisation import Precision, Quantisation
from core.model.token_ids import encode

MOST_BATCH_TOKENS = 32_768
"""Largest number of prompt and answer tokens in a batch, the prefix included: 4 GiB of bf16 keys and values at 7B."""

_LEAST_PREFIX = 16
"""Copying the keys and values of a shorter prefix takes longer than it saves."""


class TransformersPredictor:
    """Greedy answers in batches of one task, sorted by length.

    Args:
        path: A local model folder.
        lora_adapter: The folder of an adapter on it.
        batch_size: Largest number of prompts per forward pass. Part of `revision`, because float sums depend on it.
        precision: As in `LanguageModel.load`.
        reuse_prefix: False only to measure the gain.
        chat_template: Renders messages in place of the tokenizer's own template.
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
    ) -> None:
        self._model = LanguageModel.load(path, lora_adapter=lora_adapter, precision=precision)
        self._batch_size = batch_size
        self._reuse_prefix = reuse_prefix
        self._prefix: Prefix | None = None
        self._chat_template = chat_template
        mode = "prefix" if reuse_prefix else "whole"
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
        self._prefix = None
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
        """As `complete`, the answers of one batch at a time, by the number of the request."""
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

    def _respond(self, requests: Sequence[Request]) -> Iterator[dict[int, Completion]]:
        encoded = [self._encode(r) for r in requests]
        for group in self._groups(requests):
            shared = self._shared(requests, encoded, group)
            for batch in self._batches(requests, encoded, group):
                yield dict(zip(batch, self._answer(requests, encoded, batch, shared), strict=True))

    def _encode(self, request: Request) -> list[int]:
        if not request.messages:
            return self._model.encode(request.prompt)
        return list(self._renderer.prompt(request.messages, request.response_prefix).input_ids)

    def _answer(
        self, requests: Sequence[Request], encoded: Sequence[list[int]], batch: Sequence[int], shared: Prefix | None
    ) -> list[Completion]:
        first = requests[batch[0]]
        end = self._renderer.end_id if first.messages else None
        try:
            return self._model.complete(
                [encoded[i] for i in batch],
                max_new_tokens=first.max_new_tokens,
                stop=first.stop,
                prefix=shared,
                repetition_penalty=first.repetition_penalty,
                ends=() if end is None else (end,),
            )
        except RuntimeError as e:
            if "out of memory" not in str(e).lower():
                raise
            longest = max(len(encoded[i]) for i in batch)
            raise PredictionError(
                f"{self._model.path}: {len(batch)} prompts of up to {longest} tokens do not fit "
                f"into memory. Pass a `batch_size=` below {len(batch)}; what is answered is kept."
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

    def _shared(self, requests: Sequence[Request], encoded: Sequence[list[int]], group: Sequence[int]) -> Prefix | None:
        """The tokens that all prompts of a task begin with. The model reads them once per task.

        If the tokenizer merges characters across the end of the shared text, the prefix ends before the merge.
        """
        ids = self._encode_shared(requests[group[0]])
        for i in group:
            ids = ids[: _common(ids, encoded[i][:-1])]
        if not self._reuse_prefix or len(ids) < _LEAST_PREFIX:
            return None
        if self._prefix is None or self._prefix.ids != tuple(ids):
            self._prefix = None  # frees its memory first
            self._prefix = self._model.read_prefix(ids)
        return self._prefix

    def _encode_shared(self, request: Request) -> list[int]:
        """The ids of the first `num_shared` characters of the rendered prompt."""
        if not request.messages:
            return self._model.encode(request.prompt[: request.num_shared])
        prompt = self._renderer.prompt(request.messages, request.response_prefix)
        return list(prompt.input_ids[: bisect_right(prompt.ends, request.num_shared)])

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


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common prefix."""
    for n, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return n
    return min(len(a), len(b))
