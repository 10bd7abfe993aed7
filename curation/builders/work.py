"""The interface of a builder: options, a context that reads and counts the inputs, and outputs.

    def outputs(options: MixOptions, context: BuildContext) -> Iterator[Output]:
        base = list(context.rows(InputSpec.parse(options.base)))
        yield Output(name="mix", items=nested_mix(base, ...), num_in=lambda: len(base))

The rules of a builder are a pure function over rows, which yields every row as kept or as dropped. The context reads
files and counts; `build` writes.

Where it sits: rows -> **work** -> every builder -> build.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from core.errors import MixError
from core.generation.request import Predictor
from core.model.token_counter import TokenCounter
from core.records.record import Record, Rejected
from core.stage import Dropped
from curation.builders.rows import RECORD, InputSpec, IsInput, Row, contents, dropped_record, records, rows


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Base class of the options of the builders."""

    def check(self) -> None:
        """Checks the values.

        Raises:
            MixError: a value cannot be used.
        """

    def inputs(self) -> tuple[InputSpec, ...]:
        """The inputs that the builder reads."""
        given = (getattr(self, name) for name in self.input_fields())
        texts = [text for value in given if value for text in ([value] if isinstance(value, str) else value)]
        return tuple(map(InputSpec.parse, texts))

    @classmethod
    def input_fields(cls) -> tuple[str, ...]:
        """Names of the fields that hold an input, or several."""
        hints = get_type_hints(cls, include_extras=True).items()
        return tuple(
            name for name, hint in hints if any(isinstance(m, IsInput) for m in getattr(hint, "__metadata__", ()))
        )


Line = Mapping[str, str | int | float | None]
"""One line of a table that the command line shows: column -> value."""

_EVERY = 200
"""Number of records between two progress reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One file of rows."""

    name: str
    """Name of the file, without its suffix."""
    items: Iterable[Row | Dropped]
    num_in: Callable[[], int]
    """Returns how many rows, pairs or documents the builder examined for this file. It is called after `items` are
    exhausted, and must equal the number of kept and dropped items."""
    unit: str = "row"
    """The name of one item in the counts."""


@dataclass(slots=True, kw_only=True)
class BuildContext:
    """Reads the inputs of one build and counts records. Collects the tables that are shown at the end."""

    write_dropped: Callable[[Dropped], None]
    """Writes a record to `dropped.jsonl`."""
    on_progress: Callable[[str, int], None]
    predictor: Predictor | None = None
    """The engine, for a builder that needs one."""
    answers: Path | None = None
    """File in which the engine's answers are stored."""
    num_in: Counter[str] = field(default_factory=Counter)
    """Unit -> number of items that a builder examined for an output; see `Output.num_in`."""
    num_read: Counter[str] = field(default_factory=Counter)
    """Unit -> number of items that were read before the outputs are made: records, messages, prompts."""
    num_dropped: Counter[str] = field(default_factory=Counter)
    """Unit -> number of these that were dropped."""
    tables: dict[str, Sequence[Line]] = field(default_factory=dict)
    """Title -> lines. The command line shows them, and the summary contains them."""

    def rows(self, data: InputSpec) -> Iterator[Row]:
        """Yields the rows of an input. Drops and counts records that cannot be used."""
        for item in self._counted(rows(data), data):
            self.num_read[RECORD] += 1
            if isinstance(item, Dropped):
                self.drop(item)
            else:
                yield item

    def counted_rows(self, data: InputSpec) -> Iterator[Row]:
        """Like `rows`, and counts every row as examined for an output."""
        for row in self.rows(data):
            self.num_in["row"] += 1
            yield row

    def records(self, data: InputSpec) -> Iterator[Record]:
        """Yields the records of an input, for a builder that reads columns besides the example."""
        for item in self._counted(records(data), data):
            self.num_read[RECORD] += 1
            if isinstance(item, Rejected):
                self.drop(dropped_record(item, data))
            else:
                yield item

    def drop(self, record: Dropped) -> None:
        """Drops an item that was counted in `num_read`."""
        self.num_dropped[record.unit] += 1
        self.write_dropped(record)

    def _counted(self, items: Iterable[Any], data: InputSpec) -> Iterator[Any]:
        number = 0
        for number, item in enumerate(items, start=1):
            if number % _EVERY == 0:
                self.on_progress(f"read {data.name}", number)
            yield item
        self.on_progress(f"read {data.name}", number)


def token_counter(tokenizer: Path | None, why: str) -> TokenCounter:
    """Loads the tokenizer that a builder counts tokens with.

    Raises:
        MixError: no tokenizer was given.
    """
    if tokenizer is None:
        raise MixError(f"`tokenizer=` is missing: {why}. Give the folder of the base model, or its tokenizer file.")
    return TokenCounter.load(tokenizer)


def num_tokens(counter: TokenCounter, row: Row) -> int:
    """Returns the number of tokens of all texts of a row, without template and special tokens."""
    return sum(counter.count(contents(row.example)))
