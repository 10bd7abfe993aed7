"""A recipe's keys, sorted: those that are kept, those that the day overrules and why, those that Axolotl does not know.

    table = KeyTable.of({"lora_r": 8, "group_by_length": True, "lora_dropuot": 0.1})
    table.values          # {"lora_r": 8}
    table.overruled       # {"group_by_length": "every batch is planned by its number ..."}
    table.unknown         # {"lora_dropuot": "lora_dropout"}

Keys of old names get today's. A null asks for nothing, and so does `false` for a key that is overruled.

Where it sits: YAML -> **table** -> recipe; the command line shows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.errors import ConfigError
from harness.keys.owned import EVALUATION, OVERRULED, OVERRULED_PLUGINS, TRACKER
from harness.keys.refused import REFUSED_PLUGINS
from harness.keys.schema import schema

OURS = ("neftune_mode", "gradient_accumulation_mode", "ema_decay")
"""Keys of a recipe that Axolotl does not have; they become keys of our plugin."""

ALLOWED_PLUGINS = tuple(
    f"axolotl.integrations.{name}"
    for name in ("liger", "cut_cross_entropy", "kernels", "llm_compressor", "densemixer", "diffusion")
)
"""Plugins that change the model and leave the trainer alone; and one whose key names an objective that is refused."""

_ATTENTION_FLAGS = {
    "xformers_attention": "xformers",
    "sage_attention": "sage",
    "flex_attention": "flex_attention",
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "eager_attention": "eager",
}
"""Source: `LEGACY_ATTN_FLAG_TO_IMPL` of Axolotl 0.19.0, in its order."""

_RENAMED = {"model_config": "overrides_of_model_config", "noisy_embedding_alpha": "neftune_noise_alpha",
            "dpo_beta": "rl_beta"}  # fmt: skip

_TWINS = {"save_steps": "eval_steps", "saves_per_epoch": "evals_per_epoch"}
"""How often to save, and how often to evaluate: the two are one here."""

_INNER = ("datasets", "test_datasets", "pretraining_dataset")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTable:
    """What becomes of each key."""

    values: Mapping[str, Any]
    """Kept keys with their values, under today's names."""
    overruled: Mapping[str, str] = field(default_factory=dict)
    """Why, by key."""
    unknown: Mapping[str, str | None] = field(default_factory=dict)
    """The known key that is spelt most alike, or None, by key."""
    plugins: Mapping[str, str] = field(default_factory=dict)
    """Names of the plugins that are kept or refused, by package."""
    problems: tuple[str, ...] = ()
    """Values of another type than Axolotl takes."""

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "KeyTable":
        """Sorts the keys of a recipe.

        Raises:
            ConfigError: A plugin is not known.
        """
        given = {str(key): value for key, value in raw.items()}
        names = _plugin_names(given.get("plugins"))
        unknown: dict[str, str | None] = {}
        overruled = {name: why for package, name in names.items() if (why := OVERRULED_PLUGINS.get(package))}
        values: dict[str, Any] = {}
        problems: list[str] = []
        for key, value in _renamed(given, overruled).items():
            known = schema().key(key, names.values())
            if known is None and key not in OURS:
                unknown[key] = schema().nearest(key)
            elif _is_owned(key):
                if why := _why_overruled(key, value, given):
                    overruled[key] = why
            elif value is not None:
                if known and (problem := known.problem(value)):
                    problems.append(f"{key}: {problem}")
                values[key] = value
        unknown |= _unknown_inside(values)
        kept = {package: name for package, name in names.items() if package not in OVERRULED_PLUGINS}
        values.pop("plugins", None)
        return cls(values=values, overruled=overruled, unknown=unknown, plugins=kept, problems=tuple(problems))


def _plugin_names(given: Any) -> dict[str, str]:
    """Plugins by their package. A key `plugins` that is no list of texts is told by its type, later."""
    names = [name for name in given if isinstance(name, str)] if isinstance(given, list) else []
    known = (*ALLOWED_PLUGINS, *OVERRULED_PLUGINS, *REFUSED_PLUGINS)
    found = {}
    for name in names:
        package = next((package for package in known if name.startswith(f"{package}.")), "")
        if not package:
            raise ConfigError(f"plugins: {name} is not known here, and a plugin can replace the trainer. Remove it.")
        found[package] = name
    return found


def _renamed(given: Mapping[str, Any], overruled: dict[str, str]) -> dict[str, Any]:
    """The same keys under the names that Axolotl has today."""
    values = {key: value for key, value in given.items() if key not in _ATTENTION_FLAGS}
    asked = next((kernel for key, kernel in _ATTENTION_FLAGS.items() if given.get(key)), None)
    if asked and not values.get("attn_implementation"):
        values["attn_implementation"] = asked
    for old, new in _RENAMED.items():
        if values.get(old) is not None and values.get(new) is None:
            values[new] = values.pop(old)
    if isinstance(values.get("tokens"), Mapping):  # the name of `special_tokens` until 2023
        values["special_tokens"] = {**values.pop("tokens"), **(values.get("special_tokens") or {})}
    if not any(values.get(key) for key in _TWINS.values()):
        values |= {_TWINS[key]: values[key] for key in _TWINS if values.get(key)}
    if values.get("eval_steps") and values.pop("evals_per_epoch", None):
        overruled["evals_per_epoch"] = "eval_steps says it"
    total, size = values.get("batch_size"), values.get("micro_batch_size")
    if isinstance(total, int) and isinstance(size, int) and size and not values.get("gradient_accumulation_steps"):
        values["gradient_accumulation_steps"] = max(1, values.pop("batch_size") // size)
    return values


def _is_owned(key: str) -> bool:
    return key in OVERRULED or key in _TWINS or _is_swanlabs(key)


def _is_swanlabs(key: str) -> bool:
    return "swanlab" in key


def _why_overruled(key: str, value: Any, given: Mapping[str, Any]) -> str:
    """Why the day decides in its place; empty: the key asks for nothing, or for what the day does anyway."""
    if value is None or value is False or value in ([], {}, ""):
        return ""
    if key in _TWINS:
        return "" if given.get(_TWINS[key]) in (None, value) else EVALUATION
    return TRACKER if _is_swanlabs(key) else OVERRULED[key]


def _unknown_inside(values: Mapping[str, Any]) -> dict[str, str | None]:
    """Keys of the recipe's data sets that Axolotl does not know."""
    found: dict[str, str | None] = {}
    for name in _INNER:
        known = schema().key(name)
        for source in sources(values, name):
            found |= {f"{name}.{key}": None for key in source if known and str(key) not in known.keys}
    return found


def sources(values: Mapping[str, Any], *names: str) -> list[Mapping[str, Any]]:
    """The data sets under these keys. A value of another form is one of the table's `problems`."""
    given = [entry for name in names if isinstance(values.get(name), list) for entry in values[name]]
    return [entry for entry in given if isinstance(entry, Mapping)]
