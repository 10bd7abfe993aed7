"""The kind of a task: exact match if only one wording is right, generation if many are.

    evidence = kind_of(task)
    evidence.kind, evidence.rule, evidence.reason

Every rule depends on the task's Definition and on its answers, never on its name. A rule holds if nearly all answers
leave no choice of words: labels of the Definition, single words, numbers, options of the input, a fixed format, spans,
look-ups. On 102 tasks whose kind a person was sure of, the rules agree in all 102; without the rules for numbers,
options, formats and look-ups in 94 (measured, tests/curation/ni/test_kind.py).

Where it sits: task -> shape -> **kind** -> select.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.generation.prediction import canonical_name
from core.generation.request import Kind
from curation.ni.shape import shapes
from curation.ni.task import Task


class Rule(StrEnum):
    """Why a task is exact match: the first rule that holds."""

    IN_DEFINITION = "in_definition"
    """Answers consist of words of the Definition, that is, of labels."""
    ONE_WORD = "one_word"
    WORDLESS = "wordless"
    """Answers contain no word of two letters: numbers, lists of numbers, codes, option letters."""
    OPTION = "option"
    """Answers are exactly one of the options that the input lists."""
    FORMAT = "format"
    """Answers are given material in a fixed form: labels that the Definition marks (`'IsA'`, `works_for`) among words
    of the input, or a list or record in brackets."""
    SPAN = "span"
    """Answers of at most three words that occur in the input."""
    NAME = "name"
    """Answers of at most five words, each capitalised or a number, as the result of a look-up is."""
    LOOK_UP = "look_up"
    """Answers of at most three words to a Definition that asks for one certain thing: `return the currency`."""
    NONE = "none"
    """Generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypingParameters:
    """Choices about tasks on whose kind people disagree."""

    short_spans: bool = True
    """Whether answers of at most three words that occur in the input count as exact match. People disagree about where
    such a span begins and ends. Source: the person who labelled 142 tasks calls them exact match, arguably."""


MOST, NEARLY_ALL = 0.8, 0.9
"""Share of a task's answers that must fit a rule. Source: measured. Labels of the Definition alone agree with an
independent list of 562 tasks at .992. On 74 tasks that are surely generation, no rule that could turn them into exact
match fits more than .26 of the answers; on 28 that are surely exact match the deciding rule fits at least .83."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindEvidence:
    """A task's kind and the shares of its answers that decide it."""

    kind: Kind
    rule: Rule
    in_definition: float
    """Consist of words of the Definition, apart from numbers."""
    one_word: float
    wordless: float
    option: float
    format: float
    name: float
    look_up: float
    """At most three words, and the Definition asks for one certain thing."""
    in_input: float
    """At most three words, and a part of the input."""
    asks_for: str
    """The kind of free text that the Definition asks for, if any. Titles, for example, look like names but are not."""
    overridden: bool = False

    @property
    def reason(self) -> str:
        """The rule and the share that decided, or the largest share."""
        if self.overridden:
            return "override file"
        if self.rule is Rule.NONE:
            name = max(_SHARE_OF.values(), key=lambda share: float(getattr(self, share)))
            asked = f"asks for {self.asks_for}; " if self.asks_for else ""
            return f"{asked}at most {getattr(self, name):.0%} {name.replace('_', ' ')}"
        return f"{self.rule.value.replace('_', ' ')} {getattr(self, _SHARE_OF[self.rule]):.0%}"


_SHARE_OF: Mapping[Rule, str] = {
    rule: "in_input" if rule is Rule.SPAN else rule.value for rule in Rule if rule is not Rule.NONE
}


def kind_of(
    task: Task, overrides: Mapping[str, Kind] | None = None, parameters: TypingParameters | None = None
) -> KindEvidence:
    """Types a task by its Definition and the first reference of each instance.

    Args:
        overrides: Canonical task name -> kind; takes precedence over the evidence.
    """
    answers = list(shapes(task))
    total = max(1, len(answers))

    def share(name: str) -> float:
        return round(float(sum(getattr(answer, name) for answer in answers)) / total, 4)

    shares = {name: share(name) for name in _SHARE_OF.values()}
    asks_for = _usual([answer.asks_for for answer in answers])
    is_english = set(task.languages) <= {"English"}
    rule = _rule(shares, asks_for, parameters or TypingParameters(), is_english=is_english)
    kind = Kind.GENERATION if rule is Rule.NONE else Kind.EXACT_MATCH
    forced = (overrides or {}).get(canonical_name(task.name))
    return KindEvidence(
        kind=forced or kind,
        rule=rule,
        asks_for=asks_for,
        overridden=forced is not None and forced is not kind,
        **shares,
    )


def _usual(values: Sequence[str]) -> str:
    return max(sorted(set(values)), key=values.count, default="")


_LEAST: Mapping[Rule, float] = {
    Rule.IN_DEFINITION: MOST,
    Rule.ONE_WORD: NEARLY_ALL,
    Rule.WORDLESS: NEARLY_ALL,
    Rule.OPTION: MOST,
    Rule.FORMAT: MOST,
    Rule.SPAN: MOST,
    Rule.NAME: MOST,
    Rule.LOOK_UP: NEARLY_ALL,
}
"""The least share for each rule, in the order in which the rules are tried."""

_UNLESS_ASKED = (Rule.FORMAT, Rule.SPAN, Rule.NAME, Rule.LOOK_UP)
"""Rules that free text can fulfil by chance; they are skipped if the Definition asks for free text."""


_ENGLISH_ONLY = (Rule.NAME,)
"""Capitals make a name only in English: German writes every noun with one. And whether a Definition asks for titles,
which look like names, is told from English words."""


def _rule(shares: Mapping[str, float], asks_for: str, parameters: TypingParameters, *, is_english: bool) -> Rule:
    for rule, least in _LEAST.items():
        if rule in _ENGLISH_ONLY and not is_english:
            continue
        if shares[_SHARE_OF[rule]] >= least and not (asks_for and rule in _UNLESS_ASKED):
            return Rule.NONE if rule is Rule.SPAN and not parameters.short_spans else rule
    return Rule.NONE
