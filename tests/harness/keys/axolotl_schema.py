"""Writes the keys that the installed Axolotl knows, with their types: the content of harness/keys/axolotl_schema.json.

    python -m tests.harness.keys.axolotl_schema > harness/keys/axolotl_schema.json

`axolotl.utils.schemas` imports torch, which a dry run must not do, so the keys are stored. A test compares them.
"""

import importlib.util
import json
import re
import types
import typing
from enum import Enum
from importlib.metadata import version
from pathlib import Path

import axolotl
from axolotl.utils.schemas.config import AxolotlInputConfig
from axolotl.utils.schemas.enums import CustomSupportedOptimizers
from pydantic import BaseModel
from transformers.training_args import OptimizerNames

SIMPLE = {bool: "bool", int: "int", float: "float", str: "str", list: "list", tuple: "list", dict: "dict"}
INTEGRATIONS = Path(axolotl.__file__).parent / "integrations"


def described(annotation: object) -> dict[str, list[str]]:
    """The types, the choices and the inner keys that an annotation allows."""
    found: dict[str, set[str]] = {"types": set(), "choices": set(), "keys": set()}
    _describe(annotation, found)
    if "any" in found["types"]:
        return {"types": ["any"]}
    if "str" in found["types"]:
        found["choices"] = set()  # any text is allowed besides
    return {name: sorted(values) for name, values in found.items() if values}


def _describe(annotation: object, found: dict[str, set[str]]) -> None:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Annotated, typing.Union, types.UnionType):
        for part in parts[:1] if origin is typing.Annotated else parts:
            _describe(part, found)
    elif origin is typing.Literal:
        for part in parts:
            found["choices" if isinstance(part, str) else "types"].add(part if isinstance(part, str) else "bool")
    elif origin in SIMPLE:
        found["types"].add(SIMPLE[origin])
        for part in parts if origin is list else ():
            inner = described(part)
            found["keys"].update(inner.get("keys", ()))
    elif isinstance(annotation, type):
        _describe_class(annotation, found)
    else:
        found["types"].add("any")


def _describe_class(kind: type, found: dict[str, set[str]]) -> None:
    if issubclass(kind, BaseModel):
        found["types"].add("dict")
        found["keys"].update(keys_of(kind))
    elif issubclass(kind, Enum) and all(isinstance(member.value, str) for member in kind):
        found["choices"].update(member.value for member in kind)
    elif kind in SIMPLE:
        found["types"].add(SIMPLE[kind])
    elif kind is not type(None):
        found["types"].add("any")


def keys_of(model: type[BaseModel]) -> dict[str, dict[str, list[str]]]:
    """The fields of a model by name, and by alias where one has another name in YAML."""
    found = {}
    for name, field in model.model_fields.items():
        for key in filter(None, (name, field.alias)):
            found[key] = described(field.annotation)
    return dict(sorted(found.items()))


def plugin_keys() -> dict[str, dict[str, dict[str, list[str]]]]:
    """The keys that each plugin shipped with Axolotl adds, by the plugin's package."""
    found = {}
    for path in sorted(INTEGRATIONS.glob("*/args.py")):
        package = f"axolotl.integrations.{path.parent.name}"
        sources = "\n".join(p.read_text(encoding="utf-8") for p in sorted(path.parent.glob("*.py")))
        named = re.search(rf'def get_input_args.*?return\s+"{re.escape(package)}[\w.]*\.(\w+)"', sources, re.DOTALL)
        if named:
            found[package] = keys_of(_class_of(path, package, named[1]))
    return found


def _class_of(path: Path, package: str, name: str) -> type[BaseModel]:
    """Without the package's own `__init__`, which may import a library that is not installed."""
    try:
        return getattr(importlib.import_module(f"{package}.args"), name)
    except ImportError:
        spec = importlib.util.spec_from_file_location(f"args_of_{path.parent.name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return getattr(module, name)


def schema() -> str:
    """The file's content: JSON with a line for each key."""

    def lines(keys: dict[str, object], indent: str) -> str:
        return ",\n".join(f"{indent}{json.dumps(name)}: {json.dumps(value)}" for name, value in keys.items())

    plugins = ",\n".join(f'  "{name}": {{\n{lines(keys, "   ")}\n  }}' for name, keys in plugin_keys().items())
    keys = lines(keys_of(AxolotlInputConfig), "  ")
    named = sorted({str(one.value) for kind in (OptimizerNames, CustomSupportedOptimizers) for one in kind})
    first = f' "axolotl": "{version("axolotl")}",\n "optimizers": {json.dumps(named)},'
    return f'{{\n{first}\n "keys": {{\n{keys}\n }},\n "plugins": {{\n{plugins}\n }}\n}}\n'


if __name__ == "__main__":
    print(schema(), end="")
