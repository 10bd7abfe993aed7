"""The engine: one prompt in, text and tokens with raw-softmax log-probabilities out.

    engine = Engine(LanguageModel.load(base, lora_adapter=adapter))
    engine.process(ProcessRequest(prompt="2 + 2 =", max_new_tokens=4)).text

What holds for every answer: the tokens' text in a row is `text`, their log-probabilities sum to `logprob`, and both
end at the first stop string.

Where it sits: api -> **engine** -> server.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from curation.language_model import LanguageModel
from submission.api import ProcessRequest, Token

GREEDY_BELOW = 1e-5
"""Temperatures up to this are greedy. Source: HELM sends 1e-7 for a temperature of 0."""

LOWEST_LOGPROB = -1e4
"""JSON has no infinity, and HELM chokes on NaN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An answer, before HTTP."""

    text: str
    tokens: tuple[Token, ...]
    logprob: float


class Engine:
    """Answers one request at a time. Not thread-safe: the server owns the only thread."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    def tokenize(self, text: str, *, truncation: bool, max_length: int) -> list[int]:
        """Ids without BOS, so that a count of them is the text's own length."""
        ids = self._model.encode(text, bos=False)
        return ids[:max_length] if truncation else ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; what `tokenize` gave comes back as it was.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        size = len(self._model.tokenizer)
        if any(i >= size for i in ids):
            raise ValueError(f"token ids run from 0 to {size - 1}")
        return str(self._model.tokenizer.decode(list(ids), skip_special_tokens=False))

    def process(self, request: ProcessRequest) -> Completion:
        """Completes a prompt. One that is too long for the model loses its beginning."""
        prompt_ids, max_new_tokens = self._fitted(self._model.encode(request.prompt), request.max_new_tokens)
        new_ids, logits = self._generate(prompt_ids, request, max_new_tokens)
        tokens = self._tokens(prompt_ids, new_ids, logits)
        tokens = cut_tokens(tokens, request.stop_sequences)
        if request.echo_prompt:
            tokens = [*self._echo(prompt_ids), *tokens]
        return Completion(
            text="".join(t.text for t in tokens), tokens=tuple(tokens), logprob=sum(t.logprob for t in tokens)
        )

    def _fitted(self, ids: list[int], max_new_tokens: int) -> tuple[list[int], int]:
        """A prompt and a number of new tokens that fit the model's window together.

        The answer gets what the prompt leaves of the window. Only a prompt that leaves less than an eighth of it loses
        its beginning (BOS stays in front), and so much that an eighth is left.
        """
        window = self._model.context_length
        allowed = min(max_new_tokens, max(window - len(ids), window // 8))
        room = window - allowed
        if len(ids) <= room:
            return ids, allowed
        head = ids[:1] if ids[0] == self._model.tokenizer.bos_token_id else []
        return [*head, *ids[len(ids) - room + len(head) :]], allowed

    def _generate(
        self, prompt_ids: list[int], request: ProcessRequest, max_new_tokens: int
    ) -> tuple[list[int], list[torch.Tensor]]:
        """New ids up to EOS or a stop string, with the raw logits they were chosen from."""
        if max_new_tokens == 0:
            return [], []
        if request.seed is not None:
            torch.manual_seed(request.seed)
        greedy = request.temperature <= GREEDY_BELOW
        sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if not greedy:
            sampling = {
                "do_sample": True, "temperature": request.temperature, "top_p": request.top_p,
                "top_k": request.top_k or 0,
            }  # fmt: skip
        device = self._model.device
        with torch.inference_mode():
            output = self._model.model.generate(
                input_ids=torch.tensor([prompt_ids], device=device),
                attention_mask=torch.ones(1, len(prompt_ids), dtype=torch.long, device=device),
                max_new_tokens=max_new_tokens,
                pad_token_id=self._model.tokenizer.pad_token_id,
                repetition_penalty=1.0,
                return_dict_in_generate=True,
                output_logits=True,
                stopping_criteria=self._model.stopping(len(prompt_ids), request.stop_sequences),
                **sampling,
            )
        new_ids = output.sequences[0, len(prompt_ids) :].tolist()
        eos = self._model.tokenizer.eos_token_id
        if eos in new_ids:
            new_ids = new_ids[: new_ids.index(eos)]
        return new_ids, [step[0] for step in output.logits[: len(new_ids)]]

    def _echo(self, prompt_ids: list[int]) -> list[Token]:
        """The prompt's own tokens with their log-probabilities; without BOS the first has no context and gets 0.0."""
        with torch.inference_mode():
            logits = self._model.model(input_ids=torch.tensor([prompt_ids], device=self._model.device)).logits[0]
        # Texts are decoded from the start, where the tokenizer takes its own word mark off again: hence no `before`.
        if prompt_ids[0] == self._model.tokenizer.bos_token_id:
            return self._tokens((), prompt_ids[1:], list(logits[:-1]))
        tokens = self._tokens((), prompt_ids, [logits[0], *logits[:-1]])
        return [tokens[0].model_copy(update={"logprob": 0.0, "top_logprob": {}}), *tokens[1:]]

    def _tokens(self, before: Sequence[int], ids: Sequence[int], logits: Sequence[torch.Tensor]) -> list[Token]:
        """Ids as tokens. `logits[i]` is what `ids[i]` was chosen from, shape [vocabulary]."""
        texts = self._texts(before, ids)
        tokens = []
        for token_id, text, raw in zip(ids, texts, logits, strict=True):
            logprobs = torch.log_softmax(raw.float(), dim=-1)
            best = int(logprobs.argmax())
            top = self._model.tokenizer.decode([best], skip_special_tokens=False)
            tokens.append(
                Token(
                    text=text,
                    logprob=_finite(float(logprobs[token_id])),
                    top_logprob={str(top): _finite(float(logprobs[best]))},
                )
            )
        return tokens

    def _texts(self, before: Sequence[int], ids: Sequence[int]) -> list[str]:
        """What each id adds to the text. A character cut across ids counts for the id that completes it."""
        texts: list[str] = []
        done = ""
        for end in range(1, len(ids) + 1):
            text = self._model.continuation(before, ids[:end])
            if text.endswith("�") and end < len(ids):
                texts.append("")
                continue
            texts.append(text[len(done) :])
            done = text
        return texts


def cut_tokens(tokens: list[Token], stop: Sequence[str]) -> list[Token]:
    """Tokens up to the first stop string; one that straddles it keeps the text before it."""
    text = "".join(t.text for t in tokens)
    ends = [position for s in stop if (position := text.find(s)) >= 0]
    if not ends:
        return tokens
    end, kept, length = min(ends), [], 0
    for token in tokens:
        if length >= end:
            break
        kept.append(token.model_copy(update={"text": token.text[: end - length]}))
        length += len(token.text)
    return kept


def _finite(value: float) -> float:
    return max(LOWEST_LOGPROB, value) if value == value else LOWEST_LOGPROB
