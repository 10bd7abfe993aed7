"""The direction of imports, read from the source: the import graph is the architecture."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "core": set(),
    "curation": {"core"},
    "harness": {"core"},
    "evaluation": {"core"},
    "submission": {"core", "harness"},
    "oneday": {"core", "curation", "harness", "evaluation", "submission"},
}
MOST_MODULES = 16


def sources() -> dict[str, Path]:
    """Every module by its dotted name."""
    found = {}
    for package in MAY_IMPORT:
        for path in sorted((ROOT / package).rglob("*.py")):
            found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


def imported(path: Path) -> Iterator[str]:
    """The dotted names that a module imports, at its top or inside of functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def graph() -> dict[str, set[str]]:
    """Module -> the modules of this project that it imports."""
    modules = sources()
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        targets = {target if target in modules else target.rpartition(".")[0] for target in imported(path)}
        found[name] = {target for target in targets if target in modules and target != name}
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_those_below_it(package: str) -> None:
    backwards = [
        f"{module} imports {target}"
        for module, targets in graph().items()
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
            for target in sorted(graph()[module]):
                visit(target, (*chain, module))
            done.add(module)

    for module in graph():
        visit(module, ())


def test_the_check_sees_imports_inside_of_functions_and_a_cycle(tmp_path: Path) -> None:
    path = tmp_path / "lazy.py"
    path.write_text("def f():\n    from harness.budget import plan\n    import core.files\n")
    assert list(imported(path)) == ["harness.budget.plan", "core.files"]


def test_a_folder_holds_few_modules() -> None:
    folders = {path.parent for path in sources().values()}
    sizes = {folder.relative_to(ROOT): len([*folder.glob("*.py")]) - 1 for folder in folders}  # without __init__.py
    assert {str(folder): size for folder, size in sizes.items() if size > MOST_MODULES} == {}
