"""The builders by name, with the class of their options and the function that builds.

    options = parse_options("mix", {"base": "en.jsonl", "added": "fi.jsonl", "percent": [10]})
    find_builder("mix").outputs(options, context)

The module of a builder is imported when it is used.

Where it sits: above all builders. `build` uses it, and code that builds from a settings file.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from core.errors import MixError
from core.hint import did_you_mean
from core.typed_options import typed_options
from curation.builders.work import BuildContext, BuildOptions, Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """One builder."""

    about: str
    """Its output, in a few words."""
    module: str
    """Name of its module in this package, which has a function `outputs(options, context)`."""
    options_name: str
    """Name of the class of its options in that module."""
    asks: bool = False
    """Whether it needs an engine."""

    @property
    def options(self) -> type[BuildOptions]:
        """The class of its options."""
        found: type[BuildOptions] = getattr(import_module(f"{__package__}.{self.module}"), self.options_name)
        return found

    @property
    def outputs(self) -> Callable[[Any, BuildContext], Iterator[Output]]:
        """The function (options, context) -> the files to write."""
        found: Callable[[Any, BuildContext], Iterator[Output]] = import_module(f"{__package__}.{self.module}").outputs
        return found


BUILDERS: Mapping[str, Builder] = {
    "mix": Builder(
        about="all rows of one file and a share of the rows of another, nested", module="mix", options_name="MixOptions"
    ),
    "uniform": Builder(
        about="the same number of rows or tokens of each of several languages",
        module="uniform", options_name="UniformOptions",
    ),
    "table": Builder(
        about="the files of a table, joined, with the expected number of rows",
        module="table", options_name="TableOptions",
    ),
    "conversations": Builder(
        about="the best-ranked conversation of each message tree",
        module="tree", options_name="ConversationOptions",
    ),
    "preferences": Builder(
        about="pairs of a better and a worse answer, from scores or rankings",
        module="preferences", options_name="PreferenceOptions",
    ),
    "feedback": Builder(
        about="the answers that people rated good, with their context",
        module="feedback", options_name="FeedbackOptions",
    ),
    "verdicts": Builder(
        about="the documents of websites that a table accepts", module="verdicts", options_name="VerdictOptions"
    ),
    "translate": Builder(
        about="the rows in another language, translated line by line by a base model",
        module="translate", options_name="TranslateOptions", asks=True,
    ),
    "clean": Builder(
        about="the rows that pass rules about length, symbols, repetition and language",
        module="clean", options_name="CleanOptions",
    ),
}  # fmt: skip
"""A new builder needs a module and an entry here."""


def find_builder(kind: str) -> Builder:
    """Returns the builder of this name.

    Raises:
        MixError: unknown.
    """
    if kind not in BUILDERS:
        raise MixError(f"builder {kind}: unknown{did_you_mean(kind, BUILDERS)}. Known are {', '.join(BUILDERS)}.")
    return BUILDERS[kind]


def parse_options(kind: str, settings: Mapping[str, object]) -> BuildOptions:
    """Makes the options of a builder from plain values, as a settings file contains them.

    Raises:
        MixError: the builder or an option is unknown, a value is wrong, or an option is missing.
    """
    options: BuildOptions = typed_options(find_builder(kind).options, settings, of=kind, error=MixError)
    return options
