"""The base model itself, through transformers, on this machine's CPU or GPU."""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path

from curation.language_model import LanguageModel, Precision, model_fingerprint
from curation.predict import Request


class TransformersPredictor:
    """Greedy answers in batches sorted by length.

    Args:
        path: A local model folder.
        batch_size: Prompts per forward pass. Part of `revision`: float sums depend on the batch's shape.
        precision: As `LanguageModel.load`.
    Raises:
        PredictionError: the folder is no model, or lacks a tokenizer.
    """

    def __init__(self, path: Path, *, batch_size: int = 32, precision: Precision | None = None) -> None:
        self._model = LanguageModel.load(path, precision=precision)
        self._batch_size = batch_size
        self._revision = f"{model_fingerprint(path)}:{self._model.precision}:batch{batch_size}"

    @property
    def revision(self) -> str:
        """Weights, precision and batch size."""
        return self._revision

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Counts tokens only where the number of characters leaves a doubt."""
        context = self._model.context_length
        if len(prompt) + max_new_tokens < context:  # a token is at least one character, or a byte of one
            return prompt.isascii() or len(self._model.encode(prompt)) + max_new_tokens <= context
        if len(prompt) > 64 * context:
            return False
        return len(self._model.encode(prompt)) + max_new_tokens <= context

    def complete(self, requests: Sequence[Request]) -> list[str | None]:
        """Greedy answers, in the order of the requests."""
        answers: list[str | None] = [None] * len(requests)
        for batch in self._batches(requests):
            first = requests[batch[0]]
            texts = self._model.generate(
                [requests[i].prompt for i in batch], max_new_tokens=first.max_new_tokens, stop=first.stop
            )
            for i, text in zip(batch, texts, strict=True):
                answers[i] = text
        return answers

    def _batches(self, requests: Sequence[Request]) -> Iterator[list[int]]:
        """Indices of requests with the same sampling, prompts of similar length together."""

        def sampling(i: int) -> tuple[int, tuple[str, ...]]:
            return requests[i].max_new_tokens, requests[i].stop

        order = sorted(range(len(requests)), key=lambda i: (sampling(i), len(requests[i].prompt), i))
        for _, group in groupby(order, key=sampling):
            while batch := list(islice(group, self._batch_size)):
                yield batch
