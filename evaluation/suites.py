"""The suites by name: what each reads its items from, and the parameters that it takes.

    suite = load_suite("ifeval", Path("input_data.jsonl"), {"letter_rule": "upstream"})

A suite's module is imported only when it is asked for.

Where it sits: above all suites; the command asks here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from core.hint import did_you_mean
from core.records.hub import is_hub_name
from core.typed_options import typed_options
from evaluation.errors import EvaluationError
from evaluation.hub_items import fetched
from evaluation.suite import Suite

Loader = Callable[[Path, Any], Suite[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteEntry:
    """One name on the command line."""

    about: str
    """What it measures, in a few words."""
    items: tuple[str, ...]
    """Names of its items in a folder, in order of preference. None: the suite itself finds them in the folder."""
    module: str
    load: str
    """Name of a function of the module: (path of the items, parameters) -> suite."""
    parameters: str
    """Name of a frozen dataclass of the module; every field has a default."""
    hub: bool = False
    """Whether its items may be the rows of a data set of the hub."""


def _tc_eval(about: str, load: str) -> SuiteEntry:
    return SuiteEntry(
        about=about, items=(), module="evaluation.tc_eval.suites", load=load, parameters="TcEvalParameters"
    )


SUITES = {
    "ifeval": SuiteEntry(
        about="instructions that a program can check, in English",
        items=("input_data.jsonl",),
        module="evaluation.ifeval.suite", load="load_english", parameters="IfevalParameters", hub=True,
    ),
    "ifeval-fi": SuiteEntry(
        about="the same in Finnish, in the modes published and localised",
        items=("ifeval_fi.jsonl", "input_data.jsonl"),
        module="evaluation.ifeval.suite", load="load_finnish", parameters="IfevalParameters", hub=True,
    ),
    "language": SuiteEntry(
        about="the language of responses to the 113 cross-lingual instructions",
        items=(), module="evaluation.crosslingual.surface", load="load_language", parameters="LanguageParameters",
    ),
    "spelling": SuiteEntry(
        about="the share of their words that a dictionary accepts",
        items=(), module="evaluation.crosslingual.surface", load="load_spelling", parameters="SpellingParameters",
    ),
    "relevance": SuiteEntry(
        about="whether a judge calls them relevant",
        items=(), module="evaluation.crosslingual.judged", load="load_relevance", parameters="JudgeParameters",
    ),
    "judge": SuiteEntry(
        about="six criteria by a judge or by people, and how far both agree",
        items=(), module="evaluation.crosslingual.judged", load="load_judge", parameters="JudgeSuiteParameters",
    ),
    "modifiers": SuiteEntry(
        about="whether 251 modified instructions are fulfilled, by rule or judge",
        items=(), module="evaluation.crosslingual.modified", load="load_modifiers", parameters="ModifierParameters",
    ),
    "drcd": _tc_eval("questions on paragraphs of Wikipedia, in Traditional Chinese", "Drcd"),
    "fgc": _tc_eval("the same from the Formosa Grand Challenge", "Fgc"),
    "ttqa": _tc_eval("multiple choice about Taiwan", "Ttqa"),
    "penguins": _tc_eval("multiple choice about tables of penguins", "Penguins"),
    "tmmlu": _tc_eval("multiple choice in 53 subjects", "Tmmlu"),
    "xsum-tc": _tc_eval("summaries of articles in one sentence", "XsumTc"),
    "imdb-tc": _tc_eval("the sentiment of reviews", "ImdbTc"),
    "tc-eval": SuiteEntry(
        about="all tasks of TC-Eval that are there, and Taiwan LLM's average of seven",
        items=(), module="evaluation.tc_eval.all_tasks", load="load_all", parameters="AllParameters",
    ),
    "held-out": SuiteEntry(
        about="validation rows of a mix, which no training row repeats, by exact match or ROUGE-L",
        items=(), module="evaluation.held_out", load="load_held_out", parameters="HeldOutParameters", hub=True,
    ),
}  # fmt: skip
"""A new suite is one module and one line here."""


def load_suite(name: str, items: Path, settings: Mapping[str, str]) -> Suite[Any]:
    """The suite of a name.

    Args:
        items: The file of its items, a folder that holds it under a known name, or a data set of the hub.
        settings: Its parameters, as text.

    Raises:
        EvaluationError: an unknown suite or parameter, a value that the parameter cannot have, or no items.
    """
    entry = find_suite(name)
    module = import_module(entry.module)
    parameters = typed_options(getattr(module, entry.parameters), settings, of=name, error=EvaluationError)
    load: Loader = getattr(module, entry.load)
    suite = load(_items_file(items, entry, name), parameters)
    if not suite.items():
        raise EvaluationError(f"{items}: no item of {name} in it. Give the file of its items.")
    return suite


def settings_of(given: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE` texts as the settings of `load_suite`.

    Raises:
        EvaluationError: one has no value.
    """
    settings = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise EvaluationError(f"`set={text}`: no value. Write KEY=VALUE.")
        settings[key.strip()] = value.strip()
    return settings


def find_suite(name: str) -> SuiteEntry:
    """The entry of a name.

    Raises:
        EvaluationError: unknown.
    """
    if name not in SUITES:
        raise EvaluationError(f"suite {name}: unknown{did_you_mean(name, SUITES)}. Known are {', '.join(SUITES)}.")
    return SUITES[name]


def _items_file(path: Path, entry: SuiteEntry, name: str) -> Path:
    if entry.hub and is_hub_name(str(path)):
        return fetched(str(path))
    if not (path.is_dir() and entry.items):
        return path
    found = next((path / file for file in entry.items if (path / file).is_file()), None)
    if found is None:
        raise EvaluationError(f"{path}: holds no {' or '.join(entry.items)}. Give the file with the items of {name}.")
    return found
