"""A procedural corpus in the Super-NaturalInstructions schema: the embedded default of `oneday demo`.

Every task is a small seeded generator; nothing is downloaded and nothing is copied from a dataset.

    >>> task = render_task(DEMO_TASKS[0], seed=7, num_instances=3)
    >>> sorted(task)[:3]
    ['Categories', 'Contributors', 'Definition']

Three kinds of task stand side by side so that curation has something to find:

* *seen* tasks are part of what the demo base model was trained on, with a weight: it solves the heavy
  ones, half-solves the light ones (`DemoTask.base_weight`);
* *unseen* tasks (weight 0) are learnable, but the base never met them;
* *unwanted* tasks (non-English, question generation, MMLU-derived, non-commercial) must be deselected.

Where it sits: before everything else. `write_corpus` makes a folder that `curation.ni.task` reads.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.files import write_text

Draw = Callable[[random.Random], tuple[str, str]]
"""One (input, output) pair from a seeded generator."""

ANIMALS = ["cat", "dog", "horse", "cow", "sheep", "mouse", "ant", "bee", "whale", "eagle", "frog", "rabbit"]
LARGE_ANIMALS = frozenset(["horse", "cow", "whale"])
FRUITS = ["apple", "pear", "plum", "cherry", "lemon", "peach", "banana", "grape", "melon", "orange"]
TOOLS = ["hammer", "saw", "drill", "wrench", "shovel", "axe", "ladder", "brush"]
COLOURS = ["red", "blue", "green", "white", "black", "yellow", "brown", "pink"]
PLACES = ["kitchen", "garden", "school", "market", "station", "office", "library", "park"]
TOWNS = ["Lund", "Riga", "Oslo", "Turin", "Porto", "Ghent", "Graz", "Brno"]
PEOPLE = ["Anna", "Ben", "Carl", "Dora", "Emil", "Fay", "Gus", "Hana", "Ivan", "Jill"]
JOBS = ["baker", "nurse", "pilot", "farmer", "tailor", "teacher", "painter", "driver"]
GOOD = ["wonderful", "lovely", "great", "charming", "excellent", "delightful"]
BAD = ["awful", "boring", "dreadful", "terrible", "poor", "horrible"]
NUMBERS = ["one", "two", "three", "four", "five", "six"]
THINGS = ["book", "lamp", "chair", "clock", "plate", "coat", "table", "basket"]
VERBS = {
    "paint": "painted", "clean": "cleaned", "open": "opened", "move": "moved",
    "wash": "washed", "repair": "repaired", "carry": "carried", "sell": "sold",
}  # fmt: skip
OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "early": "late", "open": "closed", "full": "empty",
    "hard": "soft", "high": "low", "old": "new", "loud": "quiet", "wet": "dry", "rich": "poor",
}  # fmt: skip
SEASONS = {
    "winter": ["snow", "ice", "frost", "sledge"],
    "spring": ["blossom", "nest", "seedling", "tulip"],
    "summer": ["beach", "heat", "sunshine", "swimming"],
    "autumn": ["harvest", "fog", "acorn", "chestnut"],
}
TOPICS = {
    "sport": ["goal", "race", "coach", "team"],
    "music": ["song", "violin", "concert", "drum"],
    "travel": ["ticket", "suitcase", "harbour", "train"],
    "cooking": ["soup", "oven", "spoon", "recipe"],
}
FEELINGS = {
    "joy": ["laughed", "danced", "smiled", "cheered"],
    "anger": ["shouted", "stamped", "growled", "slammed"],
    "fear": ["trembled", "hid", "fled", "shivered"],
    "sadness": ["wept", "sighed", "mourned", "sobbed"],
}
RUDE = ["Go away", "Shut up", "Move it", "Get lost", "Hurry up"]
POLITE = ["Thank you", "Excuse me", "Please sit down", "Good morning", "You are welcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoTask:
    """One procedural task."""

    name: str
    """File stem, as in NI: `task9001_demo_word_category`."""
    category: str
    """NI category. Whether the selection rules keep it is part of the demo."""
    definition: str
    draw: Draw
    base_weight: float = 0.0
    """Share of the demo base model's training documents, relative; 0 = never seen."""
    language: str = "English"
    licence: str = "Apache 2.0"
    unwanted: bool = False
    """True if curation must deselect it."""


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _lexicon(lexicon: dict[str, list[str]], frame: str) -> Draw:
    """The label whose word stands in the sentence; two more words make it a new sentence each time."""

    def draw(rng: random.Random) -> tuple[str, str]:
        label = rng.choice(sorted(lexicon))
        word = rng.choice(lexicon[label])
        person, town, day = rng.choice(PEOPLE), rng.choice(TOWNS), rng.choice(NUMBERS)
        return frame.format(person=person, town=town, number=day, word=word), label

    return draw


def _word_category(rng: random.Random) -> tuple[str, str]:
    groups = {"animal": ANIMALS, "fruit": FRUITS, "tool": TOOLS, "colour": COLOURS}
    label = rng.choice(sorted(groups))
    word = rng.choice(groups[label])
    return f"{rng.choice(PEOPLE)} from {rng.choice(TOWNS)} says {word}", label


def _sentiment(rng: random.Random) -> tuple[str, str]:
    label = rng.choice(["positive", "negative"])
    word = rng.choice(GOOD if label == "positive" else BAD)
    return f"{rng.choice(PEOPLE)} thought the {rng.choice(THINGS)} in {rng.choice(TOWNS)} was {word}.", label


def _has_colour(rng: random.Random) -> tuple[str, str]:
    label = rng.choice(["yes", "no"])
    word = rng.choice(COLOURS if label == "yes" else [*NUMBERS, "old", "new"])
    return f"{rng.choice(PEOPLE)} sold the {word} {rng.choice(THINGS)} in {rng.choice(TOWNS)}.", label


def _where(rng: random.Random) -> tuple[str, str]:
    (first, second), (here, there) = rng.sample(PEOPLE, 2), rng.sample(PLACES, 2)
    asked = rng.randrange(2)
    question = f"Where is {(first, second)[asked]}?"
    return f"{first} is in the {here}. {second} is in the {there}. {question}", (here, there)[asked]


def _giver(rng: random.Random) -> tuple[str, str]:
    giver, taker = rng.sample(PEOPLE, 2)
    return f"{giver} gave the {rng.choice(COLOURS)} {rng.choice(THINGS)} to {taker}.", giver


def _receiver(rng: random.Random) -> tuple[str, str]:
    giver, taker = rng.sample(PEOPLE, 2)
    return f"{giver} gave the {rng.choice(COLOURS)} {rng.choice(THINGS)} to {taker}.", taker


def _first_word(rng: random.Random) -> tuple[str, str]:
    words = rng.sample([*FRUITS, *TOOLS, *THINGS], rng.randint(3, 5))
    return ", ".join(words), words[0]


def _last_word(rng: random.Random) -> tuple[str, str]:
    words = rng.sample([*FRUITS, *TOOLS, *THINGS], rng.randint(3, 5))
    return ", ".join(words), words[-1]


def _count(rng: random.Random) -> tuple[str, str]:
    words = rng.sample([*FRUITS, *ANIMALS, *THINGS], rng.randint(1, 6))
    return ", ".join(words), NUMBERS[len(words) - 1]


def _animal_size(rng: random.Random) -> tuple[str, str]:
    animal = rng.choice(sorted(LARGE_ANIMALS)) if rng.random() < 0.5 else rng.choice(ANIMALS)
    label = "large" if animal in LARGE_ANIMALS else "little"
    return f"{rng.choice(PEOPLE)} saw {_article(animal)} in {rng.choice(TOWNS)}.", label


def _edible(rng: random.Random) -> tuple[str, str]:
    label = rng.choice(["food", "object"])
    word = rng.choice(FRUITS if label == "food" else [*TOOLS, *THINGS])
    return f"{rng.choice(PEOPLE)} bought {_article(word)} for {rng.choice(PEOPLE)}.", label


def _opposite(rng: random.Random) -> tuple[str, str]:
    word = rng.choice(sorted(OPPOSITES))
    return f"The {rng.choice(THINGS)} of {rng.choice(PEOPLE)} is {word}.", OPPOSITES[word]


def _rude(rng: random.Random) -> tuple[str, str]:
    label = rng.choice(["rude", "polite"])
    phrase = rng.choice(RUDE if label == "rude" else POLITE)
    return f"{phrase}, {rng.choice(PEOPLE)}, said {rng.choice(PEOPLE)} the {rng.choice(JOBS)}.", label


def _same_colour(rng: random.Random) -> tuple[str, str]:
    first = rng.choice(COLOURS)
    same = rng.random() < 0.5
    second = first if same else rng.choice([c for c in COLOURS if c != first])
    text = f"{rng.choice(PEOPLE)} has a {first} {rng.choice(THINGS)} and a {second} {rng.choice(THINGS)}."
    return text, "same" if same else "different"


def _swap(rng: random.Random) -> tuple[str, str]:
    first, second, third = rng.sample([*FRUITS, *THINGS, *TOOLS], 3)
    return f"{first} and {second} and {third}", f"{third} and {second} and {first}"


def _past(rng: random.Random) -> tuple[str, str]:
    verb, rest = rng.choice(sorted(VERBS)), f"the {rng.choice(COLOURS)} {rng.choice(THINGS)}"
    person = rng.choice(PEOPLE)
    return f"{person} will {verb} {rest}.", f"Yesterday {person} {VERBS[verb]} {rest}."


def _record_to_text(rng: random.Random) -> tuple[str, str]:
    person, job, town = rng.choice(PEOPLE), rng.choice(JOBS), rng.choice(TOWNS)
    return f"name: {person}; job: {job}; town: {town}", f"{person} is a {job} who lives in {town}."


def _text_to_record(rng: random.Random) -> tuple[str, str]:
    person, job, town = rng.choice(PEOPLE), rng.choice(JOBS), rng.choice(TOWNS)
    return f"{person} works in {town} as a {job}.", f"name = {person}, town = {town}, job = {job}"


def _negate(rng: random.Random) -> tuple[str, str]:
    person, verb = rng.choice(PEOPLE), rng.choice(sorted(VERBS))
    rest = f"the {rng.choice(COLOURS)} {rng.choice(THINGS)}"
    return f"{person} can {verb} {rest}.", f"{person} cannot {verb} {rest}."


def _list_fruits(rng: random.Random) -> tuple[str, str]:
    fruits, others = rng.sample(FRUITS, 2), rng.sample([*TOOLS, *THINGS], 2)
    words = [fruits[0], others[0], fruits[1], others[1]]
    return f"{rng.choice(PEOPLE)} packed: {', '.join(words)}.", f"fruits: {fruits[0]} and {fruits[1]}"


def _title(rng: random.Random) -> tuple[str, str]:
    person, thing, town = rng.choice(PEOPLE), rng.choice(THINGS), rng.choice(TOWNS)
    story = f"{person} went to {town}. There {person} found a {rng.choice(COLOURS)} {thing} and took it home."
    return story, f"How {person} Found a {thing.capitalize()} in {town}"


def _polite_request(rng: random.Random) -> tuple[str, str]:
    verb, rest = rng.choice(sorted(VERBS)), f"the {rng.choice(COLOURS)} {rng.choice(THINGS)}"
    return f"{verb.capitalize()} {rest}.", f"Could you please {verb} {rest}?"


def _summary(rng: random.Random) -> tuple[str, str]:
    person, place, thing = rng.choice(PEOPLE), rng.choice(PLACES), rng.choice(THINGS)
    job, colour = rng.choice(JOBS), rng.choice(COLOURS)
    text = f"{person} is a {job}. One day {person} walked to the {place}. There {person} bought a {colour} {thing}."
    return text, f"A {job} bought a {thing} at the {place}."


def _sentence_answer(rng: random.Random) -> tuple[str, str]:
    person, thing, place = rng.choice(PEOPLE), rng.choice(THINGS), rng.choice(PLACES)
    return f"{thing}: {place}. {person} needs the {thing}.", f"{person} will find the {thing} in the {place}."


def _story_end(rng: random.Random) -> tuple[str, str]:
    person, animal, job = rng.choice(PEOPLE), rng.choice(ANIMALS), rng.choice(JOBS)
    text = f"{person} the {job} lost {_article(animal)} and looked for it everywhere."
    return text, f"In the end the {animal} came back and {person} the {job} was happy."


def _question(rng: random.Random) -> tuple[str, str]:
    person, place = rng.choice(PEOPLE), rng.choice(PLACES)
    return f"{person} from {rng.choice(TOWNS)} is in the {place}.", f"Where is {person}?"


def _french_colour(rng: random.Random) -> tuple[str, str]:
    pairs = {"rouge": "red", "bleu": "blue", "vert": "green", "blanc": "white", "noir": "black"}
    word = rng.choice(sorted(pairs))
    return f"{rng.choice(PEOPLE)} de {rng.choice(TOWNS)} aime le {word}.", word


def _capitals_quiz(rng: random.Random) -> tuple[str, str]:
    right, wrong = rng.sample(TOWNS, 2)
    return f"Which town did {rng.choice(PEOPLE)} name: {right}? (A){right} (B){wrong}", "A"


_LABELS = "Answer with one of: {}."

DEMO_TASKS: tuple[DemoTask, ...] = (
    DemoTask(
        name="task9001_demo_word_category",
        category="Text Categorization",
        definition="Which group does the last word belong to? " + _LABELS.format("animal, fruit, tool, colour"),
        draw=_word_category,
        base_weight=1.0,
    ),
    DemoTask(
        name="task9002_demo_review_sentiment",
        category="Sentiment Analysis",
        definition="Is the opinion in the sentence good or bad? " + _LABELS.format("positive, negative"),
        draw=_sentiment,
        base_weight=1.0,
    ),
    DemoTask(
        name="task9003_demo_colour_mention",
        category="Text Categorization",
        definition="Does the sentence name a colour? " + _LABELS.format("yes, no"),
        draw=_has_colour,
        base_weight=0.8,
    ),
    DemoTask(
        name="task9004_demo_where_is",
        category="Question Answering",
        definition="Answer the question about the place with one word.",
        draw=_where,
        base_weight=0.5,
    ),
    DemoTask(
        name="task9005_demo_who_gave",
        category="Question Answering",
        definition="Who gave the thing away? Answer with the name.",
        draw=_giver,
        base_weight=1.0,
    ),
    DemoTask(
        name="task9006_demo_who_received",
        category="Question Answering",
        definition="Who has the thing at the end? Answer with the name.",
        draw=_receiver,
        base_weight=0.15,
    ),
    DemoTask(
        name="task9007_demo_first_word",
        category="Program Execution",
        definition="Write the first word of the list.",
        draw=_first_word,
        base_weight=1.0,
    ),
    DemoTask(
        name="task9008_demo_last_word",
        category="Program Execution",
        definition="Write the last word of the list.",
        draw=_last_word,
        base_weight=0.15,
    ),
    DemoTask(
        name="task9009_demo_count_words",
        category="Program Execution",
        definition="How many words are in the list? " + _LABELS.format(", ".join(NUMBERS)),
        draw=_count,
        base_weight=0.15,
    ),
    DemoTask(
        name="task9010_demo_animal_size",
        category="Text Categorization",
        definition="Is the animal in the sentence a large or a little one? " + _LABELS.format("large, little"),
        draw=_animal_size,
        base_weight=0.1,
    ),
    DemoTask(
        name="task9011_demo_food_or_object",
        category="Text Categorization",
        definition="Can the bought thing be eaten? " + _LABELS.format("food, object"),
        draw=_edible,
    ),
    DemoTask(
        name="task9012_demo_season",
        category="Text Categorization",
        definition="Which season does the sentence speak of? " + _LABELS.format("winter, spring, summer, autumn"),
        draw=_lexicon(SEASONS, "{person} thought of {word} in {town}."),
    ),
    DemoTask(
        name="task9013_demo_topic",
        category="Text Categorization",
        definition="What is the message about? " + _LABELS.format("sport, music, travel, cooking"),
        draw=_lexicon(TOPICS, "{person} wrote {number} lines about the {word}."),
    ),
    DemoTask(
        name="task9014_demo_feeling",
        category="Sentiment Analysis",
        definition="What does the person feel? " + _LABELS.format("joy, anger, fear, sadness"),
        draw=_lexicon(FEELINGS, "In {town} {person} {word} for {number} hours."),
    ),
    DemoTask(
        name="task9015_demo_opposite",
        category="Text Completion",
        definition="Write the opposite of the last word, as one word.",
        draw=_opposite,
    ),
    DemoTask(
        name="task9016_demo_rudeness",
        category="Toxic Language Detection",
        definition="How does the speaker talk? " + _LABELS.format("rude, polite"),
        draw=_rude,
    ),
    DemoTask(
        name="task9017_demo_same_colour",
        category="Textual Entailment",
        definition="Do both things have one colour? " + _LABELS.format("same, different"),
        draw=_same_colour,
        base_weight=0.1,
    ),
    DemoTask(
        name="task9018_demo_reverse_list",
        category="Program Execution",
        definition="Write the three words in the opposite order.",
        draw=_swap,
        base_weight=0.3,
    ),
    DemoTask(
        name="task9019_demo_past_tense",
        category="Sentence Composition",
        definition="Tell the sentence as something that happened yesterday.",
        draw=_past,
        base_weight=0.5,
    ),
    DemoTask(
        name="task9020_demo_record_to_text",
        category="Sentence Composition",
        definition="Write one sentence that says what the record says.",
        draw=_record_to_text,
        base_weight=0.5,
    ),
    DemoTask(
        name="task9021_demo_text_to_record",
        category="Information Extraction",
        definition="Write the facts of the sentence as a record.",
        draw=_text_to_record,
    ),
    DemoTask(
        name="task9022_demo_negation",
        category="Sentence Composition",
        definition="Say that the person is not able to do it.",
        draw=_negate,
        base_weight=0.15,
    ),
    DemoTask(
        name="task9023_demo_list_fruits",
        category="Information Extraction",
        definition="List the things in the text that grow on trees.",
        draw=_list_fruits,
    ),
    DemoTask(
        name="task9024_demo_story_title",
        category="Title Generation",
        definition="Write a title for the story.",
        draw=_title,
    ),
    DemoTask(
        name="task9025_demo_polite_request",
        category="Sentence Composition",
        definition="Turn the order into a friendly request.",
        draw=_polite_request,
        base_weight=0.1,
    ),
    DemoTask(
        name="task9026_demo_summary",
        category="Summarization",
        definition="Sum up the story in one sentence.",
        draw=_summary,
    ),
    DemoTask(
        name="task9027_demo_where_to_look",
        category="Dialogue Generation",
        definition="Tell the person where to look, in one sentence.",
        draw=_sentence_answer,
    ),
    DemoTask(
        name="task9028_demo_story_ending",
        category="Story Composition",
        definition="Write a happy ending for the story.",
        draw=_story_end,
    ),
    DemoTask(
        name="task9101_demo_french_colour",
        category="Text Categorization",
        definition="Quelle est la couleur de la phrase?",
        draw=_french_colour,
        language="French",
        unwanted=True,
    ),
    DemoTask(
        name="task9102_demo_ask_where",
        category="Question Generation",
        definition="Write a question that the sentence answers.",
        draw=_question,
        unwanted=True,
    ),
    DemoTask(
        name="task9103_demo_mmlu_towns",
        category="Question Answering",
        definition="Answer the question with A or B.",
        draw=_capitals_quiz,
        unwanted=True,
    ),
    DemoTask(
        name="task9104_demo_noncommercial_title",
        category="Title Generation",
        definition="Write a title for the little story.",
        draw=_title,
        licence="CC BY-NC 4.0",
        unwanted=True,
    ),
)

NUM_POSITIVE_EXAMPLES = 3


def draw_pairs(task: DemoTask, rng: random.Random, num: int, *, avoid: Sequence[str] = ()) -> list[tuple[str, str]]:
    """`num` pairs with distinct inputs, none of them in `avoid`. Each generator has thousands to give."""
    seen, pairs = set(avoid), []
    for _ in range(200 * num):
        pair = task.draw(rng)
        if pair[0] not in seen:
            seen.add(pair[0])
            pairs.append(pair)
        if len(pairs) == num:
            return pairs
    raise AssertionError(f"{task.name} cannot give {num} distinct inputs")


def positive_examples(task: DemoTask) -> list[tuple[str, str]]:
    """The task's fixed shots: independent of the corpus seed, so the base model may meet them in training."""
    return draw_pairs(task, random.Random(f"positive-{task.name}"), NUM_POSITIVE_EXAMPLES)


def render_task(task: DemoTask, *, seed: int, num_instances: int) -> dict[str, object]:
    """The task as an NI document, ready for `json.dump`."""
    shots = positive_examples(task)
    pairs = draw_pairs(task, random.Random(f"{seed}-{task.name}"), num_instances, avoid=[i for i, _ in shots])
    return {
        "Contributors": ["oneday"],
        "Source": ["procedural"],
        "URL": [],
        "Categories": [task.category],
        "Reasoning": [],
        "Definition": [task.definition],
        "Input_language": [task.language],
        "Output_language": [task.language],
        "Instruction_language": [task.language],
        "Domains": ["Procedural"],
        "Positive Examples": [{"input": i, "output": o, "explanation": "By the task's rule."} for i, o in shots],
        "Negative Examples": [],
        "Instances": [
            {"id": f"{task.name.split('_')[0]}-{seed}-{n:05d}", "input": i, "output": [o]}
            for n, (i, o) in enumerate(pairs)
        ],
        "Instance License": [task.licence],
    }


NUM_INSTANCES = 160
"""Of each demo task."""


def write_corpus(directory: Path, *, seed: int = 2023) -> list[Path]:
    """Writes every demo task as `<name>.json`; the same seed gives the same bytes."""
    paths = []
    for task in DEMO_TASKS:
        path = directory / f"{task.name}.json"
        document = render_task(task, seed=seed, num_instances=NUM_INSTANCES)
        write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        paths.append(path)
    return paths
