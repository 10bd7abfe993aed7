"""Checks the direction of imports and other rules of the architecture, from the source."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from curation.preset import PRESETS, flat
from oneday.cli.app import app
from oneday.cli.spelling import every_request
from oneday.requests.request import request_fields

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "core": set(),
    "curation": {"core"},
    "harness": {"core"},
    "evaluation": {"core"},
    "submission": {"core", "harness"},
    "studies": {"core", "curation", "harness", "evaluation", "submission"},
    "oneday": {"core", "curation", "harness", "evaluation", "submission", "studies"},
}
MOST_MODULES = 16


def module_paths() -> dict[str, Path]:
    """Returns the path of every module by its dotted name."""
    found = {}
    for package in MAY_IMPORT:
        for path in sorted((ROOT / package).rglob("*.py")):
            found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


def imported_names(path: Path) -> Iterator[str]:
    """Yields the dotted names that a module imports, at its top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def import_graph() -> dict[str, set[str]]:
    """Returns the modules of this project that each module imports."""
    modules = module_paths()
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        targets = {target if target in modules else target.rpartition(".")[0] for target in imported_names(path)}
        found[name] = {target for target in targets if target in modules and target != name}
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_those_below_it(package: str) -> None:
    backwards = [
        f"{module} imports {target}"
        for module, targets in import_graph().items()
        for target in targets
        if module.split(".")[0] == package
        and target.split(".")[0] != package
        and target.split(".")[0] not in MAY_IMPORT[package]
    ]
    assert backwards == []


def test_no_module_imports_itself_through_others() -> None:
    done: set[str] = set()

    def visit(module: str, chain: tuple[str, ...]) -> None:
        assert module not in chain, " -> ".join([*chain[chain.index(module) :], module])
        if module not in done:
            for target in sorted(import_graph()[module]):
                visit(target, (*chain, module))
            done.add(module)

    for module in import_graph():
        visit(module, ())


def test_a_module_imports_no_private_name_of_another() -> None:
    private = [
        f"{module} imports {name}"
        for module, path in module_paths().items()
        for name in imported_names(path)
        if name.split(".")[0] in MAY_IMPORT and any(part.startswith("_") for part in name.split(".")[1:])
    ]
    assert private == []


def test_the_check_sees_imports_inside_of_functions_and_a_cycle(tmp_path: Path) -> None:
    path = tmp_path / "lazy.py"
    path.write_text("def f():\n    from harness.budget import plan\n    import core.files\n")
    assert list(imported_names(path)) == ["harness.budget.plan", "core.files"]


def test_a_folder_holds_few_modules() -> None:
    folders = {path.parent for path in module_paths().values()}
    sizes = {folder.relative_to(ROOT): len([*folder.glob("*.py")]) - 1 for folder in folders}  # without __init__.py
    assert {str(folder): size for folder, size in sizes.items() if size > MOST_MODULES} == {}


BORDERS = {
    "core/records/": "reads data files of unknown layout",
    "core/example/": "reads the columns of such a file's rows",
    "core/files.py": "reads JSON",
    "core/manifest.py": "reads and writes the sections of manifest.json, which each stage defines for itself",
    "core/encoding/rendering.py": "calls chat templates",
    "core/generation/openai.py": "calls a server over HTTP",
    "core/model/": "calls transformers and PEFT",
    "curation/builders/": "reads columns that options name",
    "curation/sources/mapping.py": "reads the records of published data sets",
    "evaluation/asking/lm_harness.py": "calls lm_eval",
    "evaluation/crosslingual/": "reads rating and judge files",
    "evaluation/ifeval/": "reads IFEval's item files",
    "evaluation/responses.py": "reads response files of four forms",
    "harness/inside/": "runs in Axolotl's process",
    "harness/keys/": "reads recipes, whose keys Axolotl defines",
    "harness/recipe.py": "keeps the keys that only Axolotl reads",
    "oneday/cli/": "builds click's commands",
    "oneday/local_server.py": "calls a server over HTTP",
    "studies/document.py": "reads a study's YAML and sets dotted keys in it",
    "studies/stage.py": "describes a study's YAML",
    "studies/study.py": "describes a study's YAML",
    "submission/export/llama_cpp/": "runs in llama.cpp's own environment, without this project",
    "submission/score/lm_eval.py": "reads lm_eval's result files",
    "submission/server/": "describes HTTP bodies for FastAPI",
}
"""Modules and folders where untyped documents enter or leave the project, with what they do there."""

UNTYPED = re.compile(r"\b(?:dict|Mapping)\[str, Any\]")
MOST_UNTYPED = 19


def test_stages_hand_each_other_types() -> None:
    """Mappings of anything are for the borders: a value that one module hands to another has a type."""
    lines = {
        f"{path.relative_to(ROOT)}:{number}": line.strip()
        for path in module_paths().values()
        if not str(path.relative_to(ROOT)).startswith(tuple(BORDERS))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if UNTYPED.search(line)
    }
    assert len(lines) <= MOST_UNTYPED, lines


@pytest.mark.parametrize("border", BORDERS)
def test_a_border_has_untyped_documents(border: str) -> None:
    texts = [path.read_text(encoding="utf-8") for path in module_paths().values() if border in str(path)]
    assert any(map(UNTYPED.search, texts)), f"{border} is typed: remove it from the list"


FOREIGN = {
    "submission/helm/run.py": {"--suite"},  # an argument of helm-run and helm-summarize
    "submission/helm/tables.py": {"--suite"},  # the same
    "submission/server/health_check.py": {"--port"},  # reads the command line of another process
    "submission/export/loading.py": {"--served-model-name", "--to"},  # commands that a model card shows
    "submission/export/model_card.py": {"--base", "--mix"},  # the same
    "submission/package/package.py": {"--base", "--base-changed-on-purpose", "--checkpoint"},  # a Dockerfile's command
    "submission/package/fetch.py": {"--weights"},  # runs without the command line that rewrites messages
}
"""Options of other programs that have the same name as one of ours, and commands in files for others."""


def test_only_the_command_line_names_its_options() -> None:
    """Messages of lower packages name a field, `redo=true`, which oneday/cli/spelling.py rewrites as an option."""
    options = {
        flag for kind in every_request() for f in request_fields(kind) for flag in (f.flag, f.negative_flag) if flag
    }
    assert len(options) > 90, sorted(app.commands)
    named = {}
    for package in ("core", "curation", "harness", "evaluation", "submission", "studies"):
        for path in sorted((ROOT / package).rglob("*.py")):
            found = set(re.findall(r"--[a-z][a-z0-9-]*", path.read_text(encoding="utf-8"))) & options
            name = str(path.relative_to(ROOT))
            if found - FOREIGN.get(name, set()):
                named[name] = sorted(found)
    assert named == {}


def test_what_a_message_names_is_a_field() -> None:
    """A misspelt field in a message would not be rewritten."""
    fields = {f.name for kind in every_request() for f in request_fields(kind)}
    groups = {key.partition(".")[0] for key in flat(PRESETS["recommended"])} | {"fit"}
    for package in ("core", "curation", "harness", "evaluation", "submission", "studies"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for name in re.findall(r"`([a-z][a-z0-9_.]*)=[^`]*`", path.read_text(encoding="utf-8")):
                group = name.partition(".")[0] if "." in name else ""
                assert group in groups if group else name in fields, f"{path.relative_to(ROOT)}: {name}"


STARTS = {
    "oneday/cli/main.py", "oneday/bounded_process.py", "harness/inside/main.py", "submission/export/final_model.py",
    "submission/export/llama_cpp/ask.py", "submission/package/fetch.py", "studies/running/race.py",
}  # fmt: skip
"""Modules that are the entry point of a process: they read its arguments and pass them on."""


def test_parameters_are_handed_on_as_arguments() -> None:
    """No module passes parameters through `sys.argv` or through environment variables of its own."""
    reads, writes = set(), set()
    for path in module_paths().values():
        name, text = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        reads |= {name} if "sys.argv" in text else set()
        found = re.findall(r"os\.environ\[[^]]*\] *=[^=]|os\.environ\.(?:update|pop)|putenv|\bONEDAY_[A-Z]+", text)
        writes |= {f"{name}: {what}" for what in found}
    assert reads == STARTS
    assert writes == set()
