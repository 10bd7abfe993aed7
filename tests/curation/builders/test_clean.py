"""Cleaning rules: each counts what it finds, and a row is dropped for the first that it breaks."""

from pathlib import Path
from typing import Any

import pytest

from curation.builders.rules import CleaningRules
from tests.curation.builders.examples import built, dropped, write


@pytest.mark.slow
def test_golden_19_the_counts_over_dolly_in_finnish(shared_data: Path, tmp_path: Path) -> None:
    dolly = shared_data / "finnish" / "dolly_en_fi.jsonl.gz"

    def counts(**settings: Any) -> dict[str, Any]:
        run = tmp_path / "-".join(f"{name}{value}" for name, value in settings.items())
        found = built("clean", run, data=f"{dolly}#fi", source=f"{dolly}#en", parts="answers", **settings)
        tally = found.tallies["row"]
        assert (tally.read, tally.kept + sum(tally.dropped.values())) == (3003, 3003)
        return {line["rule"]: line["rows"] for line in found.tables["rows that break a rule"]}

    assert counts(words=1.5, count_spaces=True) == {
        "words": 7, "characters": 31, "symbols": 23, "gzip": 0, "language": None, "leftovers": 0,
    }  # fmt: skip
    found = counts(words=2.5, count_spaces=False)
    assert (found["words"], found["symbols"]) == (1, 4)


@pytest.mark.parametrize(
    ("text", "source", "broken"),
    [
        ("yksi kaksi kolme", "one", ["words", "characters"]),
        ("yksi kaksi", "one two and a few more words", []),
        ("!!! ??? a", "!!! ??? a", ["symbols"]),
        ("sama sana " * 40, "same word " * 40, ["gzip"]),
        ("Hei. <|user|> Hei", "Hello. Hello, hello", ["symbols", "leftovers"]),
        ("Merkki <|user|> kirjoitetaan näin tekstissä", "The marker <|user|> is written so in a text", []),
        ("Hyvää huomenta kaikille\nEND", "Good morning to everybody", ["leftovers"]),
        ("", "Good", []),
    ],
)
def test_a_text_breaks_the_rules_that_it_breaks(text: str, source: str, broken: list[str]) -> None:
    assert CleaningRules(symbols=0.25).broken(text=text, source=source) == broken
    off = CleaningRules(words=0, characters=0, symbols=0, gzip=0, leftovers=False)
    assert off.broken(text=text, source=source) == []


def test_the_language_of_a_text_is_told() -> None:
    rules = CleaningRules(language="fi", symbols=0)
    finnish = "Tämä on suomenkielinen lause, jonka kieli on helppo tunnistaa ilman mitään epäilyksiä."
    assert rules.broken(text=finnish, source=None) == []
    assert rules.broken(
        text="This is an English sentence, and its language is easy to recognise without any doubt.", source=None
    ) == ["language"]
    assert rules.broken(text="This text is English.", source=None) == []
    every = CleaningRules(language="fi", symbols=0, least_letters=0)
    assert every.broken(text="This text is English.", source=None) == ["language"]
    assert every.broken(text="42", source=None) == []


def test_a_preference_is_dropped_for_one_of_its_parts_and_a_row_without_its_source_too(tmp_path: Path) -> None:
    def pair(name: str, rejected: str) -> dict[str, Any]:
        return {"id": name, "prompt": "What is it?", "chosen": "It is a good thing.", "rejected": rejected}

    data = write(
        tmp_path / "fi.jsonl", [pair("a", "no"), pair("b", "<|assistant|> no, no"), pair("c", "no"), pair("d", "no")]
    )
    source = write(
        tmp_path / "en.jsonl", [pair("b", "no, no, no, no, no"), pair("a", "no"), {"id": "d", "text": "one"}]
    )
    found = built("clean", tmp_path / "run", data=data, source=source, symbols=0.5)
    assert {drop["id"]: drop["reason"] for drop in dropped(tmp_path / "run")} == {
        "b": "leftovers", "c": "no_source", "d": "other_parts",
    }  # fmt: skip
    assert found.files["fi-clean"].num_rows == 1
