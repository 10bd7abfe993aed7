"""GPT-4's published responses to the 541 published prompts: counts that must come out exactly."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.ifeval.items import read_items
from evaluation.ifeval.suite import Ifeval, IfevalParameters, loose_variants
from evaluation.join import join
from evaluation.responses import ResponseFile, read_responses
from evaluation.scoring import Evaluation, evaluate
from tests.evaluation.clustered_error import clustered_se


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "ifeval"


@pytest.fixture(scope="module")
def suite(folder: Path) -> Ifeval:
    return Ifeval(read_items(folder / "input_data.jsonl", suite="ifeval", language="en"))


@pytest.fixture(scope="module")
def responses(folder: Path) -> ResponseFile:
    return read_responses(folder / "gpt4_responses.jsonl")


@pytest.fixture(scope="module")
def scored(suite: Ifeval, responses: ResponseFile) -> Evaluation:
    return evaluate(suite, join(suite, responses), responses)


def shares(evaluation: Evaluation, dimension: str, metric: str = "instruction_strict") -> dict[str, str]:
    return {label: f"{f[metric].k}/{f[metric].n}" for label, f in evaluation.by[dimension].items() if metric in f}


def counts(evaluation: Evaluation) -> dict[str, str]:
    return {name: f"{figure.k}/{figure.n}" for name, figure in evaluation.metrics.items()}


def test_the_prompts_are_those_that_were_published(suite: Ifeval) -> None:
    kinds = Counter(instruction.kind for item in suite.items() for instruction in item.instructions)
    assert (len(suite.items()), kinds.total(), len(kinds)) == (541, 834, 25)
    rest = [i for i in suite.items() if all(x.kind != "language:response_language" for x in i.instructions)]
    assert (len(rest), sum(len(item.instructions) for item in rest)) == (510, 783)
    repeated = [i for i in suite.items() if len({x.kind for x in i.instructions}) < len(i.instructions)]
    assert len(repeated) == 17


def test_strict_and_loose_over_all_541(scored: Evaluation) -> None:
    assert counts(scored) == {
        "prompt_strict": "417/541",
        "instruction_strict": "698/834",
        "prompt_loose": "431/541",
        "instruction_loose": "714/834",
    }
    assert scored.other_prompts == ("2785",)


def test_the_510_prompts_that_ask_for_no_language(scored: Evaluation) -> None:
    assert {name: f"{f.k}/{f.n}" for name, f in scored.by["subset"]["510"].items()} == {
        "prompt_strict": "388/510",
        "instruction_strict": "649/783",
        "prompt_loose": "402/510",
        "instruction_loose": "665/783",
    }


def test_categories_of_the_510(scored: Evaluation) -> None:
    assert shares(scored, "category_510") == {
        "change_case": "72/89",
        "combination": "44/61",
        "detectable_content": "49/51",
        "detectable_format": "145/155",
        "keywords": "136/160",
        "length_constraints": "104/142",
        "punctuation": "38/60",
        "startend": "61/65",
    }


def test_types_of_the_541(scored: Evaluation) -> None:
    assert (
        shares(scored, "type").items()
        >= {
            "length_constraints:number_sentences": "35/52",
            "length_constraints:number_words": "37/52",
            "punctuation:no_comma": "44/66",
            "combination:repeat_prompt": "26/41",
            "change_case:capital_word_frequency": "17/25",
            "change_case:english_capital": "19/25",
            "change_case:english_lowercase": "36/39",
            "detectable_format:json_format": "17/17",
            "startend:quotation": "41/41",
            "language:response_language": "30/31",
        }.items()
    )


def test_the_clustered_error_and_the_interval_of_the_510(scored: Evaluation) -> None:
    values = [
        [o.value or 0.0 for o in row.outcomes if o.metric == "instruction_strict" and "subset" in o.by]
        for row in scored.rows
    ]
    values = [of_prompt for of_prompt in values if of_prompt]
    assert clustered_se([sum(v) for v in values], [len(v) for v in values]) == pytest.approx(0.013505, abs=1e-6)
    figure = scored.by["subset"]["510"]["instruction_strict"]
    assert figure.value == pytest.approx(0.828863, abs=1e-6)
    assert figure.interval == pytest.approx((0.803, 0.855), abs=5e-4)


def test_the_upstream_letter_rule_moves_two_prompts_alone(
    folder: Path, responses: ResponseFile, scored: Evaluation
) -> None:
    """The published figures, 416 and 697, are one draw of it. Here a draw is seeded by the prompt's key, so that the
    order of prompts does not matter; how often the published scorer gives each count stands in test_reference.py."""
    items = read_items(folder / "input_data.jsonl", suite="ifeval", language="en")
    letters = [item for item in items if any(i.kind == "keywords:letter_frequency" for i in item.instructions)]
    literal = {row.item.id: row.outcomes for row in scored.rows}
    texts = {row.id: row for row in responses.rows}
    moved: set[str] = set()
    prompts: Counter[int] = Counter()
    for seed in range(25):
        suite = Ifeval(letters, IfevalParameters(letter_rule="upstream", letter_seed=seed))
        num_prompts, num_instructions = 417, 698
        for item in letters:
            outcomes = tuple(suite.score(item, texts[item.id]))
            for now, before in zip(outcomes, literal[item.id], strict=True):
                assert now.metric == before.metric
                change = int((now.value or 0) - (before.value or 0))
                num_prompts += change * (now.metric == "prompt_strict")
                num_instructions += change * (now.metric == "instruction_strict")
                if change:
                    moved.add(item.id)
        assert num_prompts - 415 == num_instructions - 696
        prompts[num_prompts] += 1
    assert prompts == {415: 4, 416: 11, 417: 10}
    assert moved == {"1122", "1129"}


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_blank_responses_score_nothing(suite: Ifeval, responses: ResponseFile, text: str) -> None:
    blank = replace(responses, rows=tuple(replace(row, text=text) for row in responses.rows))
    assert set(counts(evaluate(suite, join(suite, blank), blank)).values()) == {"0/541", "0/834"}


def test_a_constant_response_has_a_low_score(suite: Ifeval, responses: ResponseFile) -> None:
    """It has no comma, no forbidden word, few words: what `less than` and `without` ask for."""
    constant = replace(responses, rows=tuple(replace(row, text="I do not know.") for row in responses.rows))
    assert counts(evaluate(suite, join(suite, constant), constant))["prompt_strict"] == "65/541"


def test_the_seven_variants_of_a_text() -> None:
    assert loose_variants("a *b*\nc\nd") == ("c\nd", "a *b*\nc", "c", "a b\nc\nd", "a b\nc")
    assert loose_variants("**") == ()
    assert loose_variants("one line") == ()
