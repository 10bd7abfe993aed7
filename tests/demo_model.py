"""The demo base, loaded once in a test process and only when a test asks for it."""

from functools import cache

from core.model.language_model import LanguageModel
from oneday.demo.demo import DEMO_BASE
from submission.engine.engine import Engine


@cache
def demo_model() -> LanguageModel:
    return LanguageModel.load(DEMO_BASE)


@cache
def demo_engine() -> Engine:
    return Engine(demo_model())
