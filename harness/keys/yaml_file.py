"""A recipe's file: a YAML mapping in which every key occurs once.

    raw = read_mapping(Path("axolotl_configs/tiny_cpu.yml"))

Where it sits: **file** -> table of keys -> recipe.
"""

from pathlib import Path
from typing import Any

import orjson

from core.yaml_text import load_yaml
from harness.errors import ConfigError


def read_mapping(path: Path) -> dict[str, Any]:
    """Reads the file.

    Raises:
        ConfigError: The file is unreadable, is not a mapping, or holds a value that JSON and the manifest cannot hold.
    """
    try:
        raw = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read ({e}). `config=` takes a recipe of axolotl_configs/.") from e
    except ValueError as e:
        raise ConfigError(f"{path}: {e}. Mend the file; a recipe is a flat mapping.") from e
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: not a recipe, which is a mapping of Axolotl's keys. See axolotl_configs/.")
    for key, value in raw.items():
        try:
            orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
        except TypeError as e:
            raise ConfigError(f"{path}: {key}: JSON cannot hold this value ({e}). Mend the value.") from e
    return {str(key): value for key, value in raw.items()}
