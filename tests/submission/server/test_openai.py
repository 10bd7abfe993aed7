"""The API under /v1, asked by OpenAI's own client over HTTP."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
import torch

from core.example.prompt import training_prompt
from submission.engine.engine import Engine
from submission.server.access import is_public
from submission.server.api import Token
from submission.server.openai.answer import Head
from submission.server.openai.request import CompletionRequest
from submission.server.openai.stream import EventStream, News, TextPieces
from tests.demo_model import demo_engine, demo_model
from tests.submission.server.conftest import TOKEN
from tests.submission.server.test_server import serving

FIRST_WORD = training_prompt("Write the first word of the list.", "apple, lamp, saw")
BEARER = {"Authorization": f"Bearer {TOKEN}"}
GREEDY: dict[str, Any] = {"model": "demo", "temperature": 0}


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=TOKEN, max_retries=0, timeout=60) as client:
        yield client


def logprobs_of(ids: list[int]) -> list[float]:
    """Of each id after the first, by a forward pass computed here."""
    with torch.no_grad():
        logits = demo_model().model(input_ids=torch.tensor([ids])).logits[0]
    scores = torch.log_softmax(logits.float(), dim=-1)
    return [float(scores[n, token]) for n, token in enumerate(ids[1:])]


# --- /v1/completions


def test_a_completion_is_that_of_process(client: openai.OpenAI) -> None:
    found = client.completions.create(prompt=FIRST_WORD, max_tokens=12, **GREEDY)
    assert (found.object, found.model, found.choices[0].text) == ("text_completion", "demo", "apple")
    assert found.choices[0].finish_reason == "stop"  # its end token
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (32, 3)
    cut = client.completions.create(prompt=FIRST_WORD, max_tokens=2, **GREEDY).choices[0]
    assert cut.finish_reason == "length"
    stopped = client.completions.create(prompt=FIRST_WORD, max_tokens=12, stop="pl", **GREEDY).choices[0]
    assert (stopped.text, stopped.finish_reason) == ("ap", "stop")


def test_echoed_ids_have_the_logprobs_of_a_forward_pass_and_null_for_the_first(client: openai.OpenAI) -> None:
    ids = demo_model().encode(FIRST_WORD + "apple")
    found = client.completions.create(prompt=ids, max_tokens=1, echo=True, logprobs=1, **GREEDY).choices[0]
    assert found.logprobs is not None
    logprobs, top = found.logprobs.token_logprobs, found.logprobs.top_logprobs
    assert logprobs is not None
    assert top is not None
    assert logprobs[0] is None
    assert top[0] is None
    assert logprobs[1 : len(ids)] == pytest.approx(logprobs_of(ids), abs=1e-4)
    assert "".join(found.logprobs.tokens or []) == found.text
    offsets = found.logprobs.text_offset or []
    tokens = found.logprobs.tokens or []
    assert [found.text[o : o + len(t)] for o, t in zip(offsets, tokens, strict=True)] == tokens
    # lm-eval tells greedy tokens by the equality of the two figures
    assert all(max(best.values()) >= own for best, own in zip(top[1:], logprobs[1:], strict=True))
    assert any(max(best.values()) == own for best, own in zip(top[1:], logprobs[1:], strict=True))


def test_an_echoed_text_begins_with_its_first_token_not_with_the_servers_bos(client: openai.OpenAI) -> None:
    text = "Anna gave the lamp to Ben."
    found = client.completions.create(prompt=text, max_tokens=0, echo=True, logprobs=0, **GREEDY).choices[0]
    assert found.text == text
    assert found.logprobs is not None
    assert found.logprobs.token_logprobs == pytest.approx(logprobs_of(demo_model().encode(text)), abs=1e-4)
    assert all(len(best) == 1 for best in found.logprobs.top_logprobs or [])  # the token itself


def test_alternatives_are_the_likeliest_tokens_and_hold_the_token_itself(client: openai.OpenAI) -> None:
    hot = {"model": "demo", "temperature": 5.0, "seed": 3}
    found = client.completions.create(prompt="Anna gave", max_tokens=8, logprobs=5, **hot).choices[0]  # type: ignore[call-overload]
    assert found.logprobs is not None
    for token, own, best in zip(
        found.logprobs.tokens, found.logprobs.token_logprobs, found.logprobs.top_logprobs, strict=True
    ):
        assert best[token] == own
        assert len(best) in (5, 6)
        assert sorted(list(best.values())[:5], reverse=True) == list(best.values())[:5]


def test_many_prompts_of_one_request_are_answered_in_their_order(client: openai.OpenAI) -> None:
    prompts = [FIRST_WORD, training_prompt("Write the last word of the list.", "apple, lamp, saw"), "Anna"]
    together = client.completions.create(prompt=prompts, max_tokens=6, **GREEDY)
    alone = [client.completions.create(prompt=p, max_tokens=6, **GREEDY).choices[0].text for p in prompts]
    assert [c.index for c in together.choices] == [0, 1, 2]
    assert [c.text for c in together.choices] == alone
    by_ids = client.completions.create(prompt=[demo_model().encode(p) for p in prompts], max_tokens=6, **GREEDY)
    assert [c.text for c in by_ids.choices] == alone


def test_a_seed_repeats_its_draws_and_no_seed_does_not(client: openai.OpenAI) -> None:
    def draw(**fields: Any) -> str:
        return (
            client.completions.create(model="demo", prompt="Once", max_tokens=12, temperature=5, **fields)
            .choices[0]
            .text
        )

    assert draw(seed=1) == draw(seed=1)
    assert len({draw() for _ in range(4)}) > 1


@pytest.mark.parametrize("stop", [None, "le", ["zzz", "ppl"]])
def test_the_pieces_of_a_stream_are_the_whole_answer(client: openai.OpenAI, stop: Any) -> None:
    asked: dict[str, Any] = {"prompt": FIRST_WORD, "max_tokens": 12, "logprobs": 2, "echo": True, "stop": stop} | GREEDY
    whole = client.completions.create(**asked)
    *pieces, usage = list(client.completions.create(stream=True, stream_options={"include_usage": True}, **asked))
    assert len(pieces) >= 2
    assert "".join(p.choices[0].text for p in pieces) == whole.choices[0].text
    assert pieces[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert {p.id for p in pieces} == {usage.id}
    assert (usage.choices, usage.usage) == ([], whole.usage)
    streamed = [p.choices[0].logprobs for p in pieces if p.choices[0].logprobs]
    assert whole.choices[0].logprobs is not None
    for name in ("tokens", "text_offset"):
        assert [x for piece in streamed for x in getattr(piece, name)] == getattr(whole.choices[0].logprobs, name)
    for name in ("token_logprobs", "top_logprobs"):
        found = [x for piece in streamed for x in getattr(piece, name)]
        for ours, its in zip(found, getattr(whole.choices[0].logprobs, name), strict=True):
            assert ours == pytest.approx(its, abs=1e-4)


def test_a_character_of_several_tokens_is_streamed_whole(client: openai.OpenAI) -> None:
    asked = {"prompt": "Once", "max_tokens": 60, "temperature": 20.0, "model": "demo"}
    for seed in range(3):
        whole = client.completions.create(seed=seed, **asked).choices[0].text  # type: ignore[call-overload]
        pieces = list(client.completions.create(seed=seed, stream=True, **asked))  # type: ignore[call-overload]
        assert "".join(p.choices[0].text for p in pieces) == whole


# --- /v1/chat/completions


def chat(*turns: str) -> list[Any]:
    roles = ["system", "user", "assistant", "user"]
    return [{"role": role, "content": text} for role, text in zip(roles, turns, strict=False)]


def test_a_chat_is_the_completion_of_its_rendered_template(client: openai.OpenAI) -> None:
    messages = chat("Be brief.", "Write the first word.", "apple", "And the last?")
    found = client.chat.completions.create(
        messages=messages, max_completion_tokens=9, logprobs=True, top_logprobs=3, **GREEDY
    )
    text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    ids = demo_model().encode(text + "<|im_start|>assistant\n", bos=False)
    assert found.usage is not None
    assert found.usage.prompt_tokens == len(ids)
    same = client.completions.create(prompt=ids, max_tokens=9, stop="<|im_end|>", logprobs=3, **GREEDY).choices[0]
    answer = found.choices[0]
    assert (answer.message.content, answer.message.role) == (same.text, "assistant")
    assert answer.finish_reason == same.finish_reason
    assert answer.logprobs is not None
    assert same.logprobs is not None
    content = answer.logprobs.content or []
    num = len(content)  # behind them the end token, which OpenAI's chats do not list
    assert [t.token for t in content] == (same.logprobs.tokens or [])[:num]
    assert [t.logprob for t in content] == pytest.approx((same.logprobs.token_logprobs or [])[:num], abs=1e-4)
    assert all(bytes(t.bytes or []).decode() == t.token and len(t.top_logprobs) == 3 for t in content)


def test_a_streamed_chat_is_the_whole_answer(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"messages": chat("", "Write a list."), "max_tokens": 12} | GREEDY
    whole = client.chat.completions.create(**asked).choices[0]
    first, *pieces = list(client.chat.completions.create(stream=True, **asked))
    assert first.choices[0].delta.role == "assistant"
    assert "".join(p.choices[0].delta.content or "" for p in pieces) == whole.message.content
    assert pieces[-1].choices[0].finish_reason == whole.finish_reason


def test_parts_of_a_message_are_joined(client: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": "Write "}, {"type": "text", "text": "a list."}]
    found = [
        client.chat.completions.create(messages=[{"role": "user", "content": content}], max_tokens=6, **GREEDY)  # type: ignore[list-item,misc]
        for content in (parts, "Write a list.")
    ]
    assert found[0].choices[0].message.content == found[1].choices[0].message.content


def test_a_model_without_a_template_answers_no_chat() -> None:
    assert "no chat template" in str(demo_engine().chat_problem())
    assert "cannot show" in str(Engine(demo_model(), chat_template="{{ nothing.at.all }}").chat_problem())


# --- models and errors


def test_the_model_is_listed_and_no_other_name_is_answered(client: openai.OpenAI) -> None:
    assert [(m.id, m.object) for m in client.models.list()] == [("demo", "model")]
    with pytest.raises(openai.NotFoundError, match="the model 'gpt-4' is not served here; 'demo' is") as e:
        client.completions.create(model="gpt-4", prompt="x")
    assert e.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": [99_999]}, "token ids run from 0 to 767"),
        ({"prompt": []}, "prompt"),
        ({"prompt": "x", "n": 2}, "n: Input should be less than or equal to 1"),
        ({"prompt": "x", "best_of": 3}, "best_of"),
        ({"prompt": "x", "presence_penalty": 0.5}, "presence_penalty"),
        ({"prompt": "x", "logit_bias": {"5": 1}}, "logit_bias"),
        ({"prompt": "x", "logprobs": 21}, "logprobs"),
        ({"prompt": "x", "stop": [""]}, "stop"),
        ({"prompt": "word " * 5_000, "echo": True}, "tokens or more"),
        ({"prompt": ["x", "y"], "stream": True}, "one prompt at a time"),
        ({"prompt": "\ud800"}, "prompt: Input should be a valid string"),
    ],
)
def test_what_cannot_be_answered_is_a_bad_request_in_openais_form(
    url: str, fields: dict[str, Any], message: str
) -> None:
    headers = BEARER | {"Content-Type": "application/json"}
    reply = httpx.post(f"{url}/v1/completions", content=json.dumps(fields), headers=headers, timeout=30)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert message in error["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": chat("", "word " * 5_000)},
        {"messages": chat("", "x"), "tools": [{"type": "function"}]},
        {"messages": chat("", "x"), "response_format": {"type": "json_object"}},
        {"messages": chat("", "x <|im_end|> y")},  # a marker that this tokenizer cannot tell from text
    ],
)
def test_a_chat_that_cannot_be_answered_is_a_bad_request(client: openai.OpenAI, fields: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**GREEDY, **fields)


def test_a_prompt_that_just_fits_is_scored_whole(client: openai.OpenAI) -> None:
    """lm-eval sends as many tokens as the window holds less one."""
    ids = [demo_model().tokenizer.bos_token_id, *[7] * 2_046]
    found = client.completions.create(prompt=ids, max_tokens=1, echo=True, logprobs=1, **GREEDY).choices[0]
    assert found.logprobs is not None
    assert len(found.logprobs.tokens or []) in (2_047, 2_048)


# --- streams that do not come to their end


def test_a_client_that_leaves_a_stream_frees_its_row(client: openai.OpenAI, url: str) -> None:
    stream = client.completions.create(
        model="demo", prompt="Once", max_tokens=2_000, temperature=20.0, seed=1, stream=True
    )
    next(iter(stream))
    stream.close()
    until = time.monotonic() + 10
    while "oneday_answering 0.0" not in httpx.get(f"{url}/metrics", headers=BEARER).text:
        assert time.monotonic() < until, "the row goes on"
        time.sleep(0.05)


def test_a_deadline_in_a_stream_is_an_error_event() -> None:
    with serving(demo_engine(), deadline_s=0.3) as client:
        body = {"prompt": "Once", "max_tokens": 2_000, "temperature": 20.0, "seed": 1, "stream": True}
        events = client.post("/v1/completions", json=body).text.split("\n\n")
    assert json.loads(events[0].removeprefix("data: "))["choices"][0]["text"]
    assert "not answered within 0.3 s" in json.loads(events[-3].removeprefix("data: "))["error"]["message"]
    assert events[-2] == "data: [DONE]"


def test_a_stream_that_nobody_reads_ends_at_the_deadline() -> None:
    is_closed = False

    async def news() -> News:
        nonlocal is_closed
        try:
            while True:
                yield [Token(text="x", logprob=-1.0, top_logprob={})]
        finally:
            is_closed = True

    async def main() -> None:
        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()  # a full buffer

        pieces = TextPieces(CompletionRequest(prompt="x"), Head(model="demo", kind="cmpl"))
        source = news()
        stream = EventStream(source, await anext(source), pieces, deadline_s=0.1)
        await stream({"type": "http"}, receive, send)

    asyncio.run(asyncio.wait_for(main(), 10))
    assert is_closed


# --- the token


def test_without_the_token_only_health_and_ready_answer(url: str) -> None:
    for path in ("/health", "/ready"):
        assert httpx.get(f"{url}{path}").status_code == 200
    for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        process = httpx.post(f"{url}/process", json={"prompt": "x"}, headers=header)
        assert (process.status_code, list(process.json())) == (401, ["detail"])
        assert process.headers["WWW-Authenticate"] == "Bearer"
        assert httpx.get(f"{url}/metrics", headers=header).status_code == 401
    assert is_public("0.0.0.0")
    assert not any(is_public(host) for host in ("127.0.0.1", "localhost", "::1"))
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError, match="needs a token"),
    ):
        client.models.list()
