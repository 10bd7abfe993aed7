"""ROUGE of Chinese summaries as TC-Eval computes it: sumeval with jieba's words, stop words left out.

    rouge = RougeZh.load()
    rouge("台灣的首都是台北。", "台北是台灣的首都。")["rouge_2"]

It is not `rouge-score` with jieba. sumeval and jieba are imported here alone.

Where it sits: answer -> **rouge_zh** -> suites.
"""

import logging
import tempfile
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Self

LIBRARIES = ("sumeval", "jieba")
"""Both in the extra `eval`."""


class RougeZh:
    """ROUGE-1, -2 and -L, F1 in [0, 1]."""

    def __init__(self, calculator: Any) -> None:
        self._calculator = calculator

    @classmethod
    def load(cls) -> Self:
        """Reads jieba's dictionary: about two seconds. Its cache file goes to a folder that is removed at once."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escape sequences and pkg_resources in both packages
            import jieba
            from sumeval.metrics.lang.lang_zh import LangZH
            from sumeval.metrics.rouge import RougeCalculator
        jieba.setLogLevel(logging.WARNING)
        with tempfile.TemporaryDirectory() as folder:
            jieba.dt.tmp_dir = folder
            jieba.initialize()
        return cls(RougeCalculator(stemming=True, lang=_remembering(LangZH)))

    def __call__(self, summary: str, reference: str) -> Mapping[str, float]:
        """The three scores; an empty side scores 0."""
        rouge = self._calculator
        return {
            "rouge_1": float(rouge.rouge_1(summary, reference)),
            "rouge_2": float(rouge.rouge_2(summary, reference)),
            "rouge_l": float(rouge.rouge_l(summary, reference)),
        }


def _remembering(kind: Any) -> Any:
    """sumeval's Chinese with each text cut once for its three scores, stop words in a set: a tenth of the time."""

    class Remembering(kind):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.load_stopwords()
            self._stop = frozenset(self._stopwords)
            self.load_stemming_dict()
            self.tokenize = lru_cache(maxsize=4)(super().tokenize)

        def is_stop_word(self, word: str) -> bool:
            return word in self._stop

        def stemming(self, word: str, min_length: int = -1) -> str:
            return word if len(word) < min_length else self._stemming.get(word, word)

    return Remembering()
