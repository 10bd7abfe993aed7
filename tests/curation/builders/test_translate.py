"""Self-translation: what is asked, and that everything else stays byte for byte."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import MixError
from core.example.example import Preference, Text
from core.generation.request import Refused, Request
from core.model.completion import Completion
from core.stage import Dropped
from curation.builders.lines import pieces
from curation.builders.rows import Row, contents
from curation.builders.translate import Asking, Shot, translated, translation
from tests.curation.builders.examples import LineEngine, built, chats, dropped, lines, row, write

SHOTS = tuple(Shot(source=f"Example {n}.", target=f"Esimerkki {n}.") for n in range(5))
ASKING = Asking(shots=SHOTS, to="fi")

TEXT = """\
# Title of it

  Indented, with trailing spaces.  \r
\t- a list item
\t```python
\tdef send(end):  # keep me
\t    return "<|user|>"

\tEND
\t```
Words after code,\u2028with a separator. Is this the end?

~~~~
keep ``` me
~~~
still code
~~~~
`whole_line_of_code()`
| --- | --- |
> quoted text
> ```
> keep(quoted)
> ```
3.14

last line without its end"""


def through(engine: LineEngine, *texts: str) -> list[str]:
    """The texts as the engine gives them back."""
    rows = [Row(id=f"{n}", example=Text(text=text), source="en") for n, text in enumerate(texts)]
    found = []
    for item in translated(rows, ASKING, engine, None):
        assert isinstance(item, Row), item
        found += contents(item.example)
    return found


def test_an_identity_engine_gives_a_text_back_byte_for_byte() -> None:
    variants = [
        TEXT,
        TEXT + "\n",
        TEXT + "\n\n \n",
        "\n\n" + TEXT,
        "```\nnever closed\nEND",
        "",
        "\n",
        "  ",
        "A\rB",
        "the END",
    ]
    assert through(LineEngine(), *variants) == variants


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("ab\n \t`~>#\r\u3000E<|user>"))
def test_the_pieces_of_any_text_are_that_text(text: str) -> None:
    found = list(pieces(text))
    assert "".join(piece.text for piece in found) == text
    assert all(piece.text.strip() == piece.text and "\n" not in piece.text for piece in found if piece.is_translated)
    assert through(LineEngine(), text) == [text]


def test_an_engine_that_writes_capitals_leaves_code_as_it_was() -> None:
    (found,) = through(LineEngine(str.upper), TEXT)
    expected = TEXT.upper()
    for code in (
        '```python\n\tdef send(end):  # keep me\n\t    return "<|user|>"\n\n\tEND\n\t```',
        "~~~~\nkeep ``` me\n~~~\nstill code\n~~~~", "`whole_line_of_code()`", "> keep(quoted)",
    ):  # fmt: skip
        expected = expected.replace(code.upper(), code)
    assert found == expected


@pytest.mark.slow
def test_real_conversations_come_back_byte_for_byte(shared_data: Path) -> None:
    with gzip.open(shared_data / "finnish" / "oasst1_validation_conversations.jsonl.gz") as file:
        texts = [turn["content"] for line in map(json.loads, file) for turn in line["en"]]
    assert any("```" in text for text in texts)
    assert through(LineEngine(), *texts) == texts
    for text, upper in zip(texts, through(LineEngine(str.upper), *texts), strict=True):
        blocks = [piece.text for piece in pieces(text) if not piece.is_translated]
        assert [piece.text for piece in pieces(upper) if not piece.is_translated] == blocks


def test_every_request_shows_exactly_five_examples_and_one_line(tmp_path: Path) -> None:
    engine = LineEngine(str.upper)
    shots = write(tmp_path / "shots.jsonl", ({"source": f"Line {n}.", "target": f"Rivi {n}."} for n in range(8)))
    data = write(tmp_path / "en.jsonl", [{"id": "a", "instruction": "One.\n\nTwo.", "output": "Three.\nFour."}])
    found = built("translate", tmp_path / "run", engine, data=data, to="Finnish", shots_from=shots)
    assert [request.prompt.rpartition("<|user|>")[2] for request in engine.requests] == [
        f"{line}\n<|assistant|>" for line in ("One.", "Two.", "Three.", "Four.")
    ]
    for request in engine.requests:
        assert request.prompt.count("<|user|>") == request.prompt.count("<|assistant|>") == 6
        assert request.prompt.startswith("<|user|>Line 0.\n<|assistant|>Rivi 0.\nEND\n\n<|user|>Line 1.\n")
        assert request.num_shots == 5
    (line,) = lines(found.files["en-fi"].path)
    assert (line["id"], line["language"]) == ("a", "fi")
    assert (line["instruction"], line["input"], line["output"]) == ("ONE.\n\nTWO.", "", "THREE.\nFOUR.")


@pytest.mark.parametrize(
    ("output", "line", "expected"),
    [
        ("Hei.\nEND\n", "Hello.", "Hei."),
        (" Hei. END of it", "Hello.", "Hei."),
        ("Hei.<|user|>Next", "Hello.", "Hei."),
        ("Hei. END<|user|>Next", "Hello.", "Hei."),
        ("LOPPU, THE END", "The end", "LOPPU, THE END"),
        ("THE END END", "The end", "THE END"),
        ("LEGEND", "Saga", "LEGEND"),
        ("\nHei.", "Hello.", ""),
    ],
)
def test_of_an_output_the_first_line_counts_up_to_its_end(output: str, line: str, expected: str) -> None:
    assert translation(output, line) == expected


def test_a_pair_loses_all_if_one_part_gets_no_translation() -> None:
    def refusing(line: str) -> Any:
        return Refused(reason="refused_by_server", detail="no") if "worse" in line else "" if "mute" in line else line

    def pair(name: str, *texts: str) -> Row:
        prompt, chosen, rejected = (row("x", answer=text).example.messages[1:] for text in texts)  # type: ignore[union-attr]
        return Row(id=name, example=Preference(prompt=prompt, chosen=chosen, rejected=rejected), source="en")

    rows = [
        pair("whole", "A prompt", "better", "other"),
        pair("refused", "A prompt", "better", "the worse one"),
        pair("empty", "mute prompt", "better", "other"),
        pair("long", "word " * 9_000, "better", "other"),
        row("code", question="1 + 1", answer="```\n2\n```"),
        row("last"),
    ]
    engine = LineEngine(refusing)
    items = list(translated(rows, ASKING, engine, None))
    reasons = {item.id: item.reason for item in items if isinstance(item, Dropped)}
    assert reasons == {"refused": "refused_by_server", "empty": "no_translation", "long": "line_too_long"}
    assert [item.id for item in items] == [row.id for row in rows]
    assert isinstance(items[0], Row)
    assert contents(items[0].example) == ("A prompt", "better", "other")


class Reporting(LineEngine):
    """An engine that says why an answer ended."""

    def respond(self, requests: Sequence[Request]) -> list[Completion | Refused]:
        texts = [request.prompt.rpartition("<|user|>")[2].removesuffix("\n<|assistant|>") for request in requests]
        answers = {"endless": ("and so on and so", "length"), "late": ("ended END but went", "length")}
        found = [answers.get(text, (text, "stop")) for text in texts]
        return [Completion(text=text, finish=finish, num_tokens=9) for text, finish in found]  # type: ignore[arg-type]


def test_a_translation_that_was_cut_off_is_dropped() -> None:
    rows = [row("whole"), row("cut", answer="fine\nendless"), row("ended", answer="late")]
    items = list(translated(rows, ASKING, Reporting(), None))
    assert [(item.id, getattr(item, "reason", "")) for item in items] == [
        ("whole", ""),
        ("cut", "cut_off"),
        ("ended", ""),
    ]
    assert isinstance(items[2], Row)
    assert contents(items[2].example)[1] == "ended"


class StoppedError(Exception):
    """What ends an engine in the middle."""


def test_a_stopped_translation_goes_on_without_asking_twice(tmp_path: Path) -> None:
    shots = write(tmp_path / "shots.jsonl", ({"source": f"Line {n}.", "target": f"Rivi {n}."} for n in range(5)))
    settings = {"data": chats(tmp_path / "en.jsonl", 200), "to": "fi", "shots_from": shots}

    def fails(line: str) -> str:
        if "150" in line:
            raise StoppedError
        return line.upper()

    def upper(line: str) -> str:
        return line.upper()

    first, second = LineEngine(fails), LineEngine(upper)
    upper.__name__ = fails.__name__  # the same weights
    with pytest.raises(StoppedError):
        built("translate", tmp_path / "run", first, **settings)
    found = built("translate", tmp_path / "run", second, **settings)
    asked = [request.prompt for request in second.requests]
    assert 0 < len(asked) < 201
    assert len(set(asked)) == len(asked)
    assert found.files["en-fi"].num_rows == 200
    whole = built("translate", tmp_path / "whole", LineEngine(upper), **settings)
    assert found.files["en-fi"].sha256 == whole.files["en-fi"].sha256


def test_too_few_or_broken_examples_are_refused(tmp_path: Path) -> None:
    data = chats(tmp_path / "en.jsonl", 2)
    few = [{"source": "Line.", "target": "Rivi."}] * 4
    for shots, told in (
        (few, "has 4 examples, but `shots=5`"),
        ([*few, {"source": "a\nb", "target": "c"}], "jsonl:5: lacks"),
    ):
        path = write(tmp_path / "shots.jsonl", shots)
        with pytest.raises(MixError, match=told):
            built("translate", tmp_path / "run", LineEngine(), data=data, to="fi", shots_from=path)
    assert not dropped(tmp_path / "run")
