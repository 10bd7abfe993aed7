"""A request holds the options of a command, one field for each option. The command line, completion, checks and the
reference page are made from these fields.

    @dataclass(frozen=True, kw_only=True)
    class LedgerRequest(Reporting):
        '''Show how the budget of a run was spent.'''

        run: Annotated[Path, Option(is_argument=True)]
        '''Run folder.'''

    [field.flag for field in request_fields(LedgerRequest)]      # ["RUN", "--json"]

The type of a field decides how it is parsed: a bool is a flag, a tuple may be given several times, and `None` means
that the option was not given. The text below the field is its help. `Option` holds everything else.

Where it sits: below all commands. It imports nothing heavy, because `oneday --help` imports all requests.
"""

import importlib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from oneday.class_text import attribute_texts

GENERAL = "General"
"""The last panel of every help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What the command line needs to know about a field besides its name, type, default and text."""

    panel: str = "Options"
    """The heading under which `--help` shows it."""
    is_rare: bool = False
    """Only `--help-all` and the reference page show it."""
    is_argument: bool = False
    """A positional argument."""
    low: float | None = None
    high: float | None = None
    one_of: str = ""
    """`module:NAME` of the closed set of values: a StrEnum, a Literal, a tuple or a mapping. Imported when needed."""
    suggests: str = ""
    """`module:NAME` of values that the shell completes, although others are allowed."""
    sets: tuple[str, ...] = ()
    """The keys of `CurationParameters` that the option sets."""


RARE = Option(is_rare=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestField:
    """A field of a request with its parsed type."""

    owner: "type[Request]"
    name: str
    kind: type
    """The type of one value: bool, int, float, str or Path."""
    num_values: int
    """Number of values. -1: any number; the option is repeated for each."""
    default: Any
    option: Option
    literals: tuple[str, ...] = ()
    """The values of a Literal."""

    @property
    def is_required(self) -> bool:
        """Whether the field has no default."""
        return self.default is MISSING

    @property
    def flag(self) -> str:
        """The option as it is typed, such as `--own-share`; for an argument its name, such as RUN."""
        return self.name.upper() if self.option.is_argument else f"--{self.name.replace('_', '-')}"

    @property
    def negative_flag(self) -> str:
        """`--no-rehearsal`; empty unless the field is a flag that is on by default."""
        return f"--no-{self.name.replace('_', '-')}" if self.kind is bool and self.default is True else ""

    @property
    def values(self) -> tuple[str, ...]:
        """The closed set of values; empty if there is none."""
        return self.literals or named_values(self.option.one_of)

    @property
    def text(self) -> str:
        """The help: the closed set of values and the text below the field."""
        text = " ".join(field_texts(self.owner).get(self.name, "").split())
        return f"{listed(self.values)}. {text}".strip() if self.values else text


@dataclass(frozen=True, kw_only=True)
class Request:
    """Base of all requests."""


@dataclass(frozen=True, kw_only=True)
class Reporting(Request):
    """Base of commands that can end with a machine-readable line."""

    json: Annotated[bool, Option(panel=GENERAL)] = False
    """End with one machine-readable line."""


@dataclass(frozen=True, kw_only=True)
class Redoing(Reporting):
    """Base of commands that write stages of a run."""

    redo: Annotated[bool, Option(panel=GENERAL)] = False
    """Discard stages that were made with other inputs."""


@dataclass(frozen=True, kw_only=True)
class WithDryRun(Request):
    """Base of commands that can show what they would do."""

    dry_run: Annotated[bool, Option(panel=GENERAL)] = False
    """Show what would be done, without starting or writing anything."""


@dataclass(frozen=True, kw_only=True)
class WithTrainedBase(Request):
    """Base of commands that need the base model of a run or checkpoint."""

    base: Annotated[Path | None, Option()] = None
    """Base model folder. Default: the recorded one."""
    base_changed_on_purpose: Annotated[bool, RARE] = False
    """Use another base model than in training."""


def request_fields(request: type[Request]) -> tuple[RequestField, ...]:
    """All fields of a request: arguments first, general options last, otherwise in the order of the class."""
    hints = typing.get_type_hints(request, include_extras=True)
    found = []
    for f in fields(request):
        hint, *marks = typing.get_args(hints[f.name]) if hasattr(hints[f.name], "__metadata__") else [hints[f.name]]
        kind, num_values, literals = _parsed_type(hint)
        option = next((mark for mark in marks if isinstance(mark, Option)), Option())
        found.append(
            RequestField(
                owner=request,
                name=f.name,
                kind=kind,
                num_values=num_values,
                default=f.default,
                option=option,
                literals=literals,
            )
        )
    return tuple(sorted(found, key=lambda f: (not f.option.is_argument, f.option.panel == GENERAL)))


def _parsed_type(hint: Any) -> tuple[type, int, tuple[str, ...]]:
    """`tuple[Path, ...]` -> (Path, -1, ()); `tuple[Path, Path]` -> (Path, 2, ()); `Literal["a"]` -> (str, 1, ("a",))"""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (hint,) = [inner for inner in typing.get_args(hint) if inner is not types.NoneType]
    if typing.get_origin(hint) is tuple:
        kind, *others = typing.get_args(hint)
        return kind, -1 if others == [...] else 1 + len(others), ()
    if typing.get_origin(hint) is typing.Literal:
        return str, 1, typing.get_args(hint)
    return hint, 1, ()


def field_texts(request: type[Request]) -> Mapping[str, str]:
    """Field name -> the text below the field, including those of base classes."""
    return {
        name: text
        for base in reversed(request.__mro__)
        if is_dataclass(base)
        for name, text in attribute_texts(base).items()
    }


@cache
def named_values(place: str) -> tuple[str, ...]:
    """The values in the set that `module:NAME` names; empty for an empty name."""
    if not place:
        return ()
    module, _, name = place.partition(":")
    found = getattr(importlib.import_module(module), name)
    if isinstance(found, type) and issubclass(found, StrEnum):
        return tuple(member.value for member in found)
    return tuple(typing.get_args(found) or found)


def listed(words: Sequence[str]) -> str:
    """`a, b or c`."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def summary(request: type[Request]) -> str:
    """The first line of its docstring."""
    return (request.__doc__ or "").partition("\n")[0]


def arguments(request: Request) -> list[str]:
    """The command-line arguments that give this request. Defaults are left out."""
    found = list(request_fields(type(request)))
    options = [word for f in found if not f.option.is_argument for word in _typed(f, getattr(request, f.name))]
    places = [word for f in found if f.option.is_argument for word in _values(f, getattr(request, f.name))]
    return [*options, "--", *places] if any(word.startswith("-") for word in places) else [*options, *places]


def _typed(f: RequestField, value: Any) -> Iterator[str]:
    if value == f.default:
        return
    if f.kind is bool:
        yield f.flag if value else f.negative_flag
    elif f.num_values == -1:
        for one in value:
            yield from (f.flag, str(one))
    else:
        yield from (f.flag, *_values(f, value))


def _values(f: RequestField, value: Any) -> Sequence[str]:
    if value is None:
        return []
    return [str(value)] if f.num_values == 1 else [str(one) for one in value]
