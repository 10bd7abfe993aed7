"""Our checks beside those of lm_eval, instruction by instruction, on real responses and on made-up texts.

Two types count Punkt's sentences. For them lm_eval needs a model that it downloads, so they are compared where it is.
"""

import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluation.ifeval.arguments import Arguments
from evaluation.ifeval.checks import Rules, make_check
from evaluation.ifeval.items import read_items
from evaluation.responses import read_responses
from tests.evaluation.ifeval.test_checks import EXAMPLES

NEEDS_PUNKT = {"length_constraints:number_sentences", "change_case:capital_word_frequency"}
LANGUAGE = {"language:response_language", "change_case:english_capital", "change_case:english_lowercase"}
"""Not on made-up texts: on them langdetect's draw decides, and lm_eval's is not seeded."""

CONSTANT = "I do not know."

FRAGMENTS = [
    "*", "**", "***", "******", "-", "\n", "\n\n", " ", "\t", "[a]", "[", "]", "<<", ">>", "<<T>>", "word", "Word",
    "SECTION 1", "SECTION", "2", "P.S.", "p. s.", "'", '"', "send", "Send,", "Peace!", "Tell a joke.", "{}", "```",
    "```json", "cat", "can", "run", "#", ",", ".", "My answer is no.", "\r\n", "\x0b", "\u2028", "ß", "é",
]  # fmt: skip
"""What the checks look for, and the white space that Python's functions and patterns take differently."""


@pytest.fixture(scope="module")
def registry() -> Iterator[dict[str, Any]]:
    pytest.importorskip("lm_eval", reason="lm_eval is not installed: there is no reference to compare with")
    before = os.environ.get("LOCAL_RANK")
    os.environ["LOCAL_RANK"] = "1"  # with rank 0 its import downloads a model
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

    yield INSTRUCTION_DICT
    if before is None:
        del os.environ["LOCAL_RANK"]
    else:
        os.environ["LOCAL_RANK"] = before


def has_punkt() -> bool:
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        return False
    return True


def theirs(registry: dict[str, Any], kind: str, arguments: dict[str, Any]) -> Any:
    instruction = registry[kind](kind)
    instruction.build_description(**arguments)
    return instruction.check_following


def ours(kind: str, arguments: dict[str, Any]) -> Any:
    return make_check(kind, Arguments(arguments, kind), Rules(), random.Random(0), kind)


def test_every_instruction_of_gpt4s_responses(registry: dict[str, Any], shared_data: Path) -> None:
    items = read_items(shared_data / "ifeval" / "input_data.jsonl", suite="ifeval", language="en")
    texts = {row.id: row.text for row in read_responses(shared_data / "ifeval" / "gpt4_responses.jsonl").rows}
    left_out = set() if has_punkt() else NEEDS_PUNKT
    different: list[tuple[str, str]] = []
    num = 0
    for key, kind, arguments in ((item.id, i.kind, dict(i.arguments)) for item in items for i in item.instructions):
        if kind in left_out or arguments.get("letter") in ("#", "!"):
            continue
        num += 1
        reference, check = theirs(registry, kind, arguments), ours(kind, arguments)
        different += [(key, kind) for text in (texts[key], CONSTANT) if bool(reference(text)) != check(text)]
    assert different == []
    assert num == 834 - 2 - (52 + 25 if left_out else 0)


@pytest.mark.parametrize("kind", sorted(set(EXAMPLES) - NEEDS_PUNKT - LANGUAGE))
def test_texts_made_of_what_the_checks_look_for(registry: dict[str, Any], kind: str) -> None:
    arguments = {
        name: int(value) if name == "nth_paragraph" else ["cat"] if name == "keywords" else value
        for name, value in EXAMPLES[kind][0].items()
    }
    if kind == "keywords:letter_frequency":
        arguments["letter"] = "a"
    reference, check = theirs(registry, kind, arguments), ours(kind, arguments)
    rng = random.Random(kind)
    texts = ["".join(pair) for pair in itertools.product(FRAGMENTS, repeat=2)]
    texts += ["".join(rng.choices(FRAGMENTS, k=rng.randint(3, 14))) for _ in range(3_000)]
    texts += EXAMPLES[kind][1] + EXAMPLES[kind][2]
    assert [text for text in texts if text.strip() and bool(reference(text)) != check(text)] == []
