import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import PredictionError
from core.example.example import Message, Role
from core.generation.answer_store import AnswerStore
from core.generation.ask import ask
from core.generation.openai import OpenAIPredictor
from core.generation.request import Kind, Refused, Request
from core.model.completion import Completion
from core.model.folder import model_fingerprint
from tests.core.generation.completion_server import answer_to, served


@pytest.fixture
def start() -> Iterator[Callable[..., str]]:
    """Starts a server with faults; returns its address without `/v1`."""
    with ExitStack() as running:
        yield lambda **faults: running.enter_context(served(**faults))


def requests(num: int) -> list[Request]:
    return [
        Request(
            task="task1",
            id=f"i{n}",
            kind=Kind.EXACT_MATCH,
            prompt=f"prompt number {n}",
            num_shared=0,
            num_shots=0,
            references=("x",),
            max_new_tokens=4,
            stop=("\n\n",),
        )
        for n in range(num)
    ]


def stats(url: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{url}/stats", timeout=10) as reply:
        return json.load(reply)


def test_answers_come_back_in_order_cut_at_the_stop_and_never_more_than_allowed_at_once(
    start: Callable[..., str], tmp_path: Path
) -> None:
    url, many = start(latency_s=0.01), requests(300)
    with closing(OpenAIPredictor(f"{url}/v1/", concurrency=8)) as predictor, AnswerStore(tmp_path / "a") as store:
        found = [answer for _, _, answer in ask(many, predictor, store)]
    assert found == [answer_to(r.prompt) for r in many]
    assert stats(url) == {"most_at_once": 8, "asked": 300}


@pytest.mark.parametrize("status", [503, 429, 500])
def test_what_fails_for_a_moment_is_asked_again(start: Callable[..., str], status: int) -> None:
    url = start(fail_first=2, status=status)
    with closing(OpenAIPredictor(f"{url}/v1", first_pause_s=0.01)) as predictor:
        assert predictor.complete(requests(5)) == [answer_to(r.prompt) for r in requests(5)]
    assert stats(url)["asked"] == 15


def test_a_server_that_stays_away_ends_the_run_and_what_was_answered_is_kept(
    start: Callable[..., str], tmp_path: Path
) -> None:
    url, many = start(), requests(256)
    with AnswerStore(tmp_path / "a") as store:
        with closing(OpenAIPredictor(f"{url}/v1", retries=1, first_pause_s=0.01)) as predictor:
            list(ask(many[:128], predictor, store))
        bad = start(fail_first=99)
        with (
            closing(OpenAIPredictor(f"{bad}/v1", retries=1, first_pause_s=0.01)) as predictor,
            pytest.raises(PredictionError, match=r"no answer after 2 tries .*the same command goes on"),
        ):
            list(ask(many, predictor, store))
        with closing(OpenAIPredictor(f"{url}/v1")) as predictor:
            assert len(list(ask(many, predictor, store))) == 256
    assert stats(url)["asked"] == 256  # nothing twice


def test_a_question_that_the_server_refuses_is_told_with_its_words(start: Callable[..., str]) -> None:
    with closing(OpenAIPredictor(f"{start(refuse='number 1')}/v1")) as predictor:
        answers = predictor.complete(requests(3))
    assert isinstance(answers[1], Refused)
    assert answers[1].reason == "refused_by_server"
    assert "too long for me" in answers[1].detail
    assert answers[0] == answer_to("prompt number 0")


def test_a_server_that_refuses_everything_ends_the_run_with_its_words(
    start: Callable[..., str], tmp_path: Path
) -> None:
    with closing(OpenAIPredictor(f"{start(refuse='prompt')}/v1")) as predictor, AnswerStore(tmp_path / "a") as store:
        with pytest.raises(PredictionError, match=r"refused all of the first 128 prompts .*too long for me"):
            list(ask(requests(300), predictor, store))
        assert len(store) == 0


def test_closing_frees_a_thread_that_waits_for_an_answer(start: Callable[..., str]) -> None:
    predictor = OpenAIPredictor(f"{start(latency_s=60.0)}/v1")
    freed: list[BaseException] = []

    def wait() -> None:
        try:
            predictor.complete(requests(2))
        except BaseException as e:
            freed.append(e)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    time.sleep(0.5)
    predictor.close()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert len(freed) == 1


def test_the_weights_hash_names_the_answers_where_the_folder_is_at_hand(
    start: Callable[..., str], demo_base: Path
) -> None:
    url = start()
    with closing(OpenAIPredictor(f"{url}/v1", base=demo_base)) as predictor:
        assert predictor.revision == f"openai:{model_fingerprint(demo_base)}"
        assert predictor.fits("short", 32)
        assert not predictor.fits("word " * 3_000, 32)  # the server says 2,048
    with closing(OpenAIPredictor(f"{url}/v1")) as predictor:
        assert predictor.revision == "openai:base"


@pytest.mark.parametrize(
    ("path", "model", "message"),
    [("/v1", "other", "serves base, not `model=other`"), ("", None, "HTTP 404"), ("/v1/models", None, "HTTP 404")],
)
def test_a_wrong_address_or_model_is_one_line(
    start: Callable[..., str], path: str, model: str | None, message: str
) -> None:
    with pytest.raises(PredictionError, match=message) as e:
        OpenAIPredictor(start() + path, model=model)
    assert "\n" not in str(e.value)


def test_no_server_at_all_is_one_line() -> None:
    with pytest.raises(PredictionError, match="no answer after 1 tries"):
        OpenAIPredictor("http://127.0.0.1:9/v1", retries=0)


def test_chat_sends_a_message_and_takes_an_empty_one_for_an_empty_answer(start: Callable[..., str]) -> None:
    url = f"{start(refuse='number 1')}/v1"
    with (
        closing(OpenAIPredictor(url, chat=True)) as plain,
        closing(OpenAIPredictor(url, chat=True, json_mode=True)) as js,
    ):
        assert plain.complete(requests(2)) == [answer_to("prompt number 0"), ""]
        assert js.complete(requests(1)) == [json.dumps({"answer": answer_to("prompt number 0")})]
        assert len({plain.revision, js.revision, "openai:base"}) == 3  # stored answers are never mixed up


def test_messages_go_to_the_chat_and_a_response_says_how_it_ended(start: Callable[..., str]) -> None:
    system, user = (Message(role=role, content=text) for role, text in ((Role.SYSTEM, "Be brief."), (Role.USER, "abc")))
    chat = replace(requests(1)[0], prompt="", messages=(system, user))
    with closing(OpenAIPredictor(f"{start()}/v1")) as predictor:
        assert predictor.respond([chat, *requests(1)]) == [
            Completion(text="cba", finish="length", num_tokens=3),
            Completion(text="0 rebmun tpmorp", finish=None, num_tokens=None),
        ]
        assert (predictor.rendered(chat), predictor.rendered(requests(1)[0])) == (None, "prompt number 0")
