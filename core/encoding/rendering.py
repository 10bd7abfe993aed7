"""A conversation as token ids and labels, by the chat template of the base's tokenizer.

    renderer = ChatRenderer(tokenizer)
    renderer.told                                   # "chat template: the base's own; an answer ends with <|im_end|>"
    row = renderer.render(conversation, Loss.RESPONSES)
    row.input_ids, row.labels

A base without a template gets ChatML. Which characters are an answer's is found by rendering the conversation a second
time with a mark in place of each content; it works for templates that trim contents or show earlier turns differently.

A content is text: where it holds what looks like a special token, that is spelled out piece by piece.

Where it sits: reading -> **rendering** -> tokenised table; a tokenizer is passed in, transformers is not imported.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from core.errors import PredictionError
from core.example.example import Conversation, Message, Role, Unusable
from core.model.token_ids import IGNORED_LABEL, RowIds


class Loss(StrEnum):
    """Which tokens of a conversation are trained."""

    RESPONSES = "responses"
    """Every answer with its end token, but for answers of weight 0."""
    ALL = "all"
    """Everything, the template's headers too."""
    LAST = "last"
    """The last answer with its end token."""


CHAT_TEMPLATE = "chat_template.jinja"
"""Name of the file in which transformers looks for a tokenizer's template."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_CHATML_MARKERS = ("<|im_start|>", "<|im_end|>")
_DATE = "26 Jul 2024"
"""Templates of Llama 3 show a date: today's, unless one is given. This is the one that they fall back to."""

_MARK = re.compile("\ue000(\\d+)\ue001")
"""Stands for a content; private characters, which no text of a person's holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPrompt:
    """A question as the model receives it, up to where its answer begins."""

    text: str
    input_ids: tuple[int, ...]
    ends: tuple[int, ...]
    """For each id, the position in `text` at which its characters end."""


class ChatRenderer:
    """Renders conversations with one tokenizer.

    Args:
        tokenizer: A fast one of transformers.
        template: A Jinja template instead of the tokenizer's own.
    Raises:
        PredictionError: the template cannot show a question and an answer.
    """

    def __init__(self, tokenizer: Any, *, template: str | None = None) -> None:
        self._tokenizer = tokenizer
        own = template or tokenizer.chat_template
        self._template: str = own if isinstance(own, str) else CHATML
        self.added_template = "" if self._template == tokenizer.chat_template else self._template
        """The template, if it is not the tokenizer's own."""
        self._special = tuple(sorted(_special_tokens(tokenizer), key=len, reverse=True))
        self.has_text_markers = self._template == CHATML and not set(_CHATML_MARKERS) <= set(self._special)
        """The template's markers are ordinary text for this tokenizer."""
        ends = (*self._special, *_CHATML_MARKERS) if self.has_text_markers else self._special
        self._generation_prompt, self.end = self._probe(ends)
        self.told = self._tell(is_given=template is not None)

    def _tell(self, *, is_given: bool) -> str:
        if self._template != CHATML:
            whose = "as given" if is_given else "the base's own"
        else:
            whose = "ChatML, for the base has none"
        markers = "; its markers are ordinary text for this tokenizer" if self.has_text_markers else ""
        end = f"an answer ends with {self.end}" if self.end else "an answer has no end token"
        return f"chat template: {whose}{markers}; {end}"

    def _probe(self, ends: Sequence[str]) -> tuple[str, str]:
        """What invites an answer, and the token that ends one."""
        asked = {"role": "user", "content": _mark(0)}
        answered = [asked, {"role": "assistant", "content": _mark(1)}]
        try:
            question = self._apply([asked], tools=None)
            invited = self._apply([asked], tools=None, add_generation_prompt=True)
            behind = self._apply(answered, tools=None).partition(_mark(1))[2]
        except Unusable as e:
            raise PredictionError(f"{self._tokenizer.name_or_path}: {e.detail}. Give another chat template.") from e
        prompt = invited.removeprefix(question) if invited.startswith(question) else ""
        end = next((token for token in ends if behind.lstrip().startswith(token)), "")
        return prompt, end

    def render(self, conversation: Conversation, loss: Loss = Loss.RESPONSES) -> RowIds:
        """Ids of the whole conversation, labels where it is trained.

        Raises:
            Unusable: the template cannot show it, or nothing of it would be trained.
        """
        self._refuse_markers(conversation)
        text, contents = self._shown(conversation)
        ids, offsets = self._encode(text, [span for span in contents if span])
        trained = self._trained(conversation, text, contents, loss)
        labels = [
            token if any(end > span.start and start < span.end for span in trained) else IGNORED_LABEL
            for token, (start, end) in zip(ids, offsets, strict=True)
        ]
        row = RowIds(input_ids=tuple(ids), labels=tuple(labels))
        if row.num_answer_tokens == 0:
            raise Unusable("nothing_trained", "no token of it would be trained")
        return row

    def prompt(self, messages: Sequence[Message], response_prefix: str = "") -> RenderedPrompt:
        """A question with the header of the answer, and what the answer is made to begin with.

        Raises:
            Unusable: the template cannot show it.
        """
        conversation = Conversation(messages=tuple(messages))
        self._refuse_markers(conversation)
        text, contents = self._shown(conversation, add_generation_prompt=True)
        begun = _Span(start=len(text), end=len(text) + len(response_prefix))
        ids, offsets = self._encode(text + response_prefix, [span for span in (*contents, begun) if span])
        return RenderedPrompt(text=text + response_prefix, input_ids=tuple(ids), ends=tuple(end for _, end in offsets))

    @property
    def end_id(self) -> int | None:
        """The token that ends an answer; None: the template has none, or it is ordinary text for this tokenizer."""
        if self.end not in self._special:
            return None
        found = self._tokenizer.convert_tokens_to_ids(self.end)
        return found if isinstance(found, int) else None

    # -- text

    def _shown(self, conversation: Conversation, *, add_generation_prompt: bool = False) -> tuple[str, list["_Span"]]:
        """The rendered text, and where each message's content stands in it; an empty content stands nowhere."""
        messages = conversation.messages
        if any(_MARK.search(message.content) for message in messages):
            raise Unusable("template", "holds characters of the private use area that rendering needs")
        tools = json.loads(conversation.tools) if conversation.tools else None
        plain = [_as_dict(message) for message in messages]
        text = self._apply(plain, tools=tools, add_generation_prompt=add_generation_prompt)
        if tools and text == self._apply([_as_dict(message) for message in messages], tools=None):
            raise Unusable("template", "the chat template has no place for the tools")
        marked = [
            _as_dict(message) | ({"content": _mark(number)} if message.content else {})
            for number, message in enumerate(messages)
        ]
        located = self._apply(marked, tools=tools, add_generation_prompt=add_generation_prompt)
        return text, _located(text, located, messages)

    def _apply(self, messages: list[dict[str, Any]], *, tools: Any, add_generation_prompt: bool = False) -> str:
        import jinja2

        try:
            return str(
                self._tokenizer.apply_chat_template(
                    messages,
                    tools=tools,
                    chat_template=self._template,
                    tokenize=False,
                    add_generation_prompt=add_generation_prompt,
                    date_string=_DATE,
                )
            )
        except (jinja2.TemplateError, ValueError, TypeError, KeyError, IndexError) as e:
            told = next(iter(str(e).splitlines()), type(e).__name__)
            raise Unusable("template", f"the chat template cannot show it ({told})") from e

    def _refuse_markers(self, conversation: Conversation) -> None:
        """Where a marker could not be told from the same text: in any message if it is ordinary text, else in calls."""
        messages = conversation.messages
        calls = (conversation.tools, *(text for m in messages for text in (m.tool_calls, m.name, m.tool_call_id)))
        if any(token in text for text in calls for token in self._special):
            raise Unusable("template", "a tool or a call of it holds a special token of this tokenizer")
        if self.has_text_markers and any(mark in m.content for m in messages for mark in _CHATML_MARKERS):
            raise Unusable("template", "holds a marker of ChatML, which this tokenizer cannot tell from text")

    # -- labels

    def _trained(self, conversation: Conversation, text: str, contents: Sequence["_Span"], loss: Loss) -> list["_Span"]:
        if loss is Loss.ALL:
            return [_Span(start=0, end=len(text))]
        answers = [
            number
            for number, message in enumerate(conversation.messages)
            if message.role is Role.ASSISTANT and message.is_trained
        ]
        chosen = answers[-1:] if loss is Loss.LAST else answers
        return [self._answer(number, conversation.messages[number], text, contents) for number in chosen]

    def _answer(self, number: int, message: Message, text: str, contents: Sequence["_Span"]) -> "_Span":
        """An answer's content and calls, and the token that ends it."""
        before = max((span.end for span in contents[:number]), default=0)
        after = next((span.start for span in contents[number + 1 :] if span), len(text))
        span = contents[number]
        if not span:
            start = text.find(self._generation_prompt, before, after) if self._generation_prompt else -1
            if start < 0:
                raise Unusable("template", f"the chat template hides where the call of message {number + 1} begins")
            begin = start + len(self._generation_prompt)
            span = _Span(start=begin, end=begin)
        found = text.find(self.end, span.end, after) if self.end else -1
        if found < 0 and message.tool_calls:
            raise Unusable("template", f"the chat template hides where the call of message {number + 1} ends")
        return _Span(start=span.start, end=found + len(self.end) if found >= 0 else span.end)

    # -- ids

    def _encode(self, text: str, contents: Sequence["_Span"]) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids with the characters that each stands for; special tokens inside of contents are spelled out."""
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        for piece, is_text in self._pieces(text, contents):
            encoded = self._tokenizer(
                text[piece.start : piece.end],
                add_special_tokens=False,
                split_special_tokens=is_text,
                return_offsets_mapping=True,
            )
            ids += encoded["input_ids"]
            offsets += [(piece.start + start, piece.start + end) for start, end in encoded["offset_mapping"]]
        return ids, offsets

    def _pieces(self, text: str, contents: Sequence["_Span"]) -> Iterator[tuple["_Span", bool]]:
        """The text in pieces, each with whether special tokens in it are text. Mostly there is only one."""
        alike = re.compile("|".join(map(re.escape, self._special))) if self._special else None
        position = 0
        for span in contents if alike else ():
            for found in alike.finditer(text, span.start, span.end) if alike else ():
                if found.start() > position:
                    yield _Span(start=position, end=found.start()), False
                yield _Span(start=found.start(), end=found.end()), True
                position = found.end()
        if position < len(text):
            yield _Span(start=position, end=len(text)), False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """Characters of the rendered text; false if there are none."""

    start: int
    end: int

    def __bool__(self) -> bool:
        return self.end > self.start


def _special_tokens(tokenizer: Any) -> set[str]:
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {*tokenizer.all_special_tokens, *(str(token) for token in added.values() if token.special)}


def _mark(number: int) -> str:
    return f"\ue000{number}\ue001"


def _as_dict(message: Message) -> dict[str, Any]:
    """As chat templates expect it; arguments of calls as objects, which most of them write out as JSON."""
    found: dict[str, Any] = {"role": message.role.value, "content": message.content}
    if message.tool_calls:
        found["tool_calls"] = [_with_arguments(call) for call in json.loads(message.tool_calls)]
    return found | {k: v for k, v in (("name", message.name), ("tool_call_id", message.tool_call_id)) if v}


def _with_arguments(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"])
    except ValueError:
        return call
    return {**call, "function": {**function, "arguments": arguments}}


def _located(text: str, marked: str, messages: Sequence[Message]) -> list[_Span]:
    """Where each content stands, trimmed or not.

    Raises:
        Unusable: the template changes contents, leaves one out or shows them in another order.
    """
    pieces = _MARK.split(marked)
    numbers = [int(number) for number in pieces[1::2]]
    if numbers != [number for number, message in enumerate(messages) if message.content]:
        raise Unusable("template", "the chat template leaves a message out, or shows one twice")
    spans = [_Span(start=0, end=0)] * len(messages)
    position = len(pieces[0])
    is_same = text.startswith(pieces[0])
    for number, literal in zip(numbers, pieces[2::2], strict=True):
        content = messages[number].content
        forms = (content, content.strip(), content.rstrip(), content.lstrip())
        shown = next((form for form in forms if text.startswith(form + literal, position)), None)
        if shown is None or not is_same:
            raise Unusable("template", f"the chat template changes the text of message {number + 1}")
        spans[number] = _Span(start=position, end=position + len(shown))
        position += len(shown) + len(literal)
    if position != len(text):
        raise Unusable("template", "the chat template shows more than the messages")
    return spans
