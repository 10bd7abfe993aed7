import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from core.example.prompt import training_prompt
from core.model.language_model import LanguageModel
from oneday.demo.demo import DEMO_BASE, ask_all
from oneday.local_server import running
from submission.engine.batcher import Limits
from submission.engine.engine import Engine
from submission.errors import ServeError
from submission.server.api import Health, ProcessRequest
from submission.server.app import build_app
from submission.server.server import bind

HELM = {
    "prompt": training_prompt("Write the first word of the list.", "apple, lamp, saw"),
    "temperature": 1e-7,
    "num_return_sequences": 1,
    "max_new_tokens": 8,
    "top_p": 1,
    "echo_prompt": False,
    "top_k_per_token": 5,
    "stop_sequences": [],
}


HEALTH = Health(status="ok", model=str(DEMO_BASE), lora_adapter=None, precision="fp32")


@contextmanager
def serving(engine: Engine, **limits: Any) -> Iterator[TestClient]:
    """The application in this process, its model loaded."""
    loaded = threading.Event()
    app = build_app(lambda: engine, HEALTH, Limits(**limits), on_loaded=lambda model: loaded.set())
    with TestClient(app) as client:
        assert loaded.wait(10)
        yield client


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(LanguageModel.load(DEMO_BASE))


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[TestClient]:
    with serving(engine) as client:
        yield client


def test_process_answers_helms_eight_keys(client: TestClient) -> None:
    answer = client.post("/process", json=HELM).json()
    assert set(answer) == {"text", "tokens", "logprob", "request_time"}
    assert answer["text"] == "apple"
    assert set(answer["tokens"][0]) == {"text", "logprob", "top_logprob"}
    assert 0 < answer["request_time"] < 60


def test_a_starter_kits_request_samples_by_default_and_helms_does_not() -> None:
    asked = ProcessRequest.model_validate({"prompt": "x", "temperature": None, "seed": None, "echo_prompt": None})
    kit, ours = asked.generation(starter_kit=True), asked.generation()
    assert (kit.temperature, kit.top_k, kit.max_new_tokens, kit.seed, kit.echo) == (0.8, 200, 50, None, False)
    assert (ours.temperature, ours.top_k) == (0.0, None)
    assert ProcessRequest.model_validate(HELM).generation(starter_kit=True).temperature == 1e-7


def test_the_challenges_own_names_are_taken_too(client: TestClient) -> None:
    body = {"prompt": HELM["prompt"], "num_samples": 1, "max_new_tokens": 8, "top_k": 200, "temperature": 0, "seed": 3}
    assert client.post("/process", json=body).json()["text"] == "apple"


def test_a_prompt_alone_is_enough(client: TestClient) -> None:
    assert client.post("/process", json={"prompt": "Anna"}).status_code == 200


def test_tokenize_and_decode_give_the_text_back(client: TestClient) -> None:
    for text in ("Anna and Ben", " leading", "trailing ", "a\n\nb", "<s>", "漢字 🙂", ""):
        tokens = client.post("/tokenize", json={"text": text, "truncation": True, "max_length": 2048}).json()["tokens"]
        assert client.post("/decode", json={"tokens": tokens}).json()["text"] == text


def test_health_names_the_model(client: TestClient) -> None:
    assert client.get("/health").json() == {
        "status": "ok",
        "model": str(DEMO_BASE),
        "lora_adapter": None,
        "precision": "fp32",
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/process", {}),
        ("/process", {"prompt": 3}),
        ("/process", {"prompt": "x", "max_new_tokens": -1}),
        ("/process", {"prompt": "x", "num_return_sequences": 2}),
        ("/process", {"prompt": "x", "temperature": -1}),
        ("/process", {"prompt": "x", "top_p": 0}),
        ("/process", {"prompt": "x", "stop_sequences": [""]}),
        ("/tokenize", {"text": "x", "max_length": -1}),
        ("/decode", {"tokens": [768]}),
        ("/decode", {"tokens": [-1]}),
        ("/decode", {"tokens": ["a"]}),
    ],
)
def test_a_bad_request_is_422_and_says_why(client: TestClient, path: str, body: dict[str, Any]) -> None:
    reply = client.post(path, json=body)
    assert reply.status_code == 422
    assert reply.json()["detail"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b'{"prompt": "\\ud800"}', b'{"prompt": "x", "temperature": NaN}']
)
def test_broken_bodies_are_422(client: TestClient, content: bytes) -> None:
    reply = client.post("/process", content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code == 422


OPTIONAL = {
    "/process": [name for name in ProcessRequest.model_fields if name != "prompt"] + ["num_samples"],
    "/tokenize": ["truncation", "max_length"],
}


@pytest.mark.parametrize(("path", "name"), [(path, name) for path, names in OPTIONAL.items() for name in names])
def test_null_for_an_optional_field_is_its_default(client: TestClient, path: str, name: str) -> None:
    body = {"prompt": HELM["prompt"], "text": "Anna"}
    answers = [client.post(path, json=body | more) for more in ({}, {name: None})]
    assert [a.status_code for a in answers] == [200, 200]
    first, second = ({k: v for k, v in a.json().items() if k != "request_time"} for a in answers)
    assert first == second


@pytest.mark.parametrize(("path", "body"), [("/process", {"prompt": None}), ("/decode", {"tokens": None})])
def test_null_for_a_required_field_is_422(client: TestClient, path: str, body: dict[str, Any]) -> None:
    assert client.post(path, json=body).status_code == 422


@pytest.mark.parametrize(
    ("asked", "reported"), [(8, None), (2_000, None), (4_096, 2_016), (10**9, 2_016), (1e6, 2_016)]
)
def test_more_new_tokens_than_the_window_holds_are_cut_and_reported(
    client: TestClient, asked: float, reported: int | None
) -> None:
    prompt = str(HELM["prompt"])
    room = 2_048 - len(client.post("/tokenize", json={"text": prompt}).json()["tokens"]) - 1
    assert room == 2_016
    answer = client.post("/process", json={"prompt": prompt, "max_new_tokens": asked}).json()
    assert answer["text"] == "apple"
    assert answer.get("max_new_tokens") == reported


def test_metrics_count_what_was_answered(engine: Engine) -> None:
    with serving(engine) as client:
        num_tokens = sum(len(client.post("/process", json=HELM).json()["tokens"]) for _ in range(2))
        client.post("/process", json={"prompt": 3})
        client.get("/no/such/page")
        reply = client.get("/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain")
    found = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in reply.text.splitlines() if line[0] != "#"
    }
    assert found['oneday_requests_total{path="/process",status="200"}'] == 2
    assert found['oneday_requests_total{path="/process",status="422"}'] == 1
    assert found['oneday_requests_total{path="other",status="404"}'] == 1
    assert found['oneday_request_seconds_count{path="/process"}'] == 3
    assert found["oneday_prompt_tokens_total"] == 2 * 32
    assert found["oneday_answer_tokens_total"] == num_tokens > 0
    assert (found["oneday_ready"], found["oneday_waiting"], found["oneday_answering"]) == (1, 0, 0)
    assert found["oneday_prefix_tokens_reused"] >= 31  # the second time all but the last
    assert found["oneday_prefix_bytes"] > 0
    assert found["process_resident_memory_bytes"] > 0


def test_a_port_in_use_is_a_user_error() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ServeError, match="cannot listen"):
            bind("127.0.0.1", other.getsockname()[1])


@contextmanager
def real_server(*options: str, checkpoint: Path = DEMO_BASE) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """`oneday serve` as a process of its own, ready."""
    command = [sys.executable, "-m", "oneday.cli", "serve", "--checkpoint", str(checkpoint), "--port", "0", *options]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as output:
            server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        with running(server, log, within_s=60) as url:
            yield url, server


@pytest.mark.slow
def test_the_real_server_answers_every_endpoint_and_stops_on_sigterm() -> None:
    with real_server() as (url, server):
        assert ask_all(url)["/health"] == {"status": "ok"}
        assert json.loads(httpx.get(f"{url}/openapi.json").text)["info"]["title"] == "oneday"
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait(timeout=20) in (0, -signal.SIGTERM)


def test_the_demo_base_is_small_enough_to_ship() -> None:
    assert sum(p.stat().st_size for p in Path(DEMO_BASE).iterdir()) < 2_000_000
