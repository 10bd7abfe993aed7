"""The requirements of the server with the versions that are installed here, those of the requirements included.

    pinned("oneday-llm", extra="serve")      # ["accelerate==1.13.0", "annotated-types==0.7.0", ...]

Where it sits: installed packages -> **requirements.txt** of a package.
"""

import importlib.metadata
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from submission.errors import PackageError


def pinned(distribution: str, *, extra: str) -> list[str]:
    """Lines for pip, sorted by name. A build's local version, such as torch's `+cpu`, is left out.

    Raises:
        PackageError: one of them is not installed.
    """
    found: dict[str, str] = {}
    waiting = list(_requirements(distribution, {extra}))
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found and not requirement.extras:
            continue
        try:
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError as e:
            raise PackageError(
                f"{name} is not installed, so it cannot be pinned. pip install '{distribution}[{extra}]'."
            ) from e
        waiting += _requirements(name, requirement.extras)
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _requirements(distribution: str, extras: set[str]) -> Iterator[Requirement]:
    """Those that hold on this machine."""
    for text in importlib.metadata.requires(distribution) or ():
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in extras or {""}):
            yield requirement
