"""A user's example as a row that the base can be asked about: an instruction, perhaps an input, and answers.

    for read, row in read_own(open_source("mine.jsonl")):
        ...

Of a conversation the last answer is asked, with the turns before it as context, and all answers are trained. A text
without a question, a preference and a conversation whose answers all call tools are no rows.

Where it sits: core/example/reading -> **own_row** -> own_data and check.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from core.example.example import Conversation, ExampleKind, Message, Prompted, Role, Text, kind
from core.example.reading import Census, Read, Source, texts
from core.files import sha256
from core.records.record import Place, Rejected
from core.text import nfc

NO_LICENCE, ENGLISH = "Unknown", "en"
"""Where a row says nothing."""

NOT_CURATED = "not_curated"
"""Reason of examples that curation has no question for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRow:
    """One usable row."""

    id: str
    number: int
    """Of the record in all that was given, from 1."""
    instruction: str
    input: str
    outputs: tuple[str, ...]
    licence: str
    language: str
    dialogue: Conversation | None = None
    """What is trained in place of the instruction and the first answer; None: they are."""
    place: Place = Place(file="")


def read_own(source: Source, language: str = ENGLISH) -> Iterator[tuple[Read | Rejected, OwnRow | Rejected]]:
    """Every record as it was read, and as a row or as rejected with its reason.

    Args:
        language: Of rows that name none.

    Raises:
        DataError: a file cannot be read.
    """
    seen: set[str] = set()
    is_single = len(source.parts) <= 1
    for number, item in enumerate(source.examples(), start=1):
        if isinstance(item, Rejected):
            yield item, item
            continue
        row = own_row(item, number, language)
        if isinstance(row, OwnRow):
            row = row if is_single else replace(row, id=f"{item.part}:{row.id}")
            if row.id in seen:
                given = item.example.description.id
                yield item, Rejected(place=item.place, reason="duplicate_id", detail=f"id {given!r} was used before")
                continue
            seen.add(row.id)
        yield item, row


@dataclass(frozen=True, slots=True, kw_only=True)
class Unasked:
    """A good example that the base cannot be asked about; its text is not kept."""

    row: Rejected
    kind: ExampleKind
    key: str
    """Equal for equal texts."""


@dataclass(slots=True)
class OwnAccount:
    """What one source was found to hold, and what of it curation uses."""

    census: Census = field(default_factory=Census)
    rows: list[OwnRow] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    """Records with something to mend."""
    unasked: list[Unasked] = field(default_factory=list)

    @classmethod
    def of(cls, source: Source, language: str = ENGLISH) -> "OwnAccount":
        """Reads a source whole.

        Raises:
            DataError: a file cannot be read.
        """
        account = cls()
        for read, row in read_own(source, language):
            account.add(read, row)
        return account

    def add(self, read: Read | Rejected, row: OwnRow | Rejected) -> None:
        """Counts one record of `read_own`."""
        if isinstance(row, OwnRow):
            self.census.add(read)
            self.rows.append(row)
        elif row.reason == NOT_CURATED and isinstance(read, Read):
            self.census.add(read)
            key = sha256("\0".join(map(nfc, texts(read.example))).encode())
            self.unasked.append(Unasked(row=row, kind=kind(read.example), key=key))
        else:
            self.census.add(row)
            self.rejected.append(row)

    def told(self, where: str) -> list[str]:
        """In one line each: the layout, columns that are not used, kinds that are not used, conversations."""
        kinds = Counter(unasked.kind for unasked in self.unasked)
        lines = [
            f"{where}: {n:,} of kind {name}: curate does not use them, for the base cannot be asked about them"
            for name, n in sorted(kinds.items())
        ]
        return [*self.census.told(where), *lines, *self._told_of_dialogues(where)]

    def _told_of_dialogues(self, where: str) -> list[str]:
        num = sum(row.dialogue is not None for row in self.rows)
        line = (
            f"{where}: {num:,} of {len(self.rows):,} rows are conversations: the last answer of each is asked, with "
            "the turns before it, and all its answers are trained, in the base's chat template"
        )
        return [line] if num else []


def own_row(read: Read, number: int, language: str = ENGLISH) -> OwnRow | Rejected:
    """An example as a row."""
    example, described = read.example, read.example.description
    found = OwnRow(
        id=described.id or read.place.name,
        number=number,
        instruction="",
        input="",
        outputs=(),
        licence=described.licence or NO_LICENCE,
        language=described.language or language,
        place=read.place,
    )
    if isinstance(example, Prompted):
        instruction = _behind(example.system, example.instruction)
        return replace(found, instruction=instruction, input=example.input, outputs=example.outputs)
    if isinstance(example, Conversation):
        return _of_conversation(found, example)
    what = "a text without a question" if isinstance(example, Text) else "a preference between two answers"
    return Rejected(place=read.place, reason=NOT_CURATED, detail=f"{what}: the base cannot be asked about it")


def _of_conversation(found: OwnRow, example: Conversation) -> OwnRow | Rejected:
    messages = example.messages
    numbers = [n for n, message in enumerate(messages) if n and _is_asked(message)]
    if not numbers:
        detail = "each answer calls a tool or is not trained: the base cannot be asked about it"
        return Rejected(place=found.place, reason=NOT_CURATED, detail=detail)
    context, answer = messages[: numbers[-1]], messages[numbers[-1]]
    system = context[0].content if context[0].role is Role.SYSTEM else ""
    turns = context[bool(system) :]
    is_single = all(message.role is Role.USER for message in turns)
    question = "\n\n".join(m.content for m in turns) if is_single else _transcript(turns)
    return replace(
        found,
        instruction=_behind(system, question),
        outputs=(answer.content,),
        dialogue=example,
    )


def _is_asked(message: Message) -> bool:
    """Whether it is an answer in words that is trained."""
    return message.role is Role.ASSISTANT and message.is_trained and not message.tool_calls


_SPEAKERS = {Role.SYSTEM: "System", Role.USER: "User", Role.ASSISTANT: "Assistant", Role.TOOL: "Tool"}


def _transcript(turns: Sequence[Message]) -> str:
    """The turns as text, each behind its speaker's name; a call of a tool as JSON."""
    texts = [(_SPEAKERS[m.role], "\n".join(filter(None, (m.content, m.tool_calls)))) for m in turns]
    return "\n\n".join(f"{speaker}: {text}" for speaker, text in texts)


def _behind(system: str, text: str) -> str:
    return f"{system}\n\n{text}" if system.strip() else text
