"""Generates the responses of a model to a suite: what `responses.jsonl` holds, with the settings in every row.

    with AnswerStore(path) as store:
        found = generate(suite, responder, settings, asked=asked, store=store)
    write_responses(out, found.rows, suite_sha256=suite.fingerprint(), settings={...})

Answers are stored as they arrive, so that the same call goes on after a kill. Prompts are sent longest first: a batch
holds prompts of similar length, and too little memory shows at the beginning.

Where it sits: suite -> **generation** -> responses; the predictor is passed in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Generic

import orjson

from core.example.example import Message, Role, Unusable
from core.files import sha256
from core.generation.answer_store import AnswerStore
from core.generation.ask import ask
from core.generation.request import Answer, Kind, Refused, Request, Responder
from core.model.completion import Completion
from evaluation.errors import EvaluationError
from evaluation.responses import Instruction, Prompt, Response, recorded_prompt
from evaluation.suite import GenerationDefaults, ItemT, Suite, Template

TOO_LONG = "prompt_too_long"
"""Reason: prompt and answer do not fit into the model's context."""

OnProgress = Callable[[int, int], None]
"""Called with the number of responses that are there, and of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """How responses are generated: greedily, and by what is chosen here. Stored with every response."""

    template: Template
    max_new_tokens: int
    repetition_penalty: float = 1.0
    """1: none."""
    stop: tuple[str, ...] = ()
    """A response ends before the first of these strings."""
    response_prefix: str = ""
    """What a response is made to begin with. It is no part of the response."""

    @classmethod
    def of(cls, defaults: GenerationDefaults, *, template: Template) -> "GenerationSettings":
        """A suite's settings with the template that the model decides, or the user."""
        return cls(
            template=template,
            max_new_tokens=defaults.max_new_tokens,
            repetition_penalty=defaults.repetition_penalty,
            stop=() if template is Template.CHAT else defaults.stop,
            response_prefix=defaults.response_prefix,
        )

    def as_generation(self, engine: str) -> dict[str, object]:
        """As the contract stores them."""
        values = {**asdict(self), "template": str(self.template), "stop": list(self.stop)}
        return {"engine": engine, **values, "temperature": 0.0, "seed": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who is asked, and how."""

    engine: str
    """`transformers`, `openai`."""
    checkpoint: Mapping[str, object]
    """As the contract stores it: name and hashes of the model."""
    batch_size: int
    """Number of requests that the predictor gets in one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """The responses to all items of a suite, in its order."""

    rows: tuple[Response, ...]
    unanswered: Mapping[str, int] = field(default_factory=dict)
    """Reason -> prompts that the model could not be asked. Each has an empty response, which counts as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question(Generic[ItemT]):
    """An item with its request, or with the reason why it is not asked."""

    item: ItemT
    request: Request
    rendered: str | None
    """None: a server renders it, or the chat template cannot."""
    refused: Refused | None = None


def generate(
    suite: Suite[ItemT],
    responder: Responder,
    settings: GenerationSettings,
    *,
    asked: Asked,
    store: AnswerStore,
    on_progress: OnProgress = lambda done, total: None,
) -> Generated:
    """Asks everything that the store does not hold.

    Raises:
        EvaluationError: a prompt does not go with the template, or not one of them can be asked.
        PredictionError: the engine failed. Stored answers are kept.
    """
    questions = _questions(suite, responder, settings)
    sendable = [place for place, question in enumerate(questions) if question.refused is None]
    if not sendable:
        reason = next(question.refused for question in questions if question.refused)
        raise EvaluationError(
            f"{suite.name}: none of {len(questions)} prompts can be asked ({reason.reason}: {reason.detail}). Give "
            "another template, or a smaller `max_new_tokens=`."
        )
    sendable.sort(key=lambda place: (-_length(questions[place]), place))
    recorder = _Recorder(responder)
    answers: dict[int, Completion | Refused] = {}
    stream = ask([questions[p].request for p in sendable], recorder, store, shard_size=asked.batch_size)
    for place, (_, _, answer) in zip(sendable, stream, strict=True):
        answers[place] = _read(answer)
        on_progress(len(answers), len(sendable))
    found = [answers.get(place) or question.refused for place, question in enumerate(questions)]
    unanswered: dict[str, int] = {}
    for answer_of in found:
        if isinstance(answer_of, Refused):
            unanswered[answer_of.reason] = unanswered.get(answer_of.reason, 0) + 1
    generation = settings.as_generation(asked.engine)
    rows = [
        _response(suite, question, answer, generation, asked.checkpoint)
        for question, answer in zip(questions, found, strict=True)
    ]
    return Generated(rows=tuple(rows), unanswered=unanswered)


def _questions(suite: Suite[ItemT], responder: Responder, settings: GenerationSettings) -> list[_Question[ItemT]]:
    questions = [
        _rendered(item, _request(suite, item, settings), responder, settings.max_new_tokens) for item in suite.items()
    ]
    shared = _num_shared([question.rendered for question in questions if question.rendered is not None])
    return [replace(q, request=replace(q.request, num_shared=shared)) for q in questions]


def _request(suite: Suite[ItemT], item: ItemT, settings: GenerationSettings) -> Request:
    prompt = suite.prompt(item)
    is_chat = settings.template is Template.CHAT
    text = None if is_chat or not isinstance(prompt, str | Instruction) else _text(prompt, settings)
    return Request(
        task=suite.name,
        id=f"{item.suite} {item.language} {item.id}",
        kind=Kind.GENERATION,
        prompt=text or "",
        messages=_messages(prompt) if text is None else (),
        response_prefix=settings.response_prefix if text is None else "",
        repetition_penalty=settings.repetition_penalty,
        num_shared=0,
        num_shots=0,
        references=(),
        max_new_tokens=settings.max_new_tokens,
        stop=settings.stop,
    )


def _messages(prompt: Prompt) -> tuple[Message, ...]:
    if isinstance(prompt, str | Instruction):
        content = prompt if isinstance(prompt, str) else prompt.message
        return (Message(role=Role.USER, content=content, is_trained=False),)
    return tuple(Message(role=Role(m["role"]), content=m["content"], is_trained=False) for m in prompt)


def _text(prompt: str | Instruction, settings: GenerationSettings) -> str:
    asked = Instruction(instruction=prompt) if isinstance(prompt, str) else prompt
    is_plain = isinstance(prompt, str) and settings.template is Template.PLAIN
    return (asked.instruction if is_plain else asked.text) + settings.response_prefix


def _rendered(item: ItemT, request: Request, responder: Responder, max_new_tokens: int) -> _Question[ItemT]:
    try:
        text = responder.rendered(request)
    except Unusable as e:
        refused = Refused(reason=e.reason, detail=e.detail)
        return _Question(item=item, request=request, rendered=None, refused=refused)
    if text is None or responder.fits(text, max_new_tokens):
        return _Question(item=item, request=request, rendered=text)
    detail = f"{len(text):,} characters and {max_new_tokens} new tokens exceed the context"
    return _Question(item=item, request=request, rendered=text, refused=Refused(reason=TOO_LONG, detail=detail))


def _num_shared(texts: Sequence[str]) -> int:
    """With how many characters all texts begin."""
    first, last = min(texts, default=""), max(texts, default="")
    return next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))


def _length(question: _Question[ItemT]) -> int:
    if question.rendered is not None:
        return len(question.rendered)
    return sum(len(message.content) for message in question.request.messages)


class _Recorder:
    """A predictor whose answers are completions as JSON: the store keeps texts."""

    keeps_answers = True

    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self.in_flight = responder.in_flight

    @property
    def revision(self) -> str:
        return self._responder.revision

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        return self._responder.fits(prompt, max_new_tokens)

    def complete(self, requests: Sequence[Request]) -> list[Answer]:
        answers = self._responder.respond(requests)
        return [a if isinstance(a, Refused) else orjson.dumps(_valid(a)).decode() for a in answers]


def _valid(completion: Completion) -> Completion:
    """Without lone surrogates, which no file can hold."""
    text = completion.text.encode("utf-8", "replace").decode()
    return completion if text == completion.text else replace(completion, text=text)


def _read(answer: Answer) -> Completion | Refused:
    return answer if isinstance(answer, Refused) else Completion(**orjson.loads(answer))


def _response(
    suite: Suite[ItemT],
    question: _Question[ItemT],
    answer: Completion | Refused | None,
    generation: Mapping[str, object],
    checkpoint: Mapping[str, object],
) -> Response:
    assert answer is not None
    item = question.item
    completion = answer if isinstance(answer, Completion) else Completion(text="", finish="length", num_tokens=0)
    return Response(
        id=item.id,
        suite=item.suite,
        language=item.language,
        expected_language=suite.expected_language(item),
        prompt=recorded_prompt(suite.prompt(item)),
        prompt_sha256=None if question.rendered is None else sha256(question.rendered.encode("utf-8", "replace")),
        text=completion.text,
        finish=completion.finish,
        tokens=completion.num_tokens,
        generation=generation,
        checkpoint=checkpoint,
    )
