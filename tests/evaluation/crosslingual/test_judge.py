"""A judge over HTTP and out of a file: what it is sent, what is kept, what is open, and what is refused."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from core.errors import OnedayError
from core.files import read_jsonl, sha256, write_jsonl
from evaluation.crosslingual.criteria import parse_scores
from evaluation.crosslingual.judge import Judge, Question
from evaluation.crosslingual.judge_parameters import JudgeParameters
from evaluation.crosslingual.judge_replay import JudgeReplay
from evaluation.errors import EvaluationError
from tests.evaluation.crosslingual.conftest import JudgeEndpoint

GOOD = json.dumps(
    dict.fromkeys(("Language", "Fluency", "Helpfulness", "Accuracy", "Logical coherence", "Harmlessness"), 3)
)


def question(number: int, response: str = "Apple.") -> Question:
    prompt = f"[Task]: fruit {number} [Submission]: {response}"
    return Question(about="criteria", language="en", id=str(number), prompt=prompt, response=response)


def is_whole(text: str) -> bool:
    return None not in parse_scores(text).values()


def open_judge(endpoint: JudgeEndpoint, tmp_path: Path, **changes: Any) -> Judge:
    parameters = JudgeParameters(judge_url=endpoint.url, judge_cache=tmp_path / "cache.jsonl", **changes)
    judge = parameters.open(json_mode=True)
    assert judge is not None
    return judge


def test_an_endpoint_gets_the_prompt_as_a_message_in_json_mode_at_temperature_zero(
    endpoint: JudgeEndpoint, tmp_path: Path
) -> None:
    endpoint.reply = lambda body: GOOD
    replies = open_judge(endpoint, tmp_path).ask([question(0)], is_whole)
    assert [(reply.text, reply.num_tries) for reply in replies] == [(GOOD, 1)]
    (body,) = endpoint.asked
    assert body["messages"] == [{"role": "user", "content": question(0).prompt}]
    assert (body["model"], body["temperature"], body["response_format"]) == ("judge-1", 0, {"type": "json_object"})


def test_a_second_run_asks_nothing_and_another_response_is_asked_about(endpoint: JudgeEndpoint, tmp_path: Path) -> None:
    endpoint.reply = lambda body: GOOD
    first = open_judge(endpoint, tmp_path).ask([question(n) for n in range(5)], is_whole)
    assert len(endpoint.asked) == 5
    assert open_judge(endpoint, tmp_path).ask([question(n) for n in range(5)], is_whole) == first
    assert len(endpoint.asked) == 5
    open_judge(endpoint, tmp_path).ask([question(0, "Pear.")], is_whole)
    assert len(endpoint.asked) == 6


def test_an_unreadable_reply_is_asked_for_again_and_only_that(endpoint: JudgeEndpoint, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()

    def reply(body: dict[str, Any]) -> str:
        text = body["messages"][0]["content"]
        seen[text] += 1
        return GOOD if "fruit 0" in text or ("fruit 1" in text and seen[text] == 2) else "I would say three."

    endpoint.reply = reply
    replies = open_judge(endpoint, tmp_path, judge_retries=2).ask([question(n) for n in range(3)], is_whole)
    assert [reply.num_tries for reply in replies] == [1, 2, 3]
    assert [reply.text for reply in replies] == [GOOD, GOOD, "I would say three."]
    assert len(endpoint.asked) == 6
    assert open_judge(endpoint, tmp_path, judge_retries=2).ask([question(n) for n in range(3)], is_whole) == replies
    assert len(endpoint.asked) == 6


@pytest.mark.parametrize("path", ["/models", "/chat/completions"])
def test_a_judge_that_answers_html_is_one_line(path: str, endpoint: JudgeEndpoint, tmp_path: Path) -> None:
    endpoint.html_at = path
    with pytest.raises(EvaluationError) as error:
        open_judge(endpoint, tmp_path).ask([question(0)], is_whole)
    assert str(error.value).startswith(f"judge_url: {endpoint.url}{path}: no JSON.")
    assert "\n" not in str(error.value)


def test_a_judge_that_refuses_everything_is_one_line(endpoint: JudgeEndpoint, tmp_path: Path) -> None:
    endpoint.refuse = "response_format is not supported"
    with pytest.raises(EvaluationError, match="response_format is not supported"):
        open_judge(endpoint, tmp_path).ask([question(0), question(1)], is_whole)


def test_no_judge_and_two_judges(endpoint: JudgeEndpoint, tmp_path: Path) -> None:
    assert JudgeParameters().open(json_mode=True) is None
    with pytest.raises(EvaluationError, match="judge_url and judge_replies are both given"):
        JudgeParameters(judge_url=endpoint.url, judge_replies=tmp_path / "r.jsonl").open(json_mode=True)


def replay(path: Path, *rows: dict[str, Any]) -> Judge:
    write_jsonl(path, rows)
    made = JudgeReplay(path)
    return Judge(lambda: made, retries=2)


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {"about": "criteria", "language": "en", "id": str(number), "reply": GOOD, **changes}


def test_recorded_replies_are_found_by_what_they_are_about(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    judge = replay(path, row(1), row(0, reply="no idea"), row(2, reply=None), row(0, about="relevance", reply="1"))
    replies = judge.ask([question(n) for n in range(4)], is_whole)
    assert [reply.text for reply in replies] == ["no idea", GOOD, "", None]
    assert str(judge.parameters()["judge"]).startswith("replay:")


def test_what_an_endpoint_said_can_be_replayed(endpoint: JudgeEndpoint, tmp_path: Path) -> None:
    endpoint.reply = lambda body: GOOD if "Apple" in body["messages"][0]["content"] else "{}"
    path = tmp_path / "record.jsonl"
    judge = open_judge(endpoint, tmp_path, judge_record=path, judge_retries=0)
    apples = judge.ask([question(0), question(1)], is_whole)
    pears = judge.ask([question(0, "Pear."), question(1, "Pear.")], is_whole)
    rows = list(read_jsonl(path))
    assert len(rows) == 4
    again = replay(tmp_path / "copy.jsonl", *reversed(rows))
    assert again.ask([question(0), question(1)], is_whole) == apples
    assert again.ask([question(0, "Pear."), question(1, "Pear.")], is_whole) == pears


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(0), row(0)], "record 2 is the second reply about criteria en 0"),
        ([row(0, reply=3)], "record 1 lacks about, language, id or reply"),
        ([{"id": "0", "reply": "1"}], "record 1 lacks about, language, id or reply"),
        ([], "no reply in it"),
        ([row(0, response_sha256=sha256(b"Pear."))], "was given to another response"),
        ([row(0, about="relevance")], "answered none of 1 questions about criteria"),
    ],
)
def test_replies_that_do_not_fit_are_refused(rows: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=message):
        replay(tmp_path / "replies.jsonl", *rows).ask([question(0)], is_whole)


def test_half_a_line_of_replies_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_text(json.dumps(row(0)) + '\n{"about": "crit')
    with pytest.raises(OnedayError, match=r"replies\.jsonl:2: not JSON"):
        JudgeReplay(path)
