"""The keys that Axolotl knows, with their types, without importing it.

    >>> schema().key("lora_rank") is None
    True
    >>> schema().nearest("lora_dropuot")
    'lora_dropout'

`axolotl.utils.schemas` imports torch, so the keys of its schema are stored in `axolotl_schema.json`. A test writes that
file anew from the installed Axolotl and compares. Axolotl's own validation, which also checks keys against each other,
runs inside its process before the rehearsal's first step.

Where it sits: below the table of a recipe's keys.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).with_name("axolotl_schema.json")

ALWAYS_THERE = ("axolotl.integrations.liger", "axolotl.integrations.cut_cross_entropy")
"""Plugins of Axolotl that the harness loads by itself where a recipe sets one of their keys."""

_NUMBERS = {"true", "false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyType:
    """What values a key takes."""

    types: tuple[str, ...] = ()
    """Names of Python types: `int`, `float`, `bool`, `str`, `list`, `dict`; or `any`."""
    choices: tuple[str, ...] = ()
    """Texts that are allowed where `str` is not among the types."""
    keys: tuple[str, ...] = ()
    """Keys of the mapping, or of the mappings in the list."""

    def problem(self, value: Any) -> str:
        """Why a value does not fit; empty if it does. As in Axolotl, a text that spells a number is a number."""
        if value is None or "any" in self.types or value in self.choices:
            return ""
        if any(_is_a(name, value) for name in self.types):
            return ""
        wanted = [*self.types, *(repr(choice) for choice in self.choices)]
        return f"{yaml_text(value)} is not {' or '.join(wanted)}"


def yaml_text(value: Any) -> str:
    """A value as YAML writes it, cut where it is long."""
    return f"{str(value).lower() if isinstance(value, bool) else str(value):.60}"


def _is_a(name: str, value: Any) -> bool:
    """Whether pydantic takes a value for a type, `true` for a number left out."""
    match name:
        case "bool":
            return isinstance(value, bool) or value in (0, 1) or str(value).lower() in _NUMBERS
        case "int":
            return not isinstance(value, bool) and _number(value) is not None and float(value).is_integer()
        case "float":
            return not isinstance(value, bool) and _number(value) is not None
        case "str":
            return isinstance(value, str)
        case "list":
            return isinstance(value, list)
        case _:
            return name == "dict" and isinstance(value, dict)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Axolotl's keys, and those that its plugins add."""

    axolotl: str
    """The version that they were read from."""
    keys: Mapping[str, KeyType]
    plugins: Mapping[str, Mapping[str, KeyType]] = field(default_factory=dict)
    """By the plugin's package."""
    optimizers: tuple[str, ...] = ()

    def key(self, name: str, plugins: Iterable[str] = ()) -> KeyType | None:
        """A key's type; None: neither Axolotl nor one of these plugins knows it."""
        if name in self.keys:
            return self.keys[name]
        loaded = {plugin for plugin in self.plugins if any(given.startswith(f"{plugin}.") for given in plugins)}
        for plugin in (*ALWAYS_THERE, *sorted(loaded)):
            if name in self.plugins.get(plugin, {}):
                return self.plugins[plugin][name]
        return None

    def nearest(self, name: str) -> str | None:
        """The known key that is spelt most alike; None: none is alike."""
        known = [*self.keys, *(key for keys in self.plugins.values() for key in keys)]
        return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=CUTOFF)), None)

    def nearest_optimizer(self, name: str) -> str:
        """The optimizer that is spelt most alike."""
        return difflib.get_close_matches(name, self.optimizers, n=1, cutoff=0.0)[0]


CUTOFF = 0.8
"""Of difflib's similarity. At 0.6, its default, `gptq_groupsize` is near to `qgalore_queue_size`."""


@cache
def schema() -> Schema:
    """The stored schema."""
    raw = json.loads(SCHEMA.read_text(encoding="utf-8"))

    def types(keys: Mapping[str, Any]) -> dict[str, KeyType]:
        return {name: KeyType(**{part: tuple(given) for part, given in value.items()}) for name, value in keys.items()}

    plugins = {name: types(keys) for name, keys in raw["plugins"].items()}
    return Schema(axolotl=raw["axolotl"], keys=types(raw["keys"]), plugins=plugins, optimizers=tuple(raw["optimizers"]))
