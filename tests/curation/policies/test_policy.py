import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import MixError
from core.files import read_jsonl
from core.model.token_counter import TokenCounter
from curation.policies.duplicate import DedupKey
from curation.policies.licence import LicencePolicy
from curation.policies.policy import PolicyParameters, Screen, Screened, ScreenSpec, degenerate
from curation.sources.source import MixRow
from oneday.demo.demo import DEMO_BASE

ROW = MixRow(
    id="1",
    source="lima",
    task="lima",
    origin="GAIR/lima#1",
    licence="MIT",
    spdx="MIT",
    language="en",
    llm_generated=False,
    instruction="Answer yes or no.",
    input="Is it raining?",
    output="yes",
)
FRENCH = "Le chat noir dort sur le canapé pendant que la pluie tombe sur la ville entière ce soir."
ENGLISH = "The black cat sleeps on the sofa while the rain falls over the whole town this evening."
CODE = "def f(x):\n    return [i**2 for i in range(x) if i % 3 == 0]\n"
NUMBERED = " ".join(f"word{n}" for n in range(20))


NO_TOKENS = Screen(ScreenSpec(parameters=PolicyParameters(), tokenizer=None, suites={}))


def verdict(
    *, row: MixRow = ROW, tokenizer: Path | None = None, suites: dict[str, Path] | None = None, **policies: object
) -> Screened:
    parameters = PolicyParameters(**policies)  # type: ignore[arg-type]
    return Screen(ScreenSpec(parameters=parameters, tokenizer=tokenizer, suites=suites or {})).examine([row])[0]


def reason(*, tokenizer: Path | None = None, policies: dict[str, object] | None = None, **of_row: object) -> str:
    row = replace(ROW, **of_row)  # type: ignore[arg-type]
    return verdict(row=row, tokenizer=tokenizer, **(policies or {})).reason


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"near_duplicates": 0.4}, r"policies\.near_duplicates: 0\.4 is not in \[0\.5, 1\]"),
        ({"near_duplicates": 1.1}, r"policies\.near_duplicates: 1\.1"),
        ({"contamination_ngram": 4}, r"policies\.contamination_ngram: 4 is below 5\. 13 is usual"),
        ({"max_tokens": 0}, r"policies\.max_tokens: 0 would drop every row"),
        ({"max_words": 0}, r"policies\.max_words: 0 would drop every row"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(MixError, match=message):
        PolicyParameters(**values)  # type: ignore[arg-type]


def test_limits_may_be_none() -> None:
    parameters = PolicyParameters(max_tokens=None, max_words=None, near_duplicates=None, language=None)
    assert parameters.dedup_key is DedupKey.INSTRUCTION_AND_INPUT


def test_an_ordinary_row_passes_every_policy() -> None:
    assert verdict(tokenizer=DEMO_BASE) == Screened(reason="", detail="", num_tokens=0)


@pytest.mark.parametrize(
    ("licence", "under_all", "under_commercial", "under_known"),
    [
        ("MIT", "", "", ""),
        ("CC BY-NC 4.0", "", "non_commercial", "non_commercial"),
        ("MIT | CC BY-NC 4.0", "", "non_commercial", "non_commercial"),
        ("Unknown", "", "", "unknown_licence"),
        ("MIT | Unknown", "", "", "unknown_licence"),
        ("none given", "", "", "unknown_licence"),
        ("", "", "", "unknown_licence"),
    ],
)
def test_a_licence_is_refused_by_the_policy(
    licence: str, under_all: str, under_commercial: str, under_known: str
) -> None:
    expected = {
        LicencePolicy.ALL: under_all,
        LicencePolicy.COMMERCIAL: under_commercial,
        LicencePolicy.KNOWN: under_known,
    }
    assert {p: reason(licence=licence, policies={"licences": p}) for p in LicencePolicy} == expected


def test_a_refused_licence_is_told_as_it_was_written() -> None:
    assert verdict(row=replace(ROW, licence="MIT | CC BY-NC 4.0")).detail == "MIT | CC BY-NC 4.0"


def test_rows_that_a_language_model_wrote_are_taken_only_where_they_are_allowed() -> None:
    generated = replace(ROW, llm_generated=True)
    assert verdict(row=generated) == Screened(reason="llm_generated", detail="GAIR/lima#1", num_tokens=0)
    assert verdict(row=generated, llm_generated=True).reason == ""


def test_the_first_policy_that_speaks_against_a_row_gives_the_reason(tmp_path: Path) -> None:
    """The row breaks all of them; with each that is lifted the next one speaks."""
    (tmp_path / "suite.jsonl").write_text(json.dumps({"q": NUMBERED}) + "\n")
    row = replace(
        ROW, licence="CC BY-NC 4.0", llm_generated=True, language="", input=NUMBERED, output=f"{FRENCH}\ufffd"
    )
    policies: dict[str, object] = {"max_tokens": 60, "min_input_words": 25}
    for expected, lifted in (
        ("non_commercial", {}),
        ("llm_generated", {"licences": LicencePolicy.ALL}),
        ("too_long", {"llm_generated": True}),
        ("short_input", {"max_tokens": None}),
        ("degenerate", {"min_input_words": 0}),
        ("language", {"degenerate": False}),
        ("contaminated", {"language": None}),
    ):
        policies |= lifted
        suites = {"s": tmp_path / "suite.jsonl"}
        assert verdict(row=row, tokenizer=DEMO_BASE, suites=suites, **policies).reason == expected


def test_a_row_as_long_as_the_limit_passes_and_one_token_more_does_not() -> None:
    num_tokens = TokenCounter.load(DEMO_BASE).count_rows([(ROW.instruction, ROW.input, ROW.output)])[0]
    assert reason(tokenizer=DEMO_BASE, policies={"max_tokens": num_tokens}) == ""
    found = verdict(tokenizer=DEMO_BASE, max_tokens=num_tokens - 1)
    assert found.reason == "too_long"
    assert found.detail == f"{num_tokens} tokens, limit {num_tokens - 1}"
    assert found.num_tokens == num_tokens


def test_the_answer_counts_into_the_length() -> None:
    assert reason(tokenizer=DEMO_BASE, output="rain " * 2_000, policies={"degenerate": False}) == "too_long"


def test_without_a_tokenizer_no_row_is_too_long() -> None:
    assert verdict(row=replace(ROW, input="rain, " * 5_000)) == Screened(reason="", detail="", num_tokens=0)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40), st.text(min_size=1, max_size=40), st.integers(40, 140))
def test_rows_that_are_not_counted_would_have_been_short_enough(
    instruction: str, given_input: str, output: str, limit: int
) -> None:
    """Only rows with more bytes than the limit has tokens are counted: no verdict may depend on that."""
    row = replace(ROW, instruction=instruction, input=given_input, output=output)
    parameters = PolicyParameters(max_tokens=limit, degenerate=False)
    found, counted = (screen(parameters, count_all=count_all).examine([row])[0] for count_all in (False, True))
    assert (found.reason, found.detail) == (counted.reason, counted.detail)
    assert found.num_tokens in (0, counted.num_tokens)
    assert counted.num_tokens > 0


TOKENS = TokenCounter.load(DEMO_BASE)


def screen(parameters: PolicyParameters, *, count_all: bool) -> Screen:
    return Screen(ScreenSpec(parameters=parameters, tokenizer=DEMO_BASE, suites={}, count_all=count_all))


def test_each_of_many_rows_gets_its_own_count() -> None:
    """Of three rows only the middle one is long enough to be counted."""
    rows = [ROW, replace(ROW, input="rain, " * 300), ROW]
    expected = TOKENS.count_rows([(r.instruction, r.input, r.output) for r in rows])
    some, every = (screen(PolicyParameters(max_tokens=250), count_all=count_all) for count_all in (False, True))
    assert [v.num_tokens for v in some.examine(rows)] == [0, expected[1], 0]
    assert [v.reason for v in some.examine(rows)] == ["", "too_long", ""]
    assert [v.num_tokens for v in every.examine(rows)] == expected == every.count_rows(rows)


def test_rows_cannot_be_counted_without_a_tokenizer() -> None:
    spec = ScreenSpec(parameters=PolicyParameters(), tokenizer=None, suites={}, count_all=True)
    assert Screen(spec).count_rows([ROW, ROW]) == [0, 0]


@pytest.mark.parametrize(("max_words", "expected"), [(7, "too_long"), (8, "")])
def test_instruction_and_input_need_fewer_words_than_the_limit(max_words: int, expected: str) -> None:
    assert reason(policies={"max_words": max_words}) == expected  # 4 words and 3


@pytest.mark.parametrize(("num_words", "expected"), [(4, "short_input"), (5, "")])
def test_an_input_of_four_words_is_short_in_the_winners_script(num_words: int, expected: str) -> None:
    assert reason(input=" ".join(["word"] * num_words), policies={"min_input_words": 5}) == expected


def test_an_empty_input_has_no_word_at_all() -> None:
    assert reason(input="", policies={"min_input_words": 1}) == "short_input"


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        (FRENCH, "oui", "language"),
        (ENGLISH, "yes", ""),
        ("Le chat noir dort sur le canapé.", "oui", ""),  # too little to tell
        (CODE * 3, "0", ""),  # code is no language
        ("Translate.", FRENCH, "language"),
    ],
)
def test_a_row_in_another_language_is_told_from_its_text(question: str, answer: str, expected: str) -> None:
    row = replace(ROW, instruction=question, input="", output=answer, language="")
    assert NO_TOKENS.examine([row])[0].reason == expected


def test_the_language_is_named_and_the_wanted_one_can_be_another() -> None:
    row = replace(ROW, instruction=FRENCH, input="", output=FRENCH, language="")
    assert NO_TOKENS.examine([row])[0].detail == "fr"
    french = Screen(ScreenSpec(parameters=PolicyParameters(language="fr"), tokenizer=None, suites={}))
    found = french.examine([row, replace(row, instruction=ENGLISH, output=ENGLISH)])
    assert [(v.reason, v.detail) for v in found] == [("", ""), ("language", "en")]
    assert verdict(row=row, language=None).reason == ""


def test_a_row_whose_language_is_declared_is_not_judged_by_its_text() -> None:
    assert reason(instruction=FRENCH, input="", output=FRENCH, language="en") == ""


def test_the_same_rows_get_the_same_verdicts_alone_and_together() -> None:
    rows = [replace(ROW, instruction=text, input="", language="") for text in (FRENCH, ENGLISH, FRENCH, CODE * 3)]
    assert NO_TOKENS.examine(rows) == [NO_TOKENS.examine([row])[0] for row in rows]
    assert [v.detail for v in NO_TOKENS.examine(rows)] == ["fr", "", "fr", ""]
    assert NO_TOKENS.examine([]) == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("caf\ufffd", "undecodable characters"),
        ("NaN", "placeholder 'NaN'"),
        ("#REF!", "placeholder '#REF!'"),
        (" [deleted] ", "placeholder '[deleted]'"),
        ("Lorem ipsum dolor sit amet", "placeholder 'Lorem ipsum dolor si'"),
        ("yes " * 20, "one piece of text makes up 100 % of it"),
        ("ab cd " * 10, "one piece of text makes up 100 % of it"),
        ("one two three four five " * 6, "one piece of text makes up 100 % of it"),
    ],
)
def test_a_broken_answer_is_told_why(answer: str, why: str) -> None:
    assert degenerate(answer) == why
    assert reason(output=answer) == "degenerate"
    assert reason(output=answer, policies={"degenerate": False}) == ""


@pytest.mark.parametrize(
    "answer",
    [
        "yes",
        "?",
        "0",
        "no no no",
        "yes " * 19,
        "Nancy",
        "nan means not a number",
        "The post was [deleted] by its author.",
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21",
        "Sunny in Rome. Sunny in Oslo. Rainy in Bern. Sunny in Bonn. Rainy in Nice. Sunny in Graz. Sunny in Pisa.",
        CODE * 3,
    ],
)
def test_a_short_or_regular_answer_is_not_broken(answer: str) -> None:
    assert degenerate(answer) == ""


@pytest.mark.parametrize(
    "answer",
    [
        "I do not know the answer to that. " * 12,
        "Lorem ipsum dolor sit amet,\nconsectetur adipiscing elit.",
    ],
)
def test_a_sentence_over_and_over_and_a_placeholder_of_two_lines_are_broken_too(answer: str) -> None:
    assert degenerate(answer) != ""


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"input": f"Solve: {NUMBERED}"}, "contaminated"),
        ({"instruction": f"Solve: {NUMBERED}", "input": ""}, "contaminated"),
        ({"output": f"It says {NUMBERED}."}, "contaminated"),
        ({"input": NUMBERED[: len(NUMBERED) // 2]}, ""),
    ],
)
def test_a_row_that_repeats_a_suite_is_dropped(tmp_path: Path, where: dict[str, str], expected: str) -> None:
    (tmp_path / "suite.jsonl").write_text(json.dumps({"q": NUMBERED}) + "\n")
    found = verdict(row=replace(ROW, **where), suites={"mine": tmp_path / "suite.jsonl"})  # type: ignore[arg-type]
    assert found.reason == expected
    assert found.detail == (f"mine:1: {NUMBERED}" if expected else "")


def test_a_question_of_a_suite_in_the_instruction_is_found_beside_an_input(tmp_path: Path) -> None:
    (tmp_path / "suite.jsonl").write_text(json.dumps({"q": NUMBERED}) + "\n")
    row = replace(ROW, instruction=f"Solve: {NUMBERED}", input="Think step by step.")
    assert verdict(row=row, suites={"mine": tmp_path / "suite.jsonl"}).reason == "contaminated"


def test_the_length_of_the_spans_is_the_policys(tmp_path: Path) -> None:
    (tmp_path / "suite.jsonl").write_text(json.dumps({"q": NUMBERED}) + "\n")
    row = replace(ROW, input=" ".join(NUMBERED.split()[:12]))
    suites = {"mine": tmp_path / "suite.jsonl"}
    assert verdict(row=row, suites=suites).reason == ""
    assert verdict(row=row, suites=suites, contamination_ngram=12).reason == "contaminated"


@pytest.mark.slow
def test_of_limas_rows_few_are_in_another_language_and_hardly_any_is_broken(shared_data: Path) -> None:
    """The file is the English part of LIMA by name: what is told as another language there would be a false alarm."""
    rows = [
        replace(ROW, instruction=r["conversations"][0], input="", output=r["conversations"][1], language="")
        for r in read_jsonl(shared_data / "lima" / "lima.en.jsonl")
    ]
    found = [verdict.reason for verdict in NO_TOKENS.examine(rows)]
    assert len(found) == 1_030
    assert found.count("language") <= 10
    assert found.count("degenerate") <= 1
