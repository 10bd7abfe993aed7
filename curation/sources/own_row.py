"""A user's example as a row that the base can be asked about: an instruction, perhaps an input, and answers.

    for read, row in read_own(open_source("mine.jsonl")):
        ...

Of a dialogue one exchange is a row: the first question and its answer, with the system text at the head of the
instruction; of Alpaca's `history` the last. What of it is not used is counted. A text without a question, a preference
and an exchange that calls a tool are no rows.

Where it sits: core/example/reading -> **own_row** -> own_data and check.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from core.example.example import Conversation, ExampleKind, Message, Prompted, Role, Text, kind
from core.example.layout import Layout
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
    num_turns: int = 2
    """Of the example it was made of."""
    num_used_turns: int = 2
    place: Place = Place(file="")


def read_own(source: Source) -> Iterator[tuple[Read | Rejected, OwnRow | Rejected]]:
    """Every record as it was read, and as a row or as rejected with its reason.

    Raises:
        DataError: a file cannot be read.
    """
    seen: set[str] = set()
    is_single = len(source.parts) <= 1
    for number, item in enumerate(source.examples(), start=1):
        if isinstance(item, Rejected):
            yield item, item
            continue
        row = own_row(item, number)
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
    def of(cls, source: Source) -> "OwnAccount":
        """Reads a source whole.

        Raises:
            DataError: a file cannot be read.
        """
        account = cls()
        for read, row in read_own(source):
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
        """In one line each: the layout, columns that are not used, kinds that are not used, dialogues that are cut."""
        kinds = Counter(unasked.kind for unasked in self.unasked)
        lines = [
            f"{where}: {n:,} of kind {name}: curate does not use them, for the base cannot be asked about them"
            for name, n in sorted(kinds.items())
        ]
        return [*self.census.told(where), *lines, *self._told_of_dialogues(where)]

    def _told_of_dialogues(self, where: str) -> list[str]:
        """How many there are and what of them is used."""
        cut = [row for row in self.rows if row.num_used_turns < row.num_turns]
        given, used = sum(row.num_turns for row in cut), sum(row.num_used_turns for row in cut)
        line = (
            f"{where}: {len(cut):,} of {len(self.rows):,} rows are dialogues of several exchanges: curation uses one "
            f"exchange of each, {used:,} of their {given:,} turns"
        )
        return [line] if cut else []


def own_row(read: Read, number: int) -> OwnRow | Rejected:
    """An example as a row."""
    example, described = read.example, read.example.description
    found = OwnRow(
        id=described.id or read.place.name,
        number=number,
        instruction="",
        input="",
        outputs=(),
        licence=described.licence or NO_LICENCE,
        language=described.language or ENGLISH,
        num_turns=example.num_turns,
        place=read.place,
    )
    if isinstance(example, Prompted):
        instruction = _behind(example.system, example.instruction)
        return replace(
            found, instruction=instruction, input=example.input, outputs=example.outputs,
            num_used_turns=example.num_turns,
        )  # fmt: skip
    if isinstance(example, Conversation):
        return _of_conversation(found, example, takes_last=read.layout is Layout.ALPACA)
    what = "a text without a question" if isinstance(example, Text) else "a preference between two answers"
    return Rejected(place=read.place, reason=NOT_CURATED, detail=f"{what}: the base cannot be asked about it")


def _of_conversation(found: OwnRow, example: Conversation, *, takes_last: bool) -> OwnRow | Rejected:
    exchanges = list(_exchanges(example.messages))
    if not exchanges:
        detail = "each answer follows a tool's or is not trained: the base cannot be asked about it"
        return Rejected(place=found.place, reason=NOT_CURATED, detail=detail)
    questions, answer = exchanges[-1 if takes_last else 0]
    first = example.messages[0]
    system = first.content if first.role is Role.SYSTEM else ""
    question = "\n\n".join(message.content for message in questions)
    return replace(
        found,
        instruction=_behind(system, question),
        outputs=(answer.content,),
        num_used_turns=bool(system) + len(questions) + 1,
    )


def _behind(system: str, text: str) -> str:
    return f"{system}\n\n{text}" if system.strip() else text


def _exchanges(messages: tuple[Message, ...]) -> Iterator[tuple[list[Message], Message]]:
    """What the user said, and the assistant's text that follows it at once and is trained."""
    asked: list[Message] = []
    for message in messages:
        if message.role is Role.USER:
            asked.append(message)
            continue
        is_answer = message.role is Role.ASSISTANT and message.is_trained and not message.tool_calls
        if asked and is_answer:
            yield asked, message
        asked = []
