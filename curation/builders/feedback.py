"""Feedback: answers that people rated good or bad. Only good answers are trained; their earlier turns are context.

    {"messages": [..., {"role": "assistant", "content": "Yes.", "rating": 1}]}      a rating of each answer
    {"prompt": "...", "completion": "...", "label": true}                          a rating of the last answer

An answer that was rated bad, or not rated, gives no row. In the context of a later good answer it bears no loss. An
empty answer, and the answers after it, whose context has a hole, give none either.

Source: the feedback stage of Taiwan LLM (2023), section 3, and the merge of its section 4.1.

Where it sits: rows -> **feedback**.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, Literal

from core.errors import MixError
from core.example.example import Conversation, Message, Preference, Role, Text
from core.example.layout import CHATS
from core.example.messages import ROLES, untrained
from core.records.record import Record, Rejected
from core.stage import Dropped
from curation.builders.rows import InputSpec, IsInput, Row, distinct, dropped_record, messages, row_of
from curation.builders.work import BuildContext, BuildOptions, Output

ANSWER = "answer"
"""Unit of the rated answers."""

RATINGS = ("rating", "feedback", "label", "vote", "thumbs", "liked")
"""Default names of the column with the rating, in this order."""

GOOD = frozenset(["1", "1.0", "true", "good", "positive", "up", "upvote", "like", "thumbs_up", "thumbs up", "+1", "👍"])
BAD = frozenset(
    [
        "0",
        "0.0",
        "-1",
        "-1.0",
        "false",
        "bad",
        "negative",
        "down",
        "downvote",
        "dislike",
        "thumbs_down",
        "thumbs down",
        "👎",
    ]
)
"""Spellings of the two ratings in lower case."""

_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")


class Rating(StrEnum):
    """The rating of an answer. The values other than `GOOD` are reasons for dropping."""

    GOOD = "good"
    BAD = "rated_bad"
    NONE = "not_rated"
    OTHER = "rating_not_binary"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackOptions(BuildOptions):
    """Options of feedback."""

    data: Annotated[str, IsInput()]
    """Rated answers: FILE, NAME=FILE, or FILE#KEY to read one key of each record."""
    rating: str = ""
    """Field of the rating, in the record or in each message. Default: rating, feedback, label, vote, thumbs, liked."""
    mode: Literal["sequential", "merge"] = "sequential"
    """Write the rows for a training stage of their own, or join them with the data of supervised fine-tuning."""
    into: Annotated[str | None, IsInput()] = None
    """Data that the rows are joined with in the mode merge, written in the same way."""

    def check(self) -> None:
        """Raises `MixError` if a value cannot be used."""
        if (self.mode == "merge") != (self.into is not None):
            raise MixError("`mode=merge` needs `into=FILE`, the data to join with, and `into=FILE` needs `mode=merge`.")


def outputs(options: FeedbackOptions, context: BuildContext) -> Iterator[Output]:
    """Yields one file: the good answers, or in the mode merge the other data followed by the good answers."""
    data = InputSpec.parse(options.data)
    found = good_answers(_rated(data, options.rating, context))
    if options.into is None:
        yield Output(name="feedback", items=found, num_in=lambda: context.num_in[ANSWER], unit=ANSWER)
        return
    into, _ = distinct([InputSpec.parse(options.into), data])
    yield Output(
        name="merged",
        items=_joined(into, found, context),
        num_in=lambda: context.num_in["row"] + context.num_in[ANSWER],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedConversation:
    """A conversation with the ratings of its answers."""

    row: Row
    messages: tuple[Message, ...]
    ratings: Sequence[Rating]
    num_answers: int
    """Of the record, those included that are left out."""


def good_answers(conversations: Iterable[RatedConversation | Dropped]) -> Iterator[Row | Dropped]:
    """Yields a row for each answer that was rated good: the conversation up to this answer, which alone is trained."""
    for rated in conversations:
        if isinstance(rated, Dropped):
            yield rated
            continue
        answers = [n for n, message in enumerate(rated.messages) if message.role is Role.ASSISTANT]
        for number, (position, rating) in enumerate(zip(answers, rated.ratings, strict=True), start=1):
            name = rated.row.id if rated.num_answers == 1 else f"{rated.row.id}#{number}"
            answer = rated.messages[position]
            if rating is not Rating.GOOD:
                yield Dropped(unit=ANSWER, id=name, reason=rating.value, source=rated.row.source)
                continue
            earlier = untrained(rated.messages[:position])
            described = rated.row.example.description
            example = Conversation(messages=(*earlier, replace(answer, is_trained=True)), description=described)
            yield Row(id=name, example=example, source=rated.row.source)


def _joined(into: InputSpec, found: Iterator[Row | Dropped], context: BuildContext) -> Iterator[Row | Dropped]:
    for row in context.counted_rows(into):
        yield row.in_mixture()
    for item in found:
        yield item.in_mixture() if isinstance(item, Row) else item


def _rated(data: InputSpec, column: str, context: BuildContext) -> Iterator[RatedConversation | Dropped]:
    """Yields the conversations of an input with the ratings of their answers, and answers that cannot be used."""
    columns = (column,) if column else RATINGS
    for whole in context.records(data):
        record, num_lost = _to_empty_answer(whole)
        row = row_of(_to_last_answer(record), data)
        if isinstance(row, Row) and isinstance(row.example, Text | Preference):
            row = Rejected(place=record.place, reason="malformed", detail="has no prompt with an answer")
        if isinstance(row, Rejected):
            context.drop(dropped_record(row, data))
            continue
        turns = messages(row.example)
        num = sum(message.role is Role.ASSISTANT for message in turns)
        context.num_in[ANSWER] += num + num_lost
        ratings = _ratings(record, turns, columns)
        yield RatedConversation(row=row, messages=turns, ratings=ratings, num_answers=num + num_lost)
        for number in range(num_lost):
            reason = "after_empty_output" if number else "empty_output"
            yield Dropped(unit=ANSWER, id=f"{row.id}#{num + number + 1}", reason=reason, source=data.name)


def _to_empty_answer(record: Record) -> tuple[Record, int]:
    """The turns before the first empty answer, and how many answers that leaves out; all if it is the first one."""
    name, turns = _chat(record)
    answers = [place for place, turn in enumerate(turns) if _role(turn) is Role.ASSISTANT]
    empty = next((number for number, place in enumerate(answers) if _is_empty(turns[place])), 0)
    if not empty:
        return record, 0
    kept = turns[: answers[empty]]
    return Record(place=record.place, columns={**record.columns, name: kept}), len(answers) - empty


def _is_empty(turn: Mapping[str, Any]) -> bool:
    content = turn.get("content", turn.get("value"))
    return (content is None or (isinstance(content, str) and not content.strip())) and not turn.get("tool_calls")


def _to_last_answer(record: Record) -> Record:
    """Removes the turns after the last answer. Logs of conversations often end with the user."""
    name, turns = _chat(record)
    while turns and _role(turns[-1]) not in (Role.ASSISTANT, None):
        turns = turns[:-1]
    return Record(place=record.place, columns={**record.columns, name: turns}) if turns else record


def _chat(record: Record) -> tuple[str, list[Any]]:
    """Returns the column of messages and its turns; no turns if there is no such column."""
    for name in CHATS:
        if isinstance(turns := record.columns.get(name), list) and all(isinstance(turn, dict) for turn in turns):
            return name, turns
    return "", []


def _role(turn: Mapping[str, Any]) -> Role | None:
    return ROLES.get(str(turn.get("role", turn.get("from"))).strip().lower())


def _ratings(record: Record, turns: Sequence[Message], columns: Sequence[str]) -> list[Rating]:
    """Returns the rating of each answer. The record's rating applies to the last answer if its message has none."""
    num_answers = sum(message.role is Role.ASSISTANT for message in turns)
    _, raw = _chat(record)
    ratings = [_rating(turn, columns, record) for turn in raw if _role(turn) is Role.ASSISTANT][:num_answers]
    ratings = ratings or [Rating.NONE] * num_answers
    if ratings[-1] is Rating.NONE:
        ratings[-1] = _rating(record.columns, columns, record)
    return ratings


def _rating(values: Mapping[str, Any], columns: Sequence[str], record: Record) -> Rating:
    """Returns the rating in the first of these columns that is present.

    Raises:
        MixError: it is a number of a scale with more values, on which 1 may not mean good.
    """
    value = next((values[name] for name in columns if values.get(name) is not None), None)
    text = str(value).strip().lower()
    if value is None or not text:
        return Rating.NONE
    if _NUMBER.fullmatch(text) and text not in GOOD | BAD:
        raise MixError(f"{record.place}: the rating {text} belongs to a scale of more than two values. Give 1 or 0.")
    return Rating.GOOD if text in GOOD else Rating.BAD if text in BAD else Rating.OTHER
