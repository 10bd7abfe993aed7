"""Checks the Dockerfile: the inputs of its layers, the command that it starts, and the documented commands."""

import json
import re
import shlex
import tomllib
import urllib.error
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from submission.engine.batcher import LAST_TOKEN_S, Limits
from submission.package.package import PACKAGES
from submission.server.health_check import is_ready, port_of, server_ports
from tests.submission.server.test_server import real_server
from tests.test_docs import parse

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text().split()
DOCUMENTED = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "Dockerfile"]


@dataclass
class Stage:
    """A `FROM` with its instructions in order."""

    name: str
    parent: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def last(self, keyword: str) -> list[str]:
        """Returns the JSON list of the last instruction with this keyword, which replaces earlier ones."""
        values = [value for name, value in self.instructions if name == keyword]
        listed: list[str] = json.loads(values[-1].partition("CMD ")[2] if keyword == "HEALTHCHECK" else values[-1])
        return listed


def stages() -> dict[str, Stage]:
    lines = [line for line in TEXT.splitlines() if not line.startswith("#")]
    by_name: dict[str, Stage] = {}
    for instruction in "\n".join(lines).replace("\\\n", " ").splitlines():
        keyword, _, value = instruction.strip().partition(" ")
        if keyword == "FROM":
            parent, _, name = value.partition(" AS ")
            by_name[name] = Stage(name, parent)
        elif keyword and by_name:
            list(by_name.values())[-1].instructions.append((keyword, value.strip()))
    return by_name


CURATION = stages()


def copied_before_install(stage: Stage) -> set[str]:
    """Returns the files that are copied before the layer that installs the dependencies."""
    above = CURATION[stage.parent].instructions if stage.parent in CURATION else []
    copied: set[str] = set()
    for keyword, value in [*above, *stage.instructions]:
        if keyword == "COPY":
            copied |= set(value.split()[:-1])
        if keyword == "RUN" and "-r requirements.txt" in value:
            return copied
    raise AssertionError("no layer installs the dependencies")


@pytest.mark.parametrize("name", ["train", "serve"])
def test_only_what_names_the_dependencies_installs_them_again(name: str) -> None:
    assert copied_before_install(CURATION[name]) == {"pyproject.toml", "constraints.txt"}


def test_an_edit_of_the_readme_does_not_even_reach_the_build() -> None:
    assert IGNORED[IGNORED.index("*")] == "*"
    assert "!README.md" not in IGNORED
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {"!LICENSE", *(f"!{package}" for package in wheel["packages"])} <= set(IGNORED)
    assert sorted(wheel["packages"]) == list(PACKAGES)


def test_the_base_image_brings_nothing_that_torchs_wheels_bring_too() -> None:
    (base,) = re.findall(r"^ARG BASE_IMAGE=(.*)$", TEXT, re.MULTILINE)
    assert re.fullmatch(r"(debian|ubuntu|python):[\w.-]+", base)
    assert not re.search("cuda|cudnn|nvidia", base)


# --- the command that is started


def serve_options(*options: str) -> dict[str, object]:
    """Returns the options of `oneday serve` in the container after `docker run IMAGE OPTIONS`."""
    stage = CURATION["serve"]
    more = list(options) or ([] if not any(k == "CMD" for k, _ in stage.instructions) else stage.last("CMD"))
    program, *arguments = [*stage.last("ENTRYPOINT"), *more]
    assert program == "oneday"
    return parse(arguments)


@pytest.mark.parametrize("options", [[], ["--port", "9000"], ["--max-batch", "8", "--precision", "4bit"]])
def test_more_options_keep_the_checkpoint_and_the_base(options: Sequence[str]) -> None:
    served = serve_options(*options)
    assert (served["checkpoint"], served["base"], served["host"]) == (Path("/checkpoint"), Path("/base"), "0.0.0.0")
    assert served["port"] == (9000 if "--port" in options else 8080)


def test_an_option_that_is_given_goes_before_the_images_own() -> None:
    served = serve_options("--checkpoint", "/mine", "--host", "127.0.0.1")
    assert (served["checkpoint"], served["base"], served["host"]) == (Path("/mine"), Path("/base"), "127.0.0.1")


# --- the commands in the documentation


def documented_runs() -> list[list[str]]:
    """Returns the words of every documented `docker run`, including that in the Dockerfile's comment."""
    runs = []
    for page in DOCUMENTED:
        text = (
            re.sub(r"^#", "", page.read_text(), flags=re.MULTILINE) if page.name == "Dockerfile" else page.read_text()
        )
        for line in re.sub(r"\\\n\s*", " ", text).splitlines():
            if re.match(r"\s*docker run ", line):
                runs.append([str(page.relative_to(ROOT)), *shlex.split(line)])
    return runs


RUNS = documented_runs()


def test_the_pages_show_the_same_commands() -> None:
    shown = {page: {shlex.join(words) for p, *words in RUNS if p == page} for page, *_ in RUNS}
    assert shown["README.md"] == shown["Dockerfile"]
    assert len(shown["README.md"]) == 2


@pytest.mark.parametrize("words", RUNS, ids=lambda words: f"{words[0]} {' '.join(words[1:])[-40:]}")
def test_a_container_that_is_shown_ends_in_order_and_mounts_what_there_is(words: list[str]) -> None:
    image = next(n for n, word in enumerate(words) if word.startswith("oneday-"))
    options, arguments = words[:image], words[image + 1 :]
    assert "--init" in options
    stop_s = int(options[options.index("--stop-timeout") + 1])
    assert stop_s >= Limits().drain_s + LAST_TOKEN_S
    if words[image] == "oneday-submission":  # all of it is inside
        assert not any(mount.startswith("$PWD") for mount in options)
        return
    readme = (ROOT / "README.md").read_text()
    (base_model,) = set(re.findall(r"BASE_MODEL=(\S+)", readme))
    mounts = dict(mount.removesuffix(":ro").split(":") for mount in options if mount.startswith("$PWD"))
    if words[image] == "oneday-serve":
        served = serve_options(*arguments)
        assert mounts == {"$PWD/runs/200k": str(served["checkpoint"]), f"$PWD/{base_model}": str(served["base"])}
    else:
        assert mounts == {"$PWD": dict(CURATION["train"].instructions)["WORKDIR"]}
        assert str(parse(arguments)["base"]) == base_model


# --- the health check


def test_the_health_check_is_the_module_that_looks_for_the_port() -> None:
    assert CURATION["serve"].last("HEALTHCHECK") == ["python3", "-m", "submission.server.health_check"]


@pytest.mark.parametrize(
    ("options", "port"),
    [([], 8080), (["--port", "9000"], 9000), (["--port=9001"], 9001), (["--port", "8080", "--port", "9002"], 9002)],
)
def test_it_asks_where_the_server_listens(tmp_path: Path, options: list[str], port: int) -> None:
    commands = {
        "1": ["/sbin/docker-init", "--", "oneday", "serve", *options],
        "7": ["/venv/bin/python3", "/venv/bin/oneday", "serve", *options],
        "8": ["/bin/sh", "-c", "serve"],
    }
    for pid, words in commands.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_bytes("".join(f"{word}\0" for word in words).encode())
    (tmp_path / "9").mkdir()  # a process that has ended meanwhile
    (tmp_path / "sys").mkdir()
    assert list(server_ports(tmp_path)) == [port, port]
    assert port_of(commands["7"]) == serve_options(*options)["port"]


@pytest.mark.slow
def test_it_finds_a_server_that_runs_and_says_whether_it_is_ready() -> None:
    from tests.image import free_port

    port = free_port()
    assert not is_ready(port)
    with real_server("--port", str(port)) as (url, _):
        assert url.endswith(f":{port}")
        assert port in list(server_ports(Path("/proc")))
        assert is_ready(port)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=1)
