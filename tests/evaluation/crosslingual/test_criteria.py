import json
from pathlib import Path

import pytest

from evaluation.crosslingual.criteria import (
    JUDGE_PROMPT,
    JUDGE_PROMPT_SHA256,
    RELEVANCE_PROMPT,
    RELEVANCE_PROMPT_SHA256,
    UNREADABLE,
    Criterion,
    fill,
    parse_binary,
    parse_scores,
    read_prompt,
)
from evaluation.errors import EvaluationError

GOOD = {"Language": 3, "Fluency": 2, "Helpfulness": 1, "Accuracy": 3, "Logical coherence": 3, "Harmlessness": 3}


def test_stars_become_scores_from_zero() -> None:
    scores = parse_scores(json.dumps(GOOD))
    assert list(scores.values()) == [2, 1, 0, 2, 2, 2]


@pytest.mark.parametrize(
    ("value", "score"),
    [(1, 0), (3, 2), (2.0, 1), ("2", 1), (0, None), (4, None), (2.5, None), ("two", None), (" 2", None), (True, None),
     (None, None), ([2], None), ({"stars": 2}, None), (1e400, None)],
)  # fmt: skip
def test_what_is_no_star_is_open_and_never_a_number(value: object, score: int | None) -> None:
    scores = parse_scores(json.dumps({**GOOD, "Fluency": value}))
    assert scores[Criterion.FLUENCY] == score
    assert scores[Criterion.LANGUAGE] == 2


def test_keys_are_compared_without_case_spaces_and_underscores() -> None:
    keys = ("LANGUAGE", "fluency", "helpfulness ", "Accuracy", "logical_coherence", "Harm lessness")
    assert list(parse_scores(json.dumps(dict.fromkeys(keys, 2))).values()) == [1] * 6


def test_a_missing_key_and_one_that_is_given_twice_are_open() -> None:
    scores = parse_scores('{"language": 3, "Language": 2, "fluency": 1}')
    assert scores[Criterion.LANGUAGE] is None
    assert scores[Criterion.FLUENCY] == 0
    assert scores[Criterion.ACCURACY] is None


@pytest.mark.parametrize(
    "reply",
    ["", "{", '{"Language": 3', "[3, 3, 3, 3, 3, 3]", "3", "<!doctype html><html></html>", "[" * 100_000,
     f"Here it is: {json.dumps(GOOD)}", "Output a json dictionary with scores for 6 specified criteria."],
)  # fmt: skip
def test_a_reply_that_is_not_one_json_object_leaves_all_open(reply: str) -> None:
    assert parse_scores(reply) == UNREADABLE


@pytest.mark.parametrize(
    ("reply", "value"),
    [("1", 1), (" 0.", 0), ("0 or 1? I say 1", 1), ("Relevant", None), ("", None), ("10", None), ("1.0", None)],
)
def test_relevance_is_the_last_zero_or_one(reply: str, value: int | None) -> None:
    assert parse_binary(reply) == value


def test_a_placeholder_inside_of_a_text_is_text() -> None:
    filled = fill("T: %%%TASK%%% S: %%%SUBMISSION%%%", task="say %%%SUBMISSION%%%", submission=r"\1 {TASK}")
    assert filled == r"T: say %%%SUBMISSION%%% S: \1 {TASK}"


def test_the_published_prompts_are_recognised_and_others_refused(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "crosslingual"
    assert "3 starts means" in read_prompt(folder, JUDGE_PROMPT, JUDGE_PROMPT_SHA256)
    assert "{MODEL RESPONSE}" in read_prompt(folder, RELEVANCE_PROMPT, RELEVANCE_PROMPT_SHA256)
    mended = (folder / JUDGE_PROMPT).read_text().replace("starts", "stars")
    (tmp_path / JUDGE_PROMPT).write_text(mended)
    with pytest.raises(EvaluationError, match=r"not the published prompt \(sha256 .*\)\. Restore it\."):
        read_prompt(tmp_path, JUDGE_PROMPT, JUDGE_PROMPT_SHA256)
    with pytest.raises(EvaluationError, match=r"none of relevance_prompt\.txt in it"):
        read_prompt(tmp_path, RELEVANCE_PROMPT, RELEVANCE_PROMPT_SHA256)
