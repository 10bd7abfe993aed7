"""YAML in which every key occurs once.

    >>> load_yaml("a: 1")
    {'a': 1}

Where it sits: below recipes and studies.
"""

from typing import Any

import yaml


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


def load_yaml(text: str) -> Any:
    """The values of a document.

    Raises:
        ValueError: not YAML, or nested too deeply. The message is one line.
    """
    try:
        return yaml.load(text, _UniqueKeys)  # a SafeLoader
    except (yaml.YAMLError, TypeError) as e:  # a key that cannot be hashed is a TypeError
        problem = " ".join(str(e).replace('"<unicode string>", ', "").split())
        raise ValueError(f"not YAML ({problem})") from e
    except RecursionError as e:
        raise ValueError("nested too deeply") from e
