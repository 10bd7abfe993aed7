"""Building: the folder, its manifest, what is refused and what is not built again; inputs and the registry."""

import gzip
import json
from dataclasses import fields
from pathlib import Path

import pytest

from core.errors import DataError, MixError, StageError
from core.example.reading import Read, open_source
from core.files import read_json
from curation.builders.registry import BUILDERS, find_builder, parse_options
from curation.builders.rows import InputSpec
from curation.verify import verify
from tests.curation.builders.examples import built, chats, dropped, lines, write


def test_the_same_inputs_give_the_same_bytes_wherever_they_lie(tmp_path: Path) -> None:
    runs = []
    for place in ("here", "there"):
        folder = tmp_path / place
        folder.mkdir()
        data = [f"{name}={chats(folder / f'{name}.jsonl', num)}" for name, num in (("en", 9), ("fi", 5))]
        built("uniform", folder / "run", data=data)
        runs.append(folder / "run")
    files = ["manifest.json", *(f"01_rows/{name}" for name in ("uniform.jsonl", "summary.json", "dropped.jsonl"))]
    for name in files:
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes(), name
    manifest = read_json(runs[0] / "manifest.json")["build"]
    assert manifest["kind"] == "uniform"
    assert manifest["options"]["seed"] == 42
    assert [data["name"] for data in manifest["data"]] == ["en", "fi"]
    assert manifest["files"]["uniform"]["num_rows"] == 10
    assert manifest["tallies"]["row"] == {"read": 14, "kept": 10, "dropped": {"over_share": 4}}


def test_what_is_built_is_not_built_again_and_other_data_is_refused(tmp_path: Path) -> None:
    base, added = chats(tmp_path / "en.jsonl", 3), chats(tmp_path / "fi.jsonl", 4)
    first = built("mix", tmp_path / "run", base=base, added=added)
    changed = first.files["en-fi-100pct"].path.stat().st_mtime_ns
    assert built("mix", tmp_path / "run", base=base, added=added) == first
    assert first.files["en-fi-100pct"].path.stat().st_mtime_ns == changed
    chats(tmp_path / "fi.jsonl", 5)
    with pytest.raises(StageError, match="made with other inputs"):
        built("mix", tmp_path / "run", base=base, added=added)


def test_a_build_is_verified_as_a_run_is(tmp_path: Path) -> None:
    data = chats(tmp_path / "en.jsonl", 3), chats(tmp_path / "fi.jsonl", 4)
    found = built("mix", tmp_path / "run", base=data[0], added=data[1])
    assert all(check.is_fine for check in verify(tmp_path / "run"))
    with found.files["en-fi-100pct"].path.open("a") as file:
        file.write("{}\n")
    wrong = [check.what for check in verify(tmp_path / "run") if not check.is_fine]
    assert wrong == ["01_rows/en-fi-100pct.jsonl", "manifest: en-fi-100pct"]


def test_a_folder_that_holds_a_curation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run" / "01_tasks").mkdir(parents=True)
    with pytest.raises(MixError, match="01_tasks: this folder holds a curation"):
        built("clean", tmp_path / "run", data=chats(tmp_path / "en.jsonl", 1))


def test_every_record_is_kept_or_has_its_reason(tmp_path: Path) -> None:
    good = {"id": "a", "instruction": "Why?", "output": "So."}
    base = write(tmp_path / "odd.jsonl", [good, {"output": "x"}, good, {"instruction": "Why?", "output": ""}])
    found = built("mix", tmp_path / "run", base=base, added=chats(tmp_path / "fi.jsonl", 2))
    tally = found.tallies["record"]
    assert (tally.read, tally.kept, tally.dropped) == (6, 3, {"duplicate_id": 1, "empty_output": 1, "malformed": 1})
    assert [(drop["id"], drop["source"]) for drop in dropped(tmp_path / "run")] == [
        ("line-2", "odd"), ("line-3", "odd"), ("line-4", "odd"),
    ]  # fmt: skip
    with pytest.raises(MixError, match=r"no row is left \(1 malformed; the first one .*\)\. Correct"):
        built("clean", tmp_path / "none", data=write(tmp_path / "bad.jsonl", [{"output": "x"}]))


def test_one_language_of_a_record_is_taken_by_its_key(tmp_path: Path) -> None:
    record = {
        "id": "a",
        "en": {"instruction": "Why?", "response": "So."},
        "fi": {"instruction": "Miksi?", "response": "Niin."},
    }
    path = tmp_path / "both.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(record).encode()))
    found = built("mix", tmp_path / "run", base=f"{path}#en", added=f"{path}#fi")
    rows = lines(found.files["en-fi-100pct"].path)
    assert [(row["id"], row["source"], row["language"]) for row in rows] == [("en/a", "en", "en"), ("fi/a", "fi", "fi")]
    assert [row["output"] for row in rows] == ["So.", "Niin."]
    assert all(isinstance(item, Read) for item in open_source(found.files["en-fi-100pct"].path).examples())
    with pytest.raises(MixError, match=r"no row is left \(1 malformed; the first one .*\)\. Correct"):
        built("clean", tmp_path / "none", data=f"{path}#sv")
    with pytest.raises(DataError, match="two inputs are called en"):
        built("mix", tmp_path / "twice", base=f"{path}#en", added=f"{path}#en")


def test_an_instruction_stays_apart_from_its_input(tmp_path: Path) -> None:
    """The Alpaca prompt shows where the input begins; joined in a user's turn, a model would be asked otherwise."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"instruction": "Name the colour.", "input": "a rose", "output": "red"}\n')
    other = tmp_path / "other.jsonl"
    other.write_text('{"instruction": "Name the colour.", "input": "the sky", "output": "blue"}\n')
    rows = lines(built("mix", tmp_path / "run", base=str(path), added=str(other)).files["rows-other-100pct"].path)
    assert [(row["instruction"], row["input"], row["output"]) for row in rows] == [
        ("Name the colour.", "a rose", "red"),
        ("Name the colour.", "the sky", "blue"),
    ]


def test_an_input_is_named_by_what_stands_before_and_behind_it(tmp_path: Path) -> None:
    odd = tmp_path / "a=b#c.jsonl"
    odd.touch()
    assert InputSpec.parse(str(odd)) == InputSpec(name="a_b_c", path=str(odd))
    assert InputSpec.parse("fi=x.jsonl.gz#key") == InputSpec(name="fi", path="x.jsonl.gz", key="key")
    assert InputSpec.parse("x/y.jsonl#key").name == "key"
    assert InputSpec.parse("x/y.jsonl", near=Path("/z")).path == "/z/x/y.jsonl"


def test_lines_of_two_files_of_a_folder_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()
    for name in ("a", "b"):
        write(tmp_path / "both" / f"{name}.jsonl", [{"text": f"text of {name}"}, {"text": ""}])
    found = built("clean", tmp_path / "run", data=str(tmp_path / "both"))
    assert [row["id"] for row in lines(found.files["both-clean"].path)] == ["a.jsonl:line-1", "b.jsonl:line-1"]
    assert [drop["id"] for drop in dropped(tmp_path / "run")] == ["a.jsonl:line-2", "b.jsonl:line-2"]


def test_options_come_from_plain_values_and_a_wrong_name_is_told_with_the_nearest() -> None:
    options = parse_options("mix", {"base": "a", "added": "b", "percent": [10, "20"]})
    assert options == find_builder("mix").options(base="a", added="b", percent=(10.0, 20.0))  # type: ignore[call-arg]
    for kind, settings, told in (
        ("mixx", {}, r"builder mixx: unknown \(did you mean mix\?\)"),
        ("mix", {"base": "a", "added": "b", "percents": 1}, r"percents: no option of mix \(did you mean percent\?\)"),
        ("mix", {"base": "a"}, "mix: added"),
        ("uniform", {"data": ["a", "b"], "unit": "words"}, "uniform: unit"),
    ):
        with pytest.raises(MixError, match=told):
            parse_options(kind, settings)


@pytest.mark.parametrize("kind", BUILDERS)
def test_every_builder_has_options_that_decide_and_a_function(kind: str) -> None:
    builder = find_builder(kind)
    assert callable(builder.outputs)
    assert set(builder.options.input_fields()) <= {f.name for f in fields(builder.options)}
