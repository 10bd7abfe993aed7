"""Where a base model is found, and what is said when it is not. The hub is a server of the test's own."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from core.errors import OnedayError
from core.model.language_model import LanguageModel
from harness.base_model import check_attention, check_special_tokens, find_model, licence_of, load_tokenizer
from harness.budget.gpu_profile import get_gpu_profile
from harness.errors import ConfigError, DataError
from harness.recipe import read_recipe, with_attention
from oneday.demo.demo import RECIPE
from tests.conftest import DEMO_BASE, write_small_mix
from tests.harness.bases import ARCHITECTURES, write_base

STATUS = {"owner/gated": (403, "GatedRepo"), "owner/unknown": (404, "RepoNotFound"), "owner/open": (200, "")}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does: access, the names of files, and the files of `owner/open`, which is the demo's base."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if "/resolve/" in self.path:
            name = self.path.rpartition("/")[2]
            self.reply(200, (DEMO_BASE / name).read_bytes(), ETag=f'"{name}"', **{"X-Repo-Commit": COMMIT})
            return
        name = "/".join(self.path.split("?")[0].split("/")[3:5])
        status, code = STATUS.get(name, (500, ""))
        headers = {"X-Error-Code": code, "X-Error-Message": "no"} if code else {}
        files = [*sorted(DEMO_BASE.iterdir()), Path("pytorch_model.bin")]
        siblings = [{"rfilename": file.name, "size": file.stat().st_size if file.exists() else 9} for file in files]
        info = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}
        self.reply(status, json.dumps(info).encode(), **headers)

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ask(name: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the hub's library reads its address when it is imported."""
    mix = write_small_mix(tmp_path / "mix")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    return subprocess.run(
        [sys.executable, "-m", "oneday.cli", "train", "--mix", str(mix), "--base", name, "--budget", "60s"],
        env={**clean, "HF_HOME": str(tmp_path / "hub"), **environment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("owner/gated", "It is gated: accept its licence at https://huggingface.co/owner/gated, `hf auth login`, then"),
        ("owner/unknown", "The hub has no such model, or it is private"),
        ("owner/broken", "The hub cannot be reached (HfHubHTTPError)"),
    ],
)
def test_a_model_that_is_not_here_says_how_to_get_it(hub: str, tmp_path: Path, name: str, message: str) -> None:
    done = ask(name, tmp_path, HF_ENDPOINT=hub)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{name}: neither a folder nor whole in the hub's cache" in done.stderr
    assert message in done.stderr


def test_a_model_that_may_be_had_is_fetched_once_and_pinned(hub: str, tmp_path: Path) -> None:
    code = "from harness.base_model import find_model; print(find_model('owner/open', fetch=print))"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    environment = {**clean, "HF_HOME": str(tmp_path / "hub"), "HF_ENDPOINT": hub, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    root = Path(__file__).parents[2]
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True, check=True
        )
        said.append(done.stdout.splitlines())
    folder = Path(said[1][0])
    assert said[0][0].startswith(f"fetching owner/open@{COMMIT}: 0.0 GB into the hub's cache")
    assert said[0][-1] == str(folder)
    assert folder.name == COMMIT
    files = {path.name for path in DEMO_BASE.iterdir()} - {"training_log.jsonl"}
    assert {path.name for path in folder.iterdir()} == files, "no log, and no weights in another format"


def test_without_a_network_the_way_is_told_all_the_same(tmp_path: Path) -> None:
    offline = ask("owner/open", tmp_path, HF_HUB_OFFLINE="1")
    assert (offline.returncode, "Fetch it with `hf download owner/open`, or" in offline.stderr) == (2, True)
    gone = ask("owner/open", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert (gone.returncode, "The hub cannot be reached" in gone.stderr) == (2, True)


def test_a_hub_that_never_answers_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = ask("owner/open", tmp_path, HF_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert (done.returncode, "The hub cannot be reached (ReadTimeout)" in done.stderr) == (2, True)


def test_a_model_in_the_hubs_cache_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models--owner--demo"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / "abc").symlink_to(DEMO_BASE)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert (find_model("owner/demo") / "config.json").is_file()
    assert find_model(str(DEMO_BASE)) == DEMO_BASE.resolve()


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README.md": "---\nlicense: apache-2.0\ntags: [a]\n---\n# x"}, "apache-2.0"),
        ({"README.md": "---\nlicense: other\nlicense_name: gemma\n---\n"}, "gemma"),
        ({"README.md": "# no front matter", "LICENSE": "\n  MIT License\n\nCopyright"}, "MIT License"),
        ({"README.md": "---\n: [\n---\n"}, None),
        ({"README.md": "---\n- a\n---\n"}, None),
        ({}, None),
    ],
)
def test_the_licence_is_what_the_card_says(tmp_path: Path, files: dict[str, str], licence: str | None) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert licence_of(tmp_path) == licence


@pytest.mark.parametrize("name", ["../missing", "./models", "a/b--c", "a/b/c", "gone"])
def test_what_is_neither_a_folder_nor_a_name_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OnedayError, match="no such model folder"):
        find_model(name)


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ({"pad_token": "<new>"}, r"special_tokens\.pad_token <new> is no token of its tokenizer"),
        ({"eos_token": "<unk>"}, r"special_tokens\.eos_token <unk>, but its tokenizer has </s>"),
    ],
)
def test_special_tokens_that_rows_are_not_tokenised_with_are_refused(
    named: dict[str, str], problem: str, demo_base: Path
) -> None:
    tokenizer = load_tokenizer(demo_base)
    check_special_tokens(demo_base, tokenizer, {"pad_token": "<unk>", "eos_token": "</s>", "unk_token": None})
    with pytest.raises(DataError, match=problem):
        check_special_tokens(demo_base, tokenizer, named)


def test_a_base_that_caps_its_attention_gets_a_kernel_that_does(tmp_path: Path) -> None:
    """Torch's own kernel leaves the cap out: logits of a tiny Gemma 2 differed by 0.13 at a deviation of 0.8."""
    base = write_base(ARCHITECTURES["gemma2"], tmp_path)
    recipe = read_recipe(RECIPE).model_copy(update={"attn_implementation": "auto"})
    assert with_attention(recipe, get_gpu_profile("cpu"), base).attn_implementation == "eager"
    assert with_attention(recipe, get_gpu_profile("cpu"), DEMO_BASE).attn_implementation == "sdpa"
    check_attention(base, "eager")
    check_attention(DEMO_BASE, "sdpa")
    with pytest.raises(ConfigError, match=r"attention logits are capped .* sdpa leaves the cap out.* auto or eager"):
        check_attention(base, "sdpa")
    ids = torch.tensor([[2, 5, 9, 40, 41, 42]])
    eager, sdpa = (
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation=kernel)
        for kernel in ("eager", "sdpa")
    )
    with torch.inference_mode():
        ours = LanguageModel.load(base).model(ids).logits
        assert torch.equal(ours, eager(ids).logits)
        assert float((ours - sdpa(ids).logits).abs().max()) > 1e-2
