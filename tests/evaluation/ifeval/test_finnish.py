"""Finnish prompts written for this test: one of each type, with an answer that follows it and one that does not."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from core.files import read_jsonl
from evaluation.errors import EvaluationError
from evaluation.ifeval.items import Instruction, read_items
from evaluation.ifeval.suite import Ifeval, IfevalFinnish, IfevalParameters, load_finnish
from evaluation.join import join
from evaluation.responses import Response, ResponseFile
from evaluation.scoring import evaluate

DATA = Path(__file__).parents[2] / "data" / "ifeval"
NOT_FOR_A_FINNISH_ANSWER = {"change_case:english_capital", "change_case:english_lowercase"}
"""What the published scorer accepts in English alone."""


@pytest.fixture(scope="module")
def suite() -> IfevalFinnish:
    return load_finnish(DATA / "ifeval_fi.jsonl", IfevalParameters())


def answers(column: str) -> ResponseFile:
    rows = tuple(
        Response(id=str(row["key"]), suite="ifeval", language="fi", text=row[column], line=n)
        for n, row in enumerate(read_jsonl(DATA / "answers_fi.jsonl"), start=1)
    )
    return ResponseFile(path=Path(column), name=column, sha256="", rows=rows, manifest=None)


def followed(suite: IfevalFinnish, column: str, metric: str) -> Mapping[str, bool]:
    evaluation = evaluate(suite, join(suite, answers(column)), answers(column))
    return {label: f[metric].k == f[metric].n for label, f in evaluation.by["type"].items()}


def test_every_type_but_the_response_language_has_a_prompt(suite: IfevalFinnish) -> None:
    kinds = [item.instructions[0].kind for item in suite.items()]
    assert len(kinds) == len(set(kinds)) == 24


def test_the_localised_mode_passes_and_fails_as_written(suite: IfevalFinnish) -> None:
    assert all(followed(suite, "passing", "instruction_strict_localised").values())
    assert not any(followed(suite, "failing", "instruction_strict_localised").values())


def test_the_published_mode_refuses_finnish_in_capitals_and_lower_case(suite: IfevalFinnish) -> None:
    passing, failing = (followed(suite, column, "instruction_strict") for column in ("passing", "failing"))
    undecided = "keywords:letter_frequency"  # `ä` is no letter there: another one is drawn
    assert {kind for kind, passed in passing.items() if not passed} - {undecided} == NOT_FOR_A_FINNISH_ANSWER
    assert not any(passed for kind, passed in failing.items() if kind != undecided)


def test_the_published_mode_draws_another_letter(suite: IfevalFinnish) -> None:
    item = next(i for i in suite.items() if i.instructions[0].kind == "keywords:letter_frequency")
    verdicts = set()
    for seed in range(20):
        seeded = IfevalFinnish([item], IfevalParameters(letter_seed=seed))
        response = Response(id=item.id, suite="ifeval", text="ä " * 5 + "aaaaa eeeee iiiii ooooo nnnnn")
        verdicts.add(next(o.value for o in seeded.score(item, response) if o.metric == "instruction_strict"))
    assert verdicts == {0.0, 1.0}


def test_the_modes_split_sentences_with_models_of_their_own(suite: IfevalFinnish) -> None:
    """`esim.` is an abbreviation that the English model does not know; two sentences are asked for."""
    item = next(i for i in suite.items() if i.instructions[0].kind == "length_constraints:number_sentences")
    found = suite.score(item, Response(id=item.id, suite="ifeval", text="Katso esim. Kalevala."))
    values = {o.metric: o.value for o in found if o.metric.startswith("instruction_strict")}
    assert values == {"instruction_strict": 1.0, "instruction_strict_localised": 0.0}


def test_english_prompts_are_not_scored_with_finnish_answers(suite: IfevalFinnish) -> None:
    english = Ifeval(read_items(DATA / "ifeval_fi.jsonl", suite="ifeval", language="en"))
    with pytest.raises(EvaluationError, match=r"no response of ifeval in it; it holds ifeval in fi \(24\)"):
        join(english, answers("passing"))
    swapped = replace(answers("passing"), rows=tuple(replace(r, language="en") for r in answers("passing").rows))
    with pytest.raises(EvaluationError, match=r"no response of ifeval-fi in it; it holds ifeval in en \(24\)"):
        join(suite, swapped)


def test_the_response_language_is_that_of_finnish_responses(suite: IfevalFinnish) -> None:
    def share(text: str) -> tuple[int | None, int]:
        rows = tuple(replace(row, text=text) for row in answers("passing").rows)
        responses = replace(answers("passing"), rows=rows)
        figure = evaluate(suite, join(suite, responses), responses).metrics["response_language"]
        return figure.k, figure.n

    assert share("Tämä on suomenkielinen vastaus, jossa kerrotaan säästä.") == (24, 24)
    assert share("This is an English answer about the weather.") == (0, 24)
    assert share(" ") == share("12345") == (0, 24)


def test_a_prompt_that_asks_for_a_language_has_no_response_language(suite: IfevalFinnish) -> None:
    item = suite.items()[0]
    asks = replace(item, instructions=(Instruction(kind="language:response_language", arguments={"language": "de"}),))
    (outcome,) = (
        o
        for o in suite.score(item, Response(id=item.id, suite="ifeval", text="Hei vaan kaikille!"))
        if "lang" in o.metric
    )
    assert outcome.metric == "response_language"
    only = IfevalFinnish([asks], IfevalParameters())
    found = only.score(asks, Response(id=item.id, suite="ifeval", text="Das ist eine Antwort auf Deutsch."))
    assert not any(o.metric == "response_language" for o in found)
