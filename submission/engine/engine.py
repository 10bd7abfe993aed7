"""The engine: from prompts to text and tokens with log-probabilities under the raw softmax.

    engine = Engine(LanguageModel.load(base, lora_adapter=adapter))
    engine.process(GenerationRequest(prompt="2 + 2 =", max_new_tokens=4)).text

For every answer, the concatenated text of the tokens is `text`, their log-probabilities sum to `logprob`, and both end
at the first stop string.

Where it sits: request -> **engine** -> batcher -> server.
"""

import copy
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.decoding.prefix_cache import PrefixCache
from core.decoding.token_score import Score
from core.encoding.rendering import ChatRenderer
from core.errors import PredictionError
from core.example.example import Message, Role, Unusable
from core.model.language_model import LanguageModel
from core.model.token_ids import encode
from submission.engine.detokenize import token_texts
from submission.engine.generate import Row, sampler
from submission.engine.job import Completion, Job, Load, OnDone, Take, TokenStream
from submission.engine.long_text import Overlong, first_ids, last_ids
from submission.engine.request import GenerationRequest
from submission.engine.work import Work
from submission.errors import OverlongError, PromptError
from submission.server.api import Token

GREEDY_BELOW = 1e-5
"""Temperatures up to this value are greedy. Source: HELM sends 1e-7 for a temperature of 0."""

BLANK_LINE = "\n\n"

SELF_CHECK = (
    "Question: Which of these is a colour?\nA. lamp\nB. red\nAnswer: B\n\n"
    "Question: Which of these is an animal?\nA. dog\nB. cup\nAnswer:"
)

ROUND_TRIP = " Ann's  plate:\n\ttwo 漢字 <s> é "

PREFIX_BYTES = 512 << 20
"""Keys and values of prompts that are kept by default: 4,096 tokens of a Mistral-7B in bf16."""

MOST_SEED = 2**53 - 1
"""The largest seed, as in the contract."""


class Engine:
    """Answers requests. One thread uses the model (`run`, `process`); any may use `tokenize`, `decode`, `prepare`.

    Args:
        overlong: Policy for prompts that do not fit the context window.
        birbal: Answers the challenge's contract as the winner's server did: a prompt with fewer than two blank lines
            is wrapped in the training template, and an answer ends at its first blank line.
        chat_template: A Jinja template instead of the tokenizer's own.
        prefix_bytes: Keys and values of prompts that are kept, so that what later ones begin with is not read again.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        overlong: Overlong = Overlong.LEFT_TRUNCATE,
        birbal: bool = False,
        chat_template: str | None = None,
        prefix_bytes: int = PREFIX_BYTES,
    ) -> None:
        self.model, self._overlong, self._birbal = model, overlong, birbal
        self._chat_template = chat_template
        self.prefixes = PrefixCache(prefix_bytes)
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

    @property
    def _renderer(self) -> ChatRenderer:
        """This thread's, with its tokenizer.

        Raises:
            PromptError: the model has no chat template, or one that cannot show a question and an answer.
        """
        if not hasattr(self._of_thread, "renderer"):
            template = self._chat_template or self._tokenizer.chat_template
            if not isinstance(template, str):
                raise PromptError("the model has no chat template. Ask /v1/completions, or serve it with a template.")
            try:
                self._of_thread.renderer = ChatRenderer(self._tokenizer, template=template)
            except PredictionError as e:
                raise PromptError(str(e)) from e
        renderer: ChatRenderer = self._of_thread.renderer
        return renderer

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

    def prepare(
        self,
        request: GenerationRequest,
        *,
        is_given_up: Callable[[], bool] = lambda: False,
        stream: TokenStream | None = None,
    ) -> Job:
        """Converts a request to the ids that the model reads.

        Raises:
            OverlongError: the prompt does not fit the context window, and overlong prompts are refused.
            PromptError: ids outside the vocabulary, or a conversation that the chat template cannot show.
        """
        read = self._read(request)
        ids = list(read.ids)
        if not ids:  # an empty prompt without BOS has no ids: start from EOS, and echo nothing
            ids, request = [self._tokenizer.eos_token_id], replace(request, echo=False)
        fitted, max_new_tokens = self._fitted(ids, request)
        if len(fitted) < len(ids) and (request.must_fit or self._overlong is Overlong.REFUSE):
            raise OverlongError(
                f"the prompt has {len(ids)} tokens or more; with {max_new_tokens} new ones at most {len(fitted)} fit "
                "the window"
            )
        return Job(
            request=request,
            prompt_ids=tuple(fitted),
            max_new_tokens=max_new_tokens,
            stop=read.stop,
            end_ids=read.end_ids,
            seed=secrets.randbelow(MOST_SEED) if request.seed is None else request.seed,
            is_given_up=is_given_up,
            stream=stream,
        )

    def _read(self, request: GenerationRequest) -> "_Read":
        """The ids of a prompt, and what ends its answer."""
        if request.messages:
            return self._read_chat(request)
        if not isinstance(request.prompt, str):
            self._check_ids(request.prompt)
            return _Read(ids=request.prompt, stop=request.stop)
        prompt, stop = request.prompt, request.stop
        if self._birbal and request.is_challenge:
            prompt, stop = wrap_as_birbal(prompt), (*stop, BLANK_LINE)
        tokenizer = self._tokenizer
        # text that the window cannot hold is not tokenised: 4 MB took 17 s, and all other requests waited
        ids = last_ids(lambda part: encode(tokenizer, part), prompt, self.model.context_length)
        return _Read(ids=ids, stop=stop)

    def _read_chat(self, request: GenerationRequest) -> "_Read":
        renderer = self._renderer
        try:
            rendered = renderer.prompt(request.messages)
        except Unusable as e:
            raise PromptError(f"the messages: {e.detail}") from e
        end_id = renderer.end_id
        as_text = (renderer.end,) if renderer.end and end_id is None else ()
        return _Read(
            ids=rendered.input_ids,
            stop=(*request.stop, *as_text),
            end_ids=frozenset() if end_id is None else frozenset({end_id}),
        )

    def _check_ids(self, ids: Sequence[int]) -> None:
        size = len(self._tokenizer)
        if any(not 0 <= i < size for i in ids):
            raise PromptError(f"token ids run from 0 to {size - 1}")

    def _fitted(self, ids: list[int], request: GenerationRequest) -> tuple[list[int], int]:
        """A prompt and a number of new tokens that together fit the model's context window.

        The answer gets the part of the window that the prompt leaves. If that is less than an eighth of the window, the
        beginning of the prompt is removed (BOS is kept) until an eighth is left. A prompt that must fit keeps all but
        one token of the window.
        """
        window = self.model.context_length
        wanted = window if request.max_new_tokens is None else request.max_new_tokens
        least = 1 if request.must_fit else window // 8
        allowed = min(wanted, max(window - len(ids), least))
        room = window - allowed
        if len(ids) <= room:
            return ids, allowed
        head = ids[:1] if ids[0] == self._tokenizer.bos_token_id else []
        return [*head, *ids[len(ids) - room + len(head) :]], allowed

    # --- model

    def process(self, request: GenerationRequest) -> Completion:
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
        answer = self.process(GenerationRequest(prompt=SELF_CHECK, max_new_tokens=1))
        if not answer.text.strip():
            found.append(f"one token after 'Answer:' reads {answer.text!r}: multiple choice in HELM would score 0")
        back = self.decode(self.tokenize(ROUND_TRIP, truncation=False, max_length=0))
        if back != ROUND_TRIP:
            found.append(f"decode(tokenize(x)) is not x: {ROUND_TRIP!r} came back as {back!r}")
        return found

    def chat_problem(self) -> str | None:
        """Why conversations cannot be answered; None if they can."""
        try:
            self._renderer.prompt([Message(role=Role.USER, content="Hello.")])
        except (PromptError, Unusable) as e:
            return str(e)
        return None

    def row(self, job: Job) -> Row:
        """The decoder's row for a job."""
        asked = job.request
        choose = None
        if asked.temperature > GREEDY_BELOW:
            choose = sampler(
                temperature=asked.temperature, top_p=asked.top_p, top_k=asked.top_k, seed=job.seed,
                device=self.model.device,
            )  # fmt: skip
        return Row(
            prompt_ids=job.prompt_ids,
            max_new_tokens=job.max_new_tokens,
            stop=job.stop,
            choose=choose,
            is_given_up=job.is_given_up,
            end_ids=job.end_ids,
            num_top=asked.num_top,
            scores_prompt=asked.echo,
        )

    def send(self, job: Job, row: Row) -> None:
        """Sends the tokens of a row that no later token can change, to a job that asked for them."""
        stream = job.stream
        assert stream is not None
        num_echoed = self._num_echoed(job)
        echoed = self._echoed(job, row)[stream.num_sent :] if stream.num_sent < num_echoed else []
        tokens = [*echoed, *self._tokens(row, max(0, stream.num_sent - num_echoed), row.num_settled())]
        if tokens:
            stream.num_sent += len(tokens)
            stream.send(tokens)

    def completion(self, job: Job, row: Row | None) -> Completion:
        """The answer; without a row, an empty one."""
        if row is None:
            return Completion(text="", tokens=(), logprob=0.0, num_prompt_tokens=len(job.prompt_ids))
        tokens = [*self._echoed(job, row), *cut_tokens(self._tokens(row, 0, len(row.ids)), job.stop)]
        wanted = job.request.max_new_tokens
        return Completion(
            text="".join(t.text for t in tokens),
            tokens=tuple(tokens),
            logprob=sum(t.logprob for t in tokens),
            num_prompt_tokens=len(job.prompt_ids),
            num_new_tokens=len(row.ids),
            finish="stop" if row.has_stopped else "length",
            end=self._scored_tokens([""], [row.end[0]], [row.end[1]])[0] if row.end else None,
            clamped_to=job.max_new_tokens if wanted is not None and job.max_new_tokens < wanted else None,
        )

    def _hides_bos(self, job: Job) -> bool:
        """Whether an echo leaves the first id out: the BOS that the engine itself put before a text."""
        is_own = isinstance(job.request.prompt, str) and not job.request.messages
        return is_own and job.prompt_ids[0] == self.model.tokenizer.bos_token_id

    def _num_echoed(self, job: Job) -> int:
        return len(job.prompt_ids) - self._hides_bos(job) if job.request.echo else 0

    def _echoed(self, job: Job, row: Row) -> list[Token]:
        """The prompt's tokens. The first of all has no context: it gets 0.0 and no alternatives."""
        if not job.request.echo:
            return []
        hides_bos = self._hides_bos(job)
        ids = job.prompt_ids[1:] if hides_bos else job.prompt_ids
        scores = row.prompt_scores if hides_bos else [Score(0.0, ()), *row.prompt_scores]
        return self._scored_tokens(token_texts(self.model.tokenizer, ids), ids, scores)

    def _tokens(self, row: Row, start: int, end: int) -> list[Token]:
        """The tokens of a row's answer from `start` to `end`."""
        return self._scored_tokens(row.texts[start:end], row.ids[start:end], row.scores[start:end])

    def _scored_tokens(self, texts: Sequence[str], ids: Sequence[int], scores: Sequence[Score]) -> list[Token]:
        """Tokens with their text in context; the alternatives get theirs in the middle of a text."""
        tokens = []
        for text, token_id, score in zip(texts, ids, scores, strict=True):
            top: dict[str, float] = {}
            for best_id, logprob in score.top:  # of two ids with one text the likelier counts
                top.setdefault(text if best_id == token_id and text else self._piece(best_id), logprob)
            tokens.append(Token(text=text, logprob=score.logprob, top_logprob=top))
        return tokens

    def _piece(self, token_id: int) -> str:
        """A token's text in the middle of a text, including its leading space."""
        if token_id not in self._pieces:
            tokenizer = self.model.tokenizer
            anchor = encode(tokenizer, "a", bos=False)
            self._pieces[token_id] = "".join(token_texts(tokenizer, [token_id], context=anchor))
        return self._pieces[token_id]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """The ids of a prompt, and what ends its answer."""

    ids: Sequence[int]
    stop: tuple[str, ...]
    end_ids: frozenset[int] = frozenset()


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
