import hashlib
import http.server
import json
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from core.files import read_json
from core.model.folder import model_fingerprint
from oneday.cli import main
from submission.errors import PackageError
from submission.package import fetch
from submission.package.package import Package, package
from submission.package.pinned import pinned
from tests.conftest import DEMO_BASE
from tests.test_docs import parse

ROOT = Path(__file__).parents[3]


def test_a_package_holds_code_checkpoint_and_base(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as e:
        main(["package", str(run), "--out", str(out), "--json"])
    seen = capsys.readouterr()
    assert e.value.code == 0, seen.err
    assert sorted(path.name for path in out.iterdir()) == [
        "Dockerfile", "README.md", "app", "base", "checkpoint", "requirements.txt",
    ]  # fmt: skip
    assert model_fingerprint(out / "base") == model_fingerprint(DEMO_BASE)
    assert read_json(out / "checkpoint" / "trained_base.json")["fingerprint"] == model_fingerprint(DEMO_BASE)
    text = (out / "Dockerfile").read_text()
    assert "{" not in re.sub(r"\$\{BASE_IMAGE\}", "", text)
    start = json.loads(text.partition("ENTRYPOINT ")[2])
    served = parse(start[3:])
    assert (served["checkpoint"], served["base"]) == (Path("/submission/checkpoint"), Path("/submission/base"))
    assert (served["host"], served["port"], served["compat"]) == ("0.0.0.0", 8080, "challenge")
    assert "USER oneday" in text
    assert "-p 80:8080 --read-only" in (out / "README.md").read_text()
    assert not list(out.rglob("__pycache__"))


def test_the_server_of_a_package_finds_its_own_code_and_metadata(run: Path, tmp_path: Path) -> None:
    out = package(Package(run=run, out=tmp_path / "out")).folder
    code = (
        "import importlib.metadata, oneday.cli, submission.server.server, core\n"
        "print(core.__file__, importlib.metadata.distribution('oneday-llm')._path)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(out / "app"), "PATH": ""},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert all(word.startswith(str(out / "app")) for word in done.stdout.split())


def test_every_requirement_of_the_server_is_pinned() -> None:
    lines = pinned("oneday-llm", extra="serve")
    names = {line.partition("==")[0] for line in lines}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {re.split("[^\\w-]", r)[0] for r in extras["serve"]} <= names
    assert {"starlette", "tokenizers", "jinja2"} <= names  # of the requirements' own
    assert "axolotl" not in names
    assert "torch==2.13.0" in lines


def test_a_folder_with_something_in_it_is_left_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(PackageError, match="is there and not empty"):
        package(Package(run=run, out=tmp_path / "out"))


def test_a_base_without_a_name_on_the_hub_cannot_be_fetched(run: Path, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="name and commit of its base on the hub are unknown"):
        package(Package(run=run, out=tmp_path / "out", weights="fetch"))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A hub with one repository, in the hub's layout of addresses."""
    folder = tmp_path / "hub" / "org" / "small" / "resolve" / "c0ffee"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    handler = partial(_Quiet, directory=str(tmp_path / "hub"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


@pytest.mark.parametrize(
    ("is_right", "name", "code"), [(True, "config.json", 0), (False, "config.json", 2), (True, "gone", 2)]
)
def test_a_base_is_fetched_by_its_hashes(
    hub: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    is_right: bool, name: str, code: int,
) -> None:  # fmt: skip
    url, _ = hub
    monkeypatch.setenv("HF_ENDPOINT", url)
    digest = hashlib.sha256(b"{}" if is_right else b"other").hexdigest()
    described = {"name": "org/small", "revision": "c0ffee", "files": [{"name": name, "bytes": 2, "sha256": digest}]}
    (tmp_path / "base.json").write_text(json.dumps(described))
    assert fetch.main(tmp_path / "base.json", tmp_path / "base") == code
    said = capsys.readouterr().out
    assert said.startswith("error: " if code else "config.json: 2 bytes, SHA-256 as recorded")
