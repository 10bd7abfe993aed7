"""A recipe's file: a YAML mapping in which every key occurs once.

    raw = read_mapping(Path("axolotl_configs/tiny_cpu.yml"))

Where it sits: **file** -> table of keys -> recipe.
"""

from pathlib import Path
from typing import Any

import orjson
import yaml

from harness.errors import ConfigError


class _UniqueKeys(yaml.SafeLoader):
    """Refuses duplicate keys, of which PyYAML would use the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Raises ConstructorError if a key occurs twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                mark = node.value[number][0].start_mark
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} occurs twice", mark)
        return super().construct_mapping(node, deep)


def read_mapping(path: Path) -> dict[str, Any]:
    """Reads the file.

    Raises:
        ConfigError: The file is unreadable, is not a mapping, or holds a value that JSON and the manifest cannot hold.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)  # a SafeLoader
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read ({e}). `config=` takes a recipe of axolotl_configs/.") from e
    except yaml.YAMLError as e:
        problem = " ".join(str(e).replace('"<unicode string>", ', "").split())
        raise ConfigError(f"{path}: not YAML ({problem}). Mend the file.") from e
    except RecursionError as e:
        raise ConfigError(f"{path}: nested too deeply. A recipe is a flat mapping; mend the file.") from e
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: not a recipe, which is a mapping of Axolotl's keys. See axolotl_configs/.")
    for key, value in raw.items():
        try:
            orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
        except TypeError as e:
            raise ConfigError(f"{path}: {key}: JSON cannot hold this value ({e}). Mend the value.") from e
    return {str(key): value for key, value in raw.items()}
