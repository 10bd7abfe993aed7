"""Libraries of the extra `eval`: whether they are installed, and what to say where one is not."""

import importlib.util
from collections.abc import Iterable

EXTRA = "eval"


def missing_libraries(modules: Iterable[str]) -> list[str]:
    """Names of modules that cannot be imported."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def why_not_run(missing: Iterable[str]) -> str:
    """The reason that stands in place of a metric."""
    return f"{', '.join(missing)} not installed: pip install 'oneday-llm[{EXTRA}]'"
