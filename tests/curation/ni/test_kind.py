import csv
from dataclasses import replace
from pathlib import Path

import pytest

from core.generation.request import Kind
from curation.ni import kind
from curation.ni.kind import Rule, TypingParameters, kind_of
from curation.ni.task import Instance, Task, read_task

DATA = Path(__file__).parents[2] / "data" / "tasks"


def task(*outputs: str, definition: str = "Answer yes or no.", inputs: tuple[str, ...] = ()) -> Task:
    base = read_task(DATA / "task1_even_or_odd.json").task
    given = inputs or tuple(map(str, range(len(outputs))))
    instances = tuple(
        Instance(id=str(n), input=text, outputs=(output,))
        for n, (text, output) in enumerate(zip(given, outputs, strict=True))
    )
    return replace(base, definition=definition, instances=instances)


def test_labels_named_in_the_definition_make_exact_match() -> None:
    evidence = kind_of(task("yes", "no", "No.", "yes", "perhaps not"))
    assert evidence.kind is Kind.EXACT_MATCH
    assert evidence.in_definition == 0.8


def test_single_words_make_exact_match_and_sentences_generation() -> None:
    assert kind_of(task("alpha", "beta", "gamma")).kind is Kind.EXACT_MATCH
    assert kind_of(task("a long answer", "another long one", "third")).kind is Kind.GENERATION


def test_a_label_inside_another_word_does_not_count() -> None:
    assert kind_of(task("an x", "an x", definition="A banana x-ray")).in_definition == 0.0


def test_an_override_wins_and_is_told() -> None:
    evidence = kind_of(task("yes", "no"), {"task1_even_or_odd": Kind.GENERATION})
    assert evidence.kind is Kind.GENERATION
    assert evidence.overridden


CLOSED = {
    "numbers": (Rule.WORDLESS, task("[1, -2]", "[3.5, 0]", "-7", definition="Add the lists.")),
    "option and place": (Rule.WORDLESS, task("2a, 5b", "3c, 4a", definition="Answer in the form '2a, 5b'.")),
    "labels of sentences": (
        Rule.IN_DEFINITION,
        task("1 - method, 2 - other", "1 - other", definition="Classify each sentence: method, finding or other."),
    ),
    "options on lines": (
        Rule.OPTION,
        task(
            "the blue whale eats",
            "go home now",
            definition="Choose the better one.",
            inputs=("Which?\n(A) a red fox\n(B) the blue whale eats", "Which?\n(A) go home now\n(B) stay at the inn"),
        ),
    ),
    "numbered options": (
        Rule.OPTION,
        task(
            "Skin measurements of patch tests.",
            "An appraisal of the nose.",
            definition="Pick the title, not option1/2.",
            inputs=(
                "An abstract. option1: Skin measurements of patch tests. option2: Teeth and how to keep them.",
                "Another. option1: Something else entirely. option2: An appraisal of the nose.",
            ),
        ),
    ),
    "triples": (
        Rule.FORMAT,
        task(
            "bee IsA animal",
            "wheel PartOf car",
            definition="The relation is 'IsA' or 'PartOf'. Format: word1 relation word2.",
            inputs=("bee is a kind of animal", "wheel is a part of car"),
        ),
    ),
    "records": (
        Rule.FORMAT,
        task(
            '{"name": "Tom Brown", "age": 5}',
            '{"name": "Ann Lee", "age": 7}',
            definition="Give name and age as JSON.",
            inputs=("Tom Brown is 5", "Ann Lee is 7"),
        ),
    ),
    "looked up names": (
        Rule.NAME,
        task("Thai Baht", "Euro", "Isle of Man Pound", definition="You are given a country. Return its currency."),
    ),
    "look-ups in lower case": (
        Rule.LOOK_UP,
        task("Kenyan shilling", "South Korean won", "euro", definition="You need to return the currency of a country."),
    ),
    "labels in Chinese": (Rule.IN_DEFINITION, task("正面", "负面", definition="判断情感，回答正面或负面。")),
}


@pytest.mark.parametrize("name", CLOSED)
def test_an_answer_that_leaves_no_choice_of_words_is_exact_match(name: str) -> None:
    rule, given = CLOSED[name]
    evidence = kind_of(given)
    assert (evidence.kind, evidence.rule) == (Kind.EXACT_MATCH, rule)


OPEN = {
    "titles": task("The Dog Days", "Bad Storm", definition="Given a story, come up with a suitable title."),
    "wrong answers": task("Blue Whale", "New York", definition="Generate an incorrect answer to the question."),
    "replies": task("Hello There", "I Am Fine", definition="Write a short reply to the message."),
    "cut sentences": task(
        "the old man slept",
        "a dog barked",
        definition="Compress the sentence.",
        inputs=("then the very old grey man slept for hours", "there a dog of theirs barked"),
    ),
    "a Chinese sentence": task("今天的天气真的非常好我们去公园玩", definition="请写一个句子。"),
}


@pytest.mark.parametrize("name", OPEN)
def test_a_text_of_ones_own_is_generation(name: str) -> None:
    assert kind_of(OPEN[name]).kind is Kind.GENERATION


def test_whether_short_spans_are_exact_match_is_a_parameter_that_the_evidence_names() -> None:
    spans = task(
        "red fox", "old grey dog", definition="Find the animal.", inputs=("A red fox ran.", "The old grey dog.")
    )
    assert kind_of(spans).rule is Rule.SPAN
    assert kind_of(spans).reason == "span 100%"
    without = kind_of(spans, parameters=TypingParameters(short_spans=False))
    assert (without.kind, without.reason) == (Kind.GENERATION, "at most 100% in input")


def test_rows_with_instructions_of_their_own_are_typed_by_those() -> None:
    mixed = task("yes yes", "no no", definition="Rows of a file.")
    labelled = replace(mixed, instances=tuple(replace(i, instruction="Say yes or no twice.") for i in mixed.instances))
    assert kind_of(mixed).kind is Kind.GENERATION
    assert kind_of(labelled).kind is Kind.EXACT_MATCH


@pytest.fixture(scope="module")
def tasks(real_data: Path) -> dict[str, Task]:
    """By the names of their files; the name that a task gives itself is taken off, for no rule may look at it."""
    files = sorted((real_data / "natural-instructions" / "tasks").glob("*.json"))
    return {path.stem: replace(read_task(path).task, name="unnamed") for path in files}


@pytest.fixture(scope="module")
def labelled(real_data: Path, tasks: dict[str, Task]) -> list[tuple[Task, Kind, bool]]:
    """(task, kind by hand, whether its labeller was sure) of 142 tasks, or of the ten that are shipped."""
    with (real_data / "natural-instructions" / "typing_labels.tsv").open() as f:
        rows = list(csv.DictReader(f, delimiter="\t"))
    return [(tasks[row["task"]], Kind(row["kind"]), row["confidence"] == "sure") for row in rows]


def disagreements(labelled: list[tuple[Task, Kind, bool]], *, sure: bool) -> list[Kind]:
    return [by_hand for t, by_hand, is_sure in labelled if is_sure is sure and kind_of(t).kind is not by_hand]


def test_kinds_agree_with_tasks_typed_by_hand(labelled: list[tuple[Task, Kind, bool]]) -> None:
    """The goal is .97 of the sure ones; the arguable ones are longer spans, lists in any order, aliases."""
    num_sure = sum(is_sure for _, _, is_sure in labelled)
    assert (num_sure, len(labelled)) in ((10, 10), (102, 142))
    assert disagreements(labelled, sure=True) == []
    assert len(disagreements(labelled, sure=False)) <= 11


def test_the_bounds_of_the_rules_are_not_fitted_to_those_tasks(
    labelled: list[tuple[Task, Kind, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in (0.3, 0.5, 0.82):
        monkeypatch.setattr(kind, "_LEAST", dict.fromkeys(kind._LEAST, bound))
        assert disagreements(labelled, sure=True) == []


def test_kinds_agree_with_an_independent_list(real_data: Path, tasks: dict[str, Task]) -> None:
    """Measured elsewhere: .992 of tasks agree on `>= 80 % of outputs stand in the Definition`."""
    with (real_data / "natural-instructions" / "ni_tasks.tsv").open() as f:
        listed = {
            r["task"].split(".")[0].replace("-", "_"): r["icil_classification"]
            for r in csv.DictReader(f, delimiter="\t")
        }
    agree = total = 0
    for file_name, task in tasks.items():
        name = file_name.split(".")[0].replace("-", "_")
        if name in listed:
            total += 1
            agree += (kind_of(task).in_definition >= 0.8) == (listed[name] == "1")
    assert total > 0.7 * len(tasks)
    assert agree / total >= 0.9
