"""The examples in docstrings are run."""

import doctest
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

PACKAGES = ("core", "curation", "evaluation")


def modules() -> Iterator[str]:
    for package in PACKAGES:
        folder = importlib.import_module(package).__path__
        yield from (module.name for module in pkgutil.walk_packages(folder, prefix=f"{package}."))


def examples(module: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module))
    return [test for test in found if test.examples]


WITH_EXAMPLES = [test for module in modules() for test in examples(module)]


@pytest.mark.parametrize("test", WITH_EXAMPLES, ids=[test.name for test in WITH_EXAMPLES])
def test_an_example_gives_what_its_docstring_says(test: doctest.DocTest) -> None:
    said: list[str] = []
    result = doctest.DocTestRunner().run(test, out=said.append)
    assert result.failed == 0, "".join(said)


def test_examples_are_found_at_all() -> None:
    assert {"core.text", "curation.share", "curation.ni.bucket.likeliest_right"} <= {t.name for t in WITH_EXAMPLES}
