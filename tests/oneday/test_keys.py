"""A key goes to the server that the user named on this command line, and to nobody else."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.errors import PredictionError
from core.files import read_json, write_json
from core.generation.engine import Engine
from core.generation.openai import OpenAIPredictor
from oneday.cli import main
from oneday.demo.demo import DEMO_BASE
from oneday.requests.curation_call import Servers, recorded_engine
from tests.conftest import copy_run
from tests.oneday.place import TASKS, WITHOUT

KEY = "sk-of-the-user"


class Listener(http.server.ThreadingHTTPServer):
    """Speaks OpenAI's protocol and remembers what it was told."""

    def __init__(self, *, redirect: str | None = None, wants_key: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.redirect, self.wants_key = redirect, wants_key
        self.seen: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Listener

    def do_GET(self) -> None:
        self._reply({"data": [{"id": "small"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._reply({"choices": [{"text": " even"}]})

    def _reply(self, answer: object) -> None:
        key = self.headers["Authorization"]
        self.server.seen.append(key)
        body = json.dumps(answer).encode()
        self.send_response(307 if self.server.redirect else 401 if self.server.wants_key and not key else 200)
        if self.server.redirect:
            self.send_header("Location", self.server.redirect + self.path.removeprefix("/v1"))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Listener]]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    running: list[Listener] = []

    def start(**how: Any) -> Listener:
        running.append(Listener(**how))
        threading.Thread(target=running[-1].serve_forever, args=(0.02,), daemon=True).start()
        return running[-1]

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def ended(*arguments: object) -> int:
    with pytest.raises(SystemExit) as e:
        main([str(argument) for argument in arguments])
    return int(e.value.code or 0)


@pytest.fixture
def foreign(tmp_path: Path, finished_run: Path, listen: Callable[..., Listener]) -> tuple[Path, Listener, Listener]:
    """A finished run as somebody hands it on: its manifest names a server of theirs, and asks for the key.

    With the server that its base was really asked at, and theirs.
    """
    mine, theirs = listen(), listen()
    few = ["--scale", "0.001", "--instances-per-task", "2", WITHOUT]
    asked = ["--predictor", "openai", "--url", mine.url]
    assert ended("curate", "--tasks", TASKS, *asked, "--base", DEMO_BASE, "--run", tmp_path / "curated", *few) == 0
    run = copy_run(finished_run, tmp_path / "run")
    section = read_json(tmp_path / "curated" / "manifest.json")["curate"]
    section["call"]["engine"] |= {"url": theirs.url, "sends_key": True}
    write_json(run / "manifest.json", read_json(run / "manifest.json") | {"curate": section})
    return run, mine, theirs


def test_the_server_of_this_command_line_gets_the_key(foreign: tuple[Path, Listener, Listener]) -> None:
    _, mine, _ = foreign
    assert set(mine.seen) == {f"Bearer {KEY}"}


def test_the_server_of_a_foreign_manifest_is_asked_without_a_key(
    foreign: tuple[Path, Listener, Listener], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _, theirs = foreign
    again = ["reproduce", run / "manifest.json", "--run", tmp_path / "again", "--curate", "--tasks", TASKS]
    assert ended(*again) == 2  # it was not trained on this mix
    assert len(theirs.seen) > 1
    assert set(theirs.seen) == {None}
    assert f"requests go to {theirs.url}, which the manifest names, without a key" in capsys.readouterr().err


def test_named_again_on_the_command_line_it_gets_one(
    foreign: tuple[Path, Listener, Listener], listen: Callable[..., Listener], tmp_path: Path
) -> None:
    run, _, theirs = foreign
    named = listen()
    again = ["reproduce", run / "manifest.json", "--run", tmp_path / "again", "--curate", "--tasks", TASKS]
    assert ended(*again, "--url", named.url) == 2
    assert set(named.seen) == {f"Bearer {KEY}"}
    assert theirs.seen == []


def test_a_server_that_wants_a_key_is_told_apart_from_a_wrong_key(listen: Callable[..., Listener]) -> None:
    with pytest.raises(PredictionError, match=r"HTTP 401, without a key, which goes only to a `url=`"):
        Engine(name="openai", url=listen(wants_key=True).url).build()


def test_a_redirect_to_another_server_does_not_take_the_key_along(listen: Callable[..., Listener]) -> None:
    other = listen()
    first = listen(redirect=other.url)
    with closing(OpenAIPredictor(first.url, key=KEY, retries=0)):
        assert set(first.seen) == {f"Bearer {KEY}"}
        assert other.seen == [None]


def test_a_cluster_that_a_manifest_names_is_not_joined(tmp_path: Path) -> None:
    engine = {"name": "ray:transformers", "base": str(DEMO_BASE), "ray_address": "ray://theirs:10001"}
    section = {"call": {"tasks": [], "sources": {}, "suites": {}, "tokenizer": None, "engine": engine}}
    assert recorded_engine(tmp_path, section, Servers()).ray_address is None
    assert recorded_engine(tmp_path, section, Servers(ray_address="auto")).ray_address == "auto"


def test_what_opens_a_server_does_not_get_into_the_manifest(tmp_path: Path, listen: Callable[..., Listener]) -> None:
    server = listen()
    secret = server.url.replace("http://", "http://user:password@")
    few = ["--scale", "0.001", "--instances-per-task", "2", WITHOUT, "--base", DEMO_BASE, "--run", tmp_path / "run"]
    assert ended("curate", "--tasks", TASKS, "--predictor", "openai", "--url", secret, *few) == 0
    assert all(key and key.startswith("Basic ") for key in server.seen)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"password" not in path.read_bytes(), path
    assert read_json(tmp_path / "run" / "manifest.json")["curate"]["call"]["engine"]["url"] == server.url
