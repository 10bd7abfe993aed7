"""Message trees, as OpenAssistant publishes them: each message names its parent, and the best reply has rank 0.

    tree = MessageTree.of(messages, source="oasst1")
    tree.ranked()              # every prompt with its ranked replies, for preferences
    tree.best_threads()        # from each root along the best-ranked replies to the last answer, for conversations

Columns: `message_id`, `parent_id`, `role` (prompter or assistant), `text`, `rank`, `deleted`.

Where it sits: rows -> **tree** -> preferences.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from core.example.example import Conversation, Description, Message, Role
from core.example.language import language_code
from core.example.messages import ROLES
from core.records.record import Record, Rejected
from core.stage import Dropped
from curation.builders.rows import InputSpec, IsInput, Row, dropped_record
from curation.builders.work import BuildContext, BuildOptions, Line, Output

MESSAGE = "message"
"""Unit of the messages of a tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeMessage:
    """One message of a tree."""

    id: str
    parent: str
    """Id of the parent; empty for a root."""
    message: Message
    rank: float | None
    """Rank among the replies to its parent. None: not ranked."""
    is_deleted: bool


def read_message(record: Record) -> TreeMessage | Rejected:
    """Returns the message of a record."""
    columns = record.columns
    role = ROLES.get(str(columns.get("role", "")).lower())
    for name in ("message_id", "text"):
        if not isinstance(columns.get(name), str):
            return Rejected(place=record.place, reason="malformed", detail=f"lacks `{name}` as text")
    if role not in (Role.USER, Role.ASSISTANT):
        what = "lacks `role`: prompter or assistant"
        return Rejected(place=record.place, reason="malformed", detail=what)
    rank = columns.get("rank")
    return TreeMessage(
        id=columns["message_id"],
        parent=_text(columns.get("parent_id")),
        message=Message(role=role, content=columns["text"], is_trained=role is Role.ASSISTANT),
        rank=float(rank) if isinstance(rank, int | float) and not isinstance(rank, bool) else None,
        is_deleted=bool(columns.get("deleted")),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


@dataclass(slots=True, kw_only=True)
class MessageTree:
    """The usable messages by id, and the dropped ones."""

    messages: Mapping[str, TreeMessage]
    dropped: list[Dropped] = field(default_factory=list)
    replies: dict[str, list[TreeMessage]] = field(default_factory=dict)
    """Id of a message -> its replies in the order of the file. The empty id has the roots."""

    @classmethod
    def of(cls, given: Iterable[TreeMessage], *, source: str, keep_deleted: bool = False) -> "MessageTree":
        """Builds the tree from all messages of a file, in any order."""
        everything = {message.id: message for message in given}
        tree = cls(messages={})
        reasons = {key: _reason(message, everything, keep_deleted) for key, message in everything.items()}
        tree.messages = {key: message for key, message in everything.items() if not reasons[key]}
        tree.dropped = [
            Dropped(unit=MESSAGE, id=key, reason=reason, source=source) for key, reason in reasons.items() if reason
        ]
        for message in tree.messages.values():
            tree.replies.setdefault(message.parent, []).append(message)
        return tree

    def thread(self, message: TreeMessage) -> tuple[TreeMessage, ...]:
        """Returns the messages from the root to this one."""
        found = [message]
        while found[-1].parent:
            found.append(self.messages[found[-1].parent])
        return tuple(reversed(found))

    def ranked(self) -> Iterator[tuple[TreeMessage, list[TreeMessage]]]:
        """Yields every prompt that has replies, with its ranked replies."""
        for message in self.messages.values():
            answers = [reply for reply in self.replies.get(message.id, []) if reply.message.role is Role.ASSISTANT]
            if answers and message.message.role is Role.USER:
                yield message, [answer for answer in answers if answer.rank is not None]

    def best_threads(self) -> Iterator[tuple[TreeMessage, ...]]:
        """Yields for each root the thread of best-ranked replies up to its last answer; empty without an answer."""
        for root in self.replies.get("", []):
            found = [root]
            while replies := self.replies.get(found[-1].id):
                found.append(min(replies, key=self._order))
            while found and found[-1].message.role is not Role.ASSISTANT:
                found.pop()
            yield tuple(found)

    def _order(self, reply: TreeMessage) -> tuple[float, bool]:
        """Sorts replies by rank. Of unranked replies, such as the user's, those with an answer come first."""
        return float("inf") if reply.rank is None else reply.rank, reply.id not in self.replies


def _reason(message: TreeMessage, everything: Mapping[str, TreeMessage], keep_deleted: bool) -> str:
    """Returns the reason to drop a message; empty if it is usable."""
    if message.is_deleted and not keep_deleted:
        return "deleted"
    if message.parent and message.parent not in everything:
        return "missing_parent"
    seen = {message.id}
    while message.parent:
        above = everything.get(message.parent)
        if above is None or above.id in seen or (above.is_deleted and not keep_deleted):
            return "broken_thread"
        seen.add(above.id)
        message = above
    return ""


def read_tree(data: InputSpec, context: BuildContext, *, keep_deleted: bool = False) -> MessageTree:
    """Reads the tree of an input and counts its messages."""
    found: dict[str, TreeMessage] = {}
    for record in context.records(data):
        message = read_message(record)
        if isinstance(message, TreeMessage) and message.id in found:
            detail = f"message_id {message.id!r} was used before"
            message = Rejected(place=record.place, reason="duplicate_id", detail=detail)
        if isinstance(message, Rejected):
            context.drop(dropped_record(message, data))
        else:
            found[message.id] = message
    context.tables["messages"] = [_counts(found.values())]
    tree = MessageTree.of(found.values(), source=data.name, keep_deleted=keep_deleted)
    context.num_read[MESSAGE] += len(found)
    for dropped in tree.dropped:
        context.drop(dropped)
    return tree


def _counts(found: Collection[TreeMessage]) -> Line:
    answers = [message for message in found if message.message.role is Role.ASSISTANT]
    return {
        "messages": len(found),
        "roots": sum(not message.parent for message in found),
        "answers": len(answers),
        "ranked answers": sum(message.rank is not None for message in answers),
        "deleted": sum(message.is_deleted for message in found),
    }


def tree_language(data: InputSpec) -> str:
    """Returns the language of the texts if the key of the input is a language code, else an empty text."""
    code = language_code(data.key) if data.key else ""
    return code if len(code) == 2 else ""


# -- conversations

TREE = "tree"
"""Unit of the trees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationOptions(BuildOptions):
    """Options of conversations."""

    data: Annotated[str, IsInput()]
    """A message tree: FILE, NAME=FILE, or FILE#KEY to read one key of each record."""
    keep_deleted: bool = False
    """Use deleted messages."""


def outputs(options: ConversationOptions, context: BuildContext) -> Iterator[Output]:
    """Yields one file of conversations."""
    data = InputSpec.parse(options.data)
    tree = read_tree(data, context, keep_deleted=options.keep_deleted)
    described = Description(language=tree_language(data))
    yield Output(
        name="conversations",
        items=_counted(best_conversations(tree, data.name, described), context),
        num_in=lambda: len(tree.replies.get("", [])),
        unit=TREE,
    )


def best_conversations(tree: MessageTree, source: str, described: Description) -> Iterator[Row | Dropped]:
    """Yields a conversation for each root that has an answer."""
    for root, thread in zip(tree.replies.get("", []), tree.best_threads(), strict=True):
        if not thread:
            yield Dropped(unit=TREE, id=root.id, reason="no_answer", source=source)
        elif blank := next((m.id for m in thread if not m.message.content.strip()), ""):
            yield Dropped(unit=TREE, id=root.id, reason="empty_message", detail=blank, source=source)
        else:
            example = Conversation(messages=tuple(m.message for m in thread), description=described)
            yield Row(id=root.id, example=example, source=source)


def _counted(items: Iterator[Row | Dropped], context: BuildContext) -> Iterator[Row | Dropped]:
    turns: dict[int, int] = {}
    for item in items:
        if isinstance(item, Row):
            turns[item.example.num_turns] = turns.get(item.example.num_turns, 0) + 1
        yield item
    context.tables["messages of a conversation"] = [{"messages": n, "conversations": turns[n]} for n in sorted(turns)]
