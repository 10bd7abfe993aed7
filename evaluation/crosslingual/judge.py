"""A judge: asks a model, or a file of its replies, about responses; an unreadable reply is asked for again.

    judge = Judge(engine.build, cache=Path("answers.jsonl"), retries=2)
    replies = judge.ask([Question(about="criteria", language="en", id="0", ...)], is_readable)

Replies are kept by the hash of prompt text (which holds the response), judge and settings, so that a second run asks
nothing.

Where it sits: criteria -> **judge** -> the suites `relevance`, `judge` and `modifiers`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from core.errors import PredictionError
from core.files import sha256, write_jsonl
from core.generation.answer_store import AnswerStore
from core.generation.ask import ask
from core.generation.engine import close
from core.generation.request import Kind, Predictor, Refused, Request
from core.generation.wrapped import WrappedPredictor
from evaluation.errors import EvaluationError

MAX_NEW_TOKENS = 512
"""Of a reply: six criteria in JSON are about 60 tokens; prose before them is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a judge is asked about one response."""

    about: str
    """`criteria`, `relevance` or `fulfilment`."""
    language: str
    id: str
    prompt: str
    """The whole text, which holds task and response."""
    response: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a judge said about one response. One line of a replay file."""

    about: str
    language: str
    id: str
    response_sha256: str
    text: str | None
    """None: it said nothing, or refused."""
    num_tries: int

    def as_row(self) -> dict[str, object]:
        """As a replay file holds it."""
        return {
            "about": self.about,
            "language": self.language,
            "id": self.id,
            "response_sha256": self.response_sha256,
            "reply": self.text,
        }


class Judge:
    """A model that judges. It is connected to while it is asked, and once before, so that a wrong address shows early.

    Args:
        connect: Gives whatever answers: an endpoint, or `JudgeReplay`.
        cache: Keeps the replies; None: nothing is kept.
        retries: How often an unreadable reply is asked for again. At temperature 0 a server may still answer otherwise.
        record: All replies are written there, in the form that `JudgeReplay` reads.

    Raises:
        EvaluationError: there is no such judge.
    """

    def __init__(
        self,
        connect: Callable[[], Predictor],
        *,
        cache: Path | None = None,
        retries: int = 0,
        record: Path | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> None:
        self._connect, self._cache, self._record = connect, cache, record
        self._max_new_tokens = max_new_tokens
        self._given: dict[tuple[str, str, str, str], Reply] = {}
        with self._connected() as predictor:
            self._revision = predictor.revision
            self._retries = retries if predictor.keeps_answers else 0

    def parameters(self) -> Mapping[str, str | int]:
        """What decides a judgement besides its prompt."""
        return {
            "judge": self._revision,
            "judge_retries": self._retries,
            "judge_max_new_tokens": self._max_new_tokens,
            "judge_temperature": 0,
        }

    def ask(self, questions: Sequence[Question], is_readable: Callable[[str], bool]) -> list[Reply]:
        """One reply a question, in order: the first that can be read, else the last.

        Raises:
            EvaluationError: the judge is gone or is none, or answers nothing; what was answered stays in the cache.
        """
        replies: dict[int, Reply] = {}
        open_places = list(range(len(questions)))
        with self._connected() as predictor, self._store() as store:
            for number in range(self._retries + 1):
                asked = [questions[place] for place in open_places]
                texts = self._texts(asked, _Retry(predictor, number) if number else predictor, store)
                for place, text in zip(open_places, texts, strict=True):
                    replies[place] = _reply(questions[place], text, number + 1)
                open_places = [p for p in open_places if not is_readable(replies[p].text or "")]
        if questions and all(reply.text is None for reply in replies.values()):
            raise EvaluationError(
                f"the judge ({self._revision}) answered none of {len(questions)} questions about "
                f"{questions[0].about}. Check that it is a judge of these responses."
            )
        given = [replies[place] for place in range(len(questions))]
        self._keep(given)
        return given

    @contextmanager
    def _connected(self) -> Iterator[Predictor]:
        try:
            predictor = self._connect()
            try:
                yield predictor
            finally:
                close(predictor)
        except PredictionError as e:
            # the predictor names its own fields; here they are parameters of the suite
            named = re.sub(r"`(url|model)=([^`]*)`", r"`set=judge_\1=\2`", str(e))
            raise EvaluationError(f"judge_url: {named}") from e

    def _store(self) -> AbstractContextManager[AnswerStore | None]:
        return AnswerStore(self._cache) if self._cache is not None else nullcontext()

    def _keep(self, replies: Sequence[Reply]) -> None:
        if self._record is not None:
            self._given |= {(r.about, r.language, r.id, r.response_sha256): r for r in replies}
            write_jsonl(self._record, (reply.as_row() for reply in self._given.values()))

    def _texts(
        self, questions: Sequence[Question], predictor: Predictor, store: AnswerStore | None
    ) -> Iterator[str | None]:
        requests = (self._request(question) for question in questions)
        for _, _, answer in ask(requests, predictor, store):
            yield None if isinstance(answer, Refused) else answer

    def _request(self, question: Question) -> Request:
        return Request(
            task=f"{question.about}/{question.language}",
            id=question.id,
            kind=Kind.GENERATION,
            prompt=question.prompt,
            num_shared=0,
            num_shots=0,
            references=(sha256(question.response.encode()),),  # read by `JudgeReplay` alone
            max_new_tokens=self._max_new_tokens,
            stop=(),
        )


def _reply(question: Question, text: str | None, num_tries: int) -> Reply:
    return Reply(
        about=question.about,
        language=question.language,
        id=question.id,
        response_sha256=sha256(question.response.encode()),
        text=text,
        num_tries=num_tries,
    )


class _Retry(WrappedPredictor):
    """A judge that is asked again: a further reply is kept beside the first one."""

    def __init__(self, predictor: Predictor, number: int) -> None:
        super().__init__(predictor)
        self._number = number

    @property
    def revision(self) -> str:
        """Another one for each try."""
        return f"{super().revision} retry {self._number}"
