"""The engine: from prompts to text and tokens with log-probabilities under the raw softmax.

    engine = Engine(LanguageModel.load(base, lora_adapter=adapter))
    engine.process(ProcessRequest(prompt="2 + 2 =", max_new_tokens=4)).text

For every answer, the concatenated text of the tokens is `text`, their log-probabilities sum to `logprob`, and both end
at the first stop string.

Where it sits: api -> **engine** -> batcher -> server.
"""

import copy
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch

from core.model.language_model import LanguageModel
from core.model.token_ids import encode
from submission.engine.detokenize import token_texts
from submission.engine.generate import Row, finite, sampler
from submission.engine.job import Completion, Job, Load, OnDone, Take
from submission.engine.long_text import Overlong, first_ids, last_ids
from submission.engine.work import Work
from submission.errors import OverlongError
from submission.server.api import ProcessRequest, Token

GREEDY_BELOW = 1e-5
"""Temperatures up to this value are greedy. Source: HELM sends 1e-7 for a temperature of 0."""

BLANK_LINE = "\n\n"

SELF_CHECK = (
    "Question: Which of these is a colour?\nA. lamp\nB. red\nAnswer: B\n\n"
    "Question: Which of these is an animal?\nA. dog\nB. cup\nAnswer:"
)

ROUND_TRIP = " Ann's  plate:\n\ttwo 漢字 <s> é "

ECHO_CHUNK = 256
"""Positions of an echoed prompt whose log-probabilities are computed together, as fp32 of [positions, vocabulary]."""


class Engine:
    """Answers requests. One thread uses the model (`run`, `process`); any may use `tokenize`, `decode`, `prepare`.

    Args:
        overlong: Policy for prompts that do not fit the context window.
        birbal: As the winner's server did: a prompt with fewer than two blank lines is wrapped in the training
            template, and an answer ends at its first blank line.
    """

    def __init__(
        self, model: LanguageModel, *, overlong: Overlong = Overlong.LEFT_TRUNCATE, birbal: bool = False
    ) -> None:
        self.model, self._overlong, self._birbal = model, overlong, birbal
        self._pristine, self._copying = copy.deepcopy(model.tokenizer), threading.Lock()
        self._of_thread = threading.local()
        self._pieces: dict[int, str] = {}

    # --- text

    @property
    def _tokenizer(self) -> Any:
        """This thread's copy: a fast tokenizer must not be used by two threads at once."""
        if not hasattr(self._of_thread, "tokenizer"):
            with self._copying:
                self._of_thread.tokenizer = copy.deepcopy(self._pristine)
        return self._of_thread.tokenizer

    def tokenize(self, text: str, *, truncation: bool, max_length: int) -> list[int]:
        """Ids without BOS, so that their number is the length of the text alone."""
        tokenizer = self._tokenizer
        if not truncation:
            return encode(tokenizer, text, bos=False)
        return first_ids(lambda part: encode(tokenizer, part, bos=False), text, max_length)[:max_length]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; the inverse of `tokenize`.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        size = len(self._tokenizer)
        if any(i >= size for i in ids):
            raise ValueError(f"token ids run from 0 to {size - 1}")
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def prepare(self, request: ProcessRequest, *, is_given_up: Callable[[], bool] = lambda: False) -> Job:
        """Converts a request to the ids that the model reads.

        Raises:
            OverlongError: the prompt does not fit the context window, and overlong prompts are refused.
        """
        prompt, stop = request.prompt, tuple(request.stop_sequences)
        if self._birbal:
            prompt = wrap_as_birbal(prompt)
            stop = (*stop, BLANK_LINE)
        tokenizer = self._tokenizer
        # text that the window cannot hold is not tokenised: 4 MB took 17 s, and all other requests waited
        ids = last_ids(lambda part: encode(tokenizer, part), prompt, self.model.context_length)
        if not ids:  # an empty prompt without BOS has no ids: start from EOS, and echo nothing
            ids, request = [tokenizer.eos_token_id], request.model_copy(update={"echo_prompt": False})
        fitted, max_new_tokens = self._fitted(ids, request.max_new_tokens)
        if len(fitted) < len(ids) and self._overlong is Overlong.REFUSE:
            raise OverlongError(
                f"the prompt has {len(ids)} tokens or more; with {max_new_tokens} new ones at most {len(fitted)} fit "
                "the window"
            )
        return Job(
            request=request,
            prompt_ids=tuple(fitted),
            max_new_tokens=max_new_tokens,
            stop=stop,
            is_given_up=is_given_up,
        )

    def _fitted(self, ids: list[int], max_new_tokens: int) -> tuple[list[int], int]:
        """A prompt and a number of new tokens that together fit the model's context window.

        The answer gets the part of the window that the prompt leaves. If that is less than an eighth of the window, the
        beginning of the prompt is removed (BOS is kept) until an eighth is left.
        """
        window = self.model.context_length
        allowed = min(max_new_tokens, max(window - len(ids), window // 8))
        room = window - allowed
        if len(ids) <= room:
            return ids, allowed
        head = ids[:1] if ids[0] == self._tokenizer.bos_token_id else []
        return [*head, *ids[len(ids) - room + len(head) :]], allowed

    # --- model

    def process(self, request: ProcessRequest) -> Completion:
        """Answers one request alone."""
        found: list[Completion | Exception] = []
        self.run([self.prepare(request)], lambda job, result: found.append(result))
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    def run(self, jobs: Sequence[Job], on_done: OnDone) -> None:
        """Answers these jobs only; calls `on_done` for each as soon as it ends."""
        waiting = list(jobs)

        def take(load: Load) -> list[Job] | None:
            if not waiting:
                return None if load.num_rows == 0 else []
            taken = waiting[:]
            waiting.clear()
            return taken

        self.serve(take, on_done)

    def serve(self, take: Take, on_done: OnDone) -> None:
        """Answers jobs as they come, until `take` gives None and all are answered.

        Args:
            take: Called before every token; returns jobs that join the batch.
            on_done: Called once for each job as soon as it ends, with its answer or the exception.
        """
        work = Work(self, on_done)
        while True:
            found = take(work.load)
            if found is None and work.load.num_rows == 0:
                return
            work.pending += found or []
            work.advance()

    def check_itself(self) -> list[str]:
        """Problems that would spoil a score. Source: HELM's multiple-choice scenarios ask for one token."""
        found = []
        answer = self.process(ProcessRequest(prompt=SELF_CHECK, max_new_tokens=1))
        if not answer.text.strip():
            found.append(f"one token after 'Answer:' reads {answer.text!r}: multiple choice in HELM would score 0")
        back = self.decode(self.tokenize(ROUND_TRIP, truncation=False, max_length=0))
        if back != ROUND_TRIP:
            found.append(f"decode(tokenize(x)) is not x: {ROUND_TRIP!r} came back as {back!r}")
        return found

    def row(self, job: Job) -> Row:
        """The decoder's row for a job."""
        asked = job.request
        choose = None
        if asked.temperature > GREEDY_BELOW:
            choose = sampler(
                temperature=asked.temperature, top_p=asked.top_p, top_k=asked.top_k, seed=asked.seed,
                device=self.model.device,
            )  # fmt: skip
        return Row(
            prompt_ids=job.prompt_ids,
            max_new_tokens=job.max_new_tokens,
            stop=job.stop,
            choose=choose,
            is_given_up=job.is_given_up,
        )

    def completion(self, job: Job, row: Row | None) -> Completion:
        """The answer; without a row, only the echoed prompt."""
        tokens = self._tokens(row.texts, row.ids, row.logprobs, row.best) if row else []
        return self._completion(job, tokens)

    def _completion(self, job: Job, tokens: list[Token]) -> Completion:
        tokens = cut_tokens(tokens, job.stop)
        if job.request.echo_prompt:
            tokens = [*self._echo(job.prompt_ids), *tokens]
        return Completion(
            text="".join(t.text for t in tokens),
            tokens=tuple(tokens),
            logprob=sum(t.logprob for t in tokens),
            num_prompt_tokens=len(job.prompt_ids),
            clamped_to=job.max_new_tokens if job.max_new_tokens < job.request.max_new_tokens else None,
        )

    def _echo(self, prompt_ids: Sequence[int]) -> list[Token]:
        """The prompt's tokens with their log-probabilities. Without BOS the first has no context and gets 0.0."""
        has_bos = prompt_ids[0] == self.model.tokenizer.bos_token_id
        ids = list(prompt_ids[1:] if has_bos else prompt_ids)
        with torch.inference_mode():
            logits = self.model.model(input_ids=torch.tensor([list(prompt_ids)], device=self.model.device)).logits[0]
            scored = _logprobs(logits[:-1], prompt_ids[1:])
        if not has_bos:
            scored = [(0.0, None), *scored]
        texts = token_texts(self.model.tokenizer, ids)
        return [
            Token(text=text, logprob=logprob, top_logprob={self._piece(best[0]): best[1]} if best else {})
            for text, (logprob, best) in zip(texts, scored, strict=True)
        ]

    def _tokens(
        self, texts: Sequence[str], ids: Sequence[int], logprobs: Sequence[float], best: Sequence[tuple[int, float]]
    ) -> list[Token]:
        """Tokens with their text in context; the alternative gets its text in the middle of a text."""
        tokens = []
        for text, token_id, logprob, (best_id, best_logprob) in zip(texts, ids, logprobs, best, strict=True):
            piece = text if best_id == token_id and text else self._piece(best_id)
            tokens.append(Token(text=text, logprob=logprob, top_logprob={piece: best_logprob}))
        return tokens

    def _piece(self, token_id: int) -> str:
        """A token's text in the middle of a text, including its leading space."""
        if token_id not in self._pieces:
            tokenizer = self.model.tokenizer
            anchor = encode(tokenizer, "a", bos=False)
            self._pieces[token_id] = "".join(token_texts(tokenizer, [token_id], context=anchor))
        return self._pieces[token_id]


def _logprobs(logits: torch.Tensor, ids: Sequence[int]) -> list[tuple[float, tuple[int, float] | None]]:
    """The log-probability of each id, and the most likely id there, from logits of shape [positions, vocabulary]."""
    found: list[tuple[float, tuple[int, float] | None]] = []
    for start in range(0, len(ids), ECHO_CHUNK):
        part = torch.log_softmax(logits[start : start + ECHO_CHUNK].float(), dim=-1)
        wanted = torch.tensor(list(ids[start : start + ECHO_CHUNK]), device=part.device)
        own = part.gather(1, wanted[:, None])[:, 0].tolist()
        best, best_ids = part.max(dim=-1)
        found += [
            (finite(mine), (best_id, finite(top)))
            for mine, best_id, top in zip(own, best_ids.tolist(), best.tolist(), strict=True)
        ]
    return found


def wrap_as_birbal(prompt: str) -> str:
    """Wraps a prompt as the winner's server did, which told HELM's prompts from those in the template this way."""
    if prompt.count(BLANK_LINE) >= 2:
        return prompt
    return f"### Input:\n{prompt}\n\n### Response:\n"


def cut_tokens(tokens: list[Token], stop: Sequence[str]) -> list[Token]:
    """Tokens up to the first stop string; a token that contains its start keeps the text before it."""
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
