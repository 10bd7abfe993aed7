"""Selects tasks by rules. Every verdict has its evidence.

    verdict = judge(task, SelectionRules())

Measured over all 1,613 tasks against the winner's 462, these rules keep 564, with a precision of .817 and a recall of
.998. The winner chose the rest by hand.

Where it sits: task -> kind -> **select** -> prompt.
"""

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import SelectionError
from core.example.language import language_code
from core.example.licence import Licence, classify
from core.files import read_jsonl
from core.generation.prediction import canonical_name
from core.generation.request import Kind
from curation.ni.instances import Block
from curation.ni.kind import KindEvidence, Rule, TypingParameters, kind_of
from curation.ni.task import EqualInputs, Example, Instance, ReadingParameters, Task
from curation.policies.licence import LicencePolicy

WINNER_CATEGORIES = frozenset(
    """Answer Verification|Cause Effect Classification|Coherence Classification|Commonsense Classification|
    Dialogue Generation|Ethics Classification|Explanation|Fact Verification|Fill in The Blank|Grammar Error Correction|
    Grammar Error Detection|Information Extraction|Keyword Tagging|Poem Generation|Program Execution|
    Punctuation Error Detection|Question Answering|Section Classification|Sentence Composition|Sentence Compression|
    Sentence Expansion|Sentence Ordering|Sentiment Analysis|Spelling Error Detection|Stance Detection|
    Stereotype Detection|Story Composition|Summarization|Text Categorization|Text Completion|Textual Entailment|
    Title Generation|Toxic Language Detection""".replace("\n    ", "").split("|")
)
"""The 33 categories of the tasks that the winner trained on. Source: its published task list."""

CATEGORY_ALIASES = {"Basic Sentiment Analysis": "Sentiment Analysis"}
"""Spelling in upstream files -> category in the published table."""

OWN_DATA = "Own data"
"""Category of tasks made from the user's own rows, which are always selected. The next category is the file's name."""


def own_name(categories: Sequence[str]) -> str | None:
    """The name of the user's file that a task was made from; None if it is an NI task.

    >>> own_name(("Own data", "letters")), own_name(("Summarization",))
    ('letters', None)
    """
    if OWN_DATA not in categories:
        return None
    names = categories[categories.index(OWN_DATA) + 1 :]
    return names[0] if names else OWN_DATA


MATH_QA = re.compile(r"mathqa|mathematical|arithmetic|aqua(?!muse)|gsm8k|mawps|svamp|asdiv|mathdataset")
"""Names of tasks of question answering over arithmetic, which MathInstruct covers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionRules:
    """The rules of selection. The defaults reproduce the winner's list best."""

    language: str = "English"
    """Language of inputs and outputs, by name or code. The Definition may be in this language or in English."""
    categories: frozenset[str] = WINNER_CATEGORIES
    drop_mmlu: bool = True
    """MMLU is an evaluation scenario of the challenge."""
    drop_math_qa: bool = True
    licences: LicencePolicy = LicencePolicy.COMMERCIAL
    """Source: this project. The winner took every licence."""

    def fingerprint(self) -> dict[str, object]:
        """The rules as they stand in the manifest."""
        return {
            "language": self.language,
            "categories": sorted(self.categories),
            "drop_mmlu": self.drop_mmlu,
            "drop_math_qa": self.drop_math_qa,
            "licences": self.licences.value,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a task is kept, and why."""

    keep: bool
    reason: str
    """`kept`, or the rule that dropped it."""
    evidence: str


def judge(task: Task, rules: SelectionRules) -> Verdict:
    """The first rule that excludes the task, or `kept`."""
    return judge_header(
        name=task.name, languages=task.languages, categories=task.categories, licences=task.licences, rules=rules,
        text_languages=task.text_languages,
    )  # fmt: skip


def judge_header(
    *,
    name: str,
    languages: Iterable[str],
    categories: Iterable[str],
    licences: Iterable[str],
    rules: SelectionRules,
    is_mmlu: bool | None = None,
    text_languages: Iterable[str] | None = None,
) -> Verdict:
    """`judge` for a task's header, if its file is not available.

    Args:
        text_languages: Of inputs and outputs. None: `languages`.
    """
    spoken, known_categories = sorted(languages), sorted(CATEGORY_ALIASES.get(c, c) for c in categories)
    raw_licences = tuple(licences)
    if not _is_in(rules.language, spoken, spoken if text_languages is None else text_languages):
        return Verdict(keep=False, reason="language", evidence=", ".join(spoken) or "no language given")
    is_ni = OWN_DATA not in known_categories  # own rows are the user's choice, whatever their file is called
    if is_ni and rules.drop_mmlu and (is_mmlu if is_mmlu is not None else "mmlu" in name.lower()):
        return Verdict(keep=False, reason="mmlu", evidence=name)
    if is_ni and rules.drop_math_qa and MATH_QA.search(name.lower()):
        return Verdict(keep=False, reason="math_qa", evidence=name)
    if is_ni and not set(known_categories) & set(rules.categories):
        return Verdict(keep=False, reason="category", evidence=", ".join(known_categories) or "no category given")
    licence = classify(raw_licences)
    if rules.licences.refuses(licence):
        reason = "non_commercial" if licence is Licence.NON_COMMERCIAL else "unknown_licence"
        return Verdict(keep=False, reason=reason, evidence=", ".join(raw_licences) or "none given")
    return Verdict(
        keep=True, reason="kept", evidence=f"{', '.join(known_categories)}; {', '.join(raw_licences) or 'no licence'}"
    )


def _is_in(language: str, spoken: Iterable[str], texts: Iterable[str]) -> bool:
    """Whether inputs and outputs are in this language alone, and the Definition is in it or in English."""
    wanted = language_code(language)
    return set(map(language_code, texts)) == {wanted} and set(map(language_code, spoken)) <= {wanted, ENGLISH}


ENGLISH = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedTask:
    """A selected task without its instances. One line of `01_tasks/tasks.jsonl`."""

    name: str
    file: str
    sha256: str
    """Of the task file's bytes."""
    kind: Kind
    typed: KindEvidence
    reading: ReadingParameters
    definition: str
    positive_examples: tuple[Example, ...]
    categories: tuple[str, ...]
    languages: tuple[str, ...]
    licences: tuple[str, ...]
    evidence: str
    num_instances: int
    """Usable instances of the task file."""
    block: Block
    """Where the selected instances stand in `01_tasks/instances.jsonl`, in the order of the task file."""
    language: str = ""
    """ISO 639 code of inputs and outputs; empty if they are in several languages, or the file does not say."""
    num_contradictory: int = 0
    """Groups of equal inputs with different answers."""


def draw_instances(task: Task, *, instances_per_task: int | None, seed: int) -> Sequence[Instance]:
    """The instances to ask, in the order of the file: a random sample, or all if there are no more than wanted."""
    if instances_per_task is None or instances_per_task >= len(task.instances):
        return task.instances
    rng = random.Random(f"instances-{seed}-{task.name}")
    return [task.instances[p] for p in sorted(rng.sample(range(len(task.instances)), instances_per_task))]


def select_task(
    file: str,
    task: Task,
    block: Block,
    *,
    evidence: str,
    kinds: Mapping[str, Kind],
    typing: TypingParameters,
    reading: ReadingParameters,
) -> SelectedTask:
    """Types a kept task.

    Args:
        block: Where its drawn instances were written.
    """
    typed = kind_of(task, kinds, typing)
    return SelectedTask(
        name=task.name,
        file=file,
        sha256=task.sha256,
        kind=typed.kind,
        typed=typed,
        reading=reading,
        definition=task.definition,
        positive_examples=task.positive_examples,
        categories=task.categories,
        languages=task.languages,
        licences=task.licences,
        evidence=evidence,
        num_instances=len(task.instances),
        block=block,
        language=language_code(task.text_languages[0]) if len(task.text_languages) == 1 else "",
        num_contradictory=task.num_contradictory,
    )


def read_selected(path: Path) -> Iterator[SelectedTask]:
    """The records of `tasks.jsonl`, one in memory at a time."""
    for row in read_jsonl(path):
        lists = {name: tuple(row[name]) for name in ("categories", "languages", "licences")}
        examples = tuple(Example(**example) for example in row["positive_examples"])
        block = Block(**row["block"])
        typed = KindEvidence(**{**row["typed"], "kind": Kind(row["typed"]["kind"]), "rule": Rule(row["typed"]["rule"])})
        reading = ReadingParameters(**{**row["reading"], "equal_inputs": EqualInputs(row["reading"]["equal_inputs"])})
        parts = {"kind": Kind(row["kind"]), "typed": typed, "reading": reading, "block": block}
        yield SelectedTask(**{**row, **parts, "positive_examples": examples, **lists})


TASK_LISTS = {"birbal": Path(__file__).parent / "task_lists" / "birbal.txt"}
"""The task lists of this package, by name."""


def read_task_list(path: Path) -> list[str]:
    """Reads canonical names, one per line; blank lines and `#` comments are skipped.

    Args:
        path: A text file, or the name of a shipped list.
    Raises:
        SelectionError: unreadable or empty.
    """
    path = TASK_LISTS.get(str(path), path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise SelectionError(
            f"{path}: cannot be read ({e}). `task_list=` takes a text file, one name a line, or "
            f"{', '.join(TASK_LISTS)}."
        ) from e
    names = [canonical_name(line.strip()) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not names:
        raise SelectionError(f"{path}: names no task. `task_list=` takes a text file, one name a line.")
    return names


def read_kind_overrides(path: Path) -> dict[str, Kind]:
    """Reads lines of `name<TAB or space>exact_match|generation`.

    Raises:
        SelectionError: unreadable, or a line of another form.
    """
    overrides = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise SelectionError(f"{path}: cannot be read ({e}). `kinds=` takes lines of `task kind`.") from e
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields or line.startswith("#"):
            continue
        if len(fields) != 2 or fields[1] not in list(Kind):
            raise SelectionError(f"{path}:{number}: not `task {' | '.join(Kind)}`. Mend the line.")
        overrides[canonical_name(fields[0])] = Kind(fields[1])
    return overrides
