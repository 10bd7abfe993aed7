"""Files as people have them, and as an attacker makes them: one-line errors, and memory that stays small."""

import gzip
import json
import os
import random
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow
import pytest

from core.errors import DataError
from core.example.reading import open_source
from core.records.container import contents
from core.records.hub import HubName, hub_records, is_hub_name
from core.records.name import is_data, stem
from core.records.record import Limits, Record, Rejected

ROW = {"instruction": "Say it.", "output": "y"}
LINE = json.dumps(ROW) + "\n"
SMALL = Limits(record_bytes=200, ratio=20, ratio_from_bytes=1000, members=5)


def items(path: Path, limits: Limits | None = None) -> list[Record | Rejected]:
    return [item for part in contents(path, limits).parts for item in part.records()]


def told(path: Path, limits: Limits | None = None) -> list[str]:
    """Places and columns, or what is wrong."""
    shown = []
    for item in items(path, limits):
        where = str(item.place).removeprefix(f"{path.parent}/")
        shown.append(f"{where}: {item.reason}" if isinstance(item, Rejected) else where)
    return shown


def zipped(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/").replace("_DOT_", "."), text)
    return path


# -- places


def test_lines_are_numbered_as_an_editor_does_and_blank_ones_are_no_records(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f"\n{LINE}  \n{{\n{LINE}[1]\n")
    assert told(path) == ["x.jsonl:2", "x.jsonl:4: malformed", "x.jsonl:5", "x.jsonl:6: malformed"]


def test_a_record_of_an_array_has_its_line_and_its_number(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([ROW, ROW, 5, ROW], indent=1))
    assert told(path) == [
        "x.json:2: record 1", "x.json:6: record 2", "x.json:10: record 3: malformed", "x.json:11: record 4"
    ]  # fmt: skip


def test_an_array_larger_than_the_window_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    rows = [ROW | {"n": n, "text": 'ä\\"]}' * (n % 7)} for n in range(40_000)]
    path.write_text(json.dumps(rows))
    assert [item.columns for item in items(path) if isinstance(item, Record)] == rows


def test_a_row_of_a_csv_has_the_line_in_which_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('instruction,output\n"a\nb",y\n\nc,d,e\nf,g\n')
    assert told(path) == ["x.csv:2", "x.csv:5: malformed", "x.csv:6"]


@pytest.mark.parametrize(
    ("text", "num"), [("[]", 0), ("", 0), (" \n", 0), ("[ {} ]", 1), ("{}", 1), ("[{},\n{}]\n\n", 2)]
)
def test_small_files_hold_what_they_hold(tmp_path: Path, text: str, num: int) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    assert len(items(path)) == num


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"a": 1}, {"a": 2}', "has no end"),
        ('[{"a": 1}, {"a": }]', "not JSON (Expecting value"),
        ('[{"a": 1}] [2]', "something follows"),
        ("[" * 100_000, "not JSON ("),
        ('{"a": ' * 100_000, "not JSON ("),
        ('{\n "a": 1,\n "b": [,]\n}', "not JSON ("),
        ("hello", "not JSON ("),
    ],
)
def test_broken_json_is_one_rejected_record(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    rejected = [item for item in items(path) if isinstance(item, Rejected)]
    assert len(rejected) == 1
    assert said in rejected[0].detail


# -- archives and folders


def test_a_folder_is_read_in_the_order_of_its_names_hidden_files_left_out(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a/c.jsonl", ".git/d.jsonl", ".e.jsonl", "notes.md"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(LINE)
    found = contents(tmp_path)
    assert [part.name for part in found.parts] == ["a/c.jsonl", "b.jsonl"]
    assert found.skipped == (str(tmp_path / "notes.md"),)


def test_of_files_named_after_splits_the_training_split_is_read(tmp_path: Path) -> None:
    for name in ("train.jsonl", "test.jsonl", "dev-0001.jsonl", "extra.jsonl"):
        (tmp_path / name).write_text(LINE)
    found = contents(tmp_path)
    assert [part.name for part in found.parts] == ["extra.jsonl", "train.jsonl"]
    assert [Path(name).name for name in found.held_out] == ["dev-0001.jsonl", "test.jsonl"]


def test_without_a_training_split_every_file_is_read(tmp_path: Path) -> None:
    for name in ("latest.jsonl", "test.jsonl"):
        (tmp_path / name).write_text(LINE)
    assert len(contents(tmp_path).parts) == 2


def test_an_archive_and_a_packed_file_in_a_folder_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(LINE.encode()))
    zipped(tmp_path / "b.zip", deep__c_DOT_jsonl=LINE, d_DOT_zip="PK")
    found = contents(tmp_path)
    assert [part.name for part in found.parts] == ["a.jsonl.gz", "b.zip/deep/c.jsonl"]
    assert found.skipped == (f"{tmp_path / 'b.zip'}/d.zip",)
    assert len(items(tmp_path)) == 2


def test_a_data_set_of_splits_gives_its_training_split(tmp_path: Path) -> None:
    import datasets

    part = datasets.Dataset.from_list([ROW])
    datasets.DatasetDict({"train": part, "test": part}).save_to_disk(str(tmp_path / "saved"))
    found = contents(tmp_path / "saved")
    assert [part.name.split("/")[0] for part in found.parts] == ["train"]
    assert len(items(tmp_path / "saved")) == 1


def test_several_frames_of_zstd_are_one_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.zst"
    frame = bytes(pyarrow.compress(LINE.encode(), codec="zstd", asbytes=True))
    path.write_bytes(frame * 3)
    assert len(items(path)) == 3


def test_parquet_in_an_archive_is_read(tmp_path: Path) -> None:
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([ROW]), tmp_path / "x.parquet")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / "x.parquet", "x.parquet")
    (record,) = items(tmp_path / "x.zip")
    assert isinstance(record, Record)
    assert record.columns == ROW


# -- hostile files


@pytest.mark.parametrize("name", ["../x.jsonl", "/etc/x.jsonl", "a/../../x.jsonl", "..\\x.jsonl", "C:\\x.jsonl"])
def test_a_member_that_points_out_of_its_archive_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, LINE)
    with pytest.raises(DataError, match=r"x\.zip: its member .* points out of the archive\. Refused"):
        contents(path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.zip"]


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("x.jsonl")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="is a link"):
        contents(tmp_path / "x.zip")


@pytest.mark.parametrize("suffix", ["gz", "zst", "zip"])
def test_a_bomb_is_refused_in_one_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.jsonl.{suffix}" if suffix != "zip" else tmp_path / "x.zip"
    text = LINE.encode() * 100_000
    if suffix == "gz":
        path.write_bytes(gzip.compress(text))
    elif suffix == "zst":
        path.write_bytes(pyarrow.compress(text, codec="zstd", asbytes=True))
    else:
        zipped(path, x_DOT_jsonl=text.decode())
    with pytest.raises(DataError, match=r"unpacks to more than 20 times its [\d,]+ bytes"):
        items(path, SMALL)


def test_equal_rows_are_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(LINE.encode() * 100_000))  # 4 MB, packed 200 times
    assert len(items(path)) == 100_000


def test_thirty_megabytes_in_one_line_are_one_rejected_record_and_the_next_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"text": "x" * (30 << 20)}) + "\n" + LINE)
    assert told(path) == ["x.jsonl:1: too_large", "x.jsonl:2"]
    assert str(items(path)[0]).endswith("x.jsonl:1: a record of more than 16 MiB. Split it")


@pytest.mark.parametrize("name", ["x.json", "x.csv"])
def test_a_large_record_of_an_array_or_a_table_is_rejected(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    long = "x" * (3 << 20)
    path.write_text(json.dumps([{"text": long}]) if name == "x.json" else f"text\n{long}\n")
    assert told(path, SMALL)[-1].endswith("too_large")


def test_an_array_of_thirty_megabytes_in_one_line_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("[" + ", ".join([json.dumps({"text": "x" * 1000})] * 30_000) + "]")
    program = (
        "import resource, sys; from pathlib import Path; from core.records.container import contents\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "num = sum(1 for part in contents(Path(sys.argv[1])).parts for item in part.records())\n"
        "print(num, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    num, kilobytes = map(int, done.stdout.split())
    assert num == 30_000
    assert kilobytes < 20_000, "the file has 30 MB, a window 1"


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    zipped(tmp_path / "x.zip", **{f"{n}_DOT_jsonl": LINE for n in range(6)})
    with pytest.raises(DataError, match="holds 6 files, more than 5"):
        contents(tmp_path / "x.zip", SMALL)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("x.jsonl.gz", gzip.compress(LINE.encode() * 100, mtime=0)[:-9], "cannot be read"),
        ("x.jsonl.gz", b"\x1f\x8bnothing of the kind", "cannot be read"),
        ("x.jsonl.zst", b"\x28\xb5\x2f\xfdnothing of the kind", "cannot be read"),
        ("x.parquet", b"PAR1 and nothing more", "not Parquet that can be read"),
        ("x.arrow", b"\xff\xff\xff\xff\0\0\0\x10nothing", "not Arrow that can be read"),
        ("x.jsonl", b'\xff\xfe{\0"\0\xd8', "not valid UTF-16"),
        ("x.bin", b"\x7fELF\0\0\0\1", "not a kind of file that is known"),
        ("x.csv", b"a,a\n1,2\n", "two columns are called 'a'"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError) as e:
        items(path)
    assert str(e.value).startswith(str(path))
    assert said in str(e.value)
    assert "\n" not in str(e.value)


EXAMPLES = Path(__file__).parents[2] / "data" / "examples"


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, removed, repeated or put in."""
    found = bytearray(data)
    for _ in range(rng.choice([1, 2, 5, 20])):
        at = rng.randrange(len(found) or 1)
        match rng.randrange(4):
            case 0:
                found[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del found[at : at + rng.randrange(1, 40)]
            case 2:
                found[at:at] = bytes(rng.choices(b'{}[]",:\\\n\r\0\xff0un', k=rng.randrange(1, 6)))
            case _:
                found[at:at] = found[: rng.randrange(1, 60)]
    return bytes(found)


@pytest.mark.parametrize("name", sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.*")))
def test_a_file_that_is_damaged_anywhere_ends_in_lines_about_it(tmp_path: Path, name: str) -> None:
    rng = random.Random(name)
    data = (EXAMPLES / name).read_bytes()
    for suffix in (".jsonl", ".json", ".csv", ".parquet", "", ".zip", *[Path(name).suffix] * 6):
        path = tmp_path / f"x{suffix}"
        path.write_bytes(damaged(data, rng))
        try:
            said = [str(item) for item in open_source(path).examples() if isinstance(item, Rejected)]
        except DataError as e:
            said = [str(e)]
        assert not any("\n" in line for line in said)


@pytest.mark.parametrize("name", ["gone.jsonl", "empty", "pipe"])
def test_nothing_to_read_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=f"{name}: (cannot be read|no file of data)"):
        contents(tmp_path / name)


# -- names


@pytest.mark.parametrize(
    ("name", "expected"), [("a.jsonl.gz", "a"), ("a.JSON", "a"), ("a.b.csv", "a.b"), ("a", "a"), (".jsonl", ".jsonl")]
)
def test_the_name_of_a_file_is_without_its_kind(name: str, expected: str) -> None:
    assert stem(Path("deep") / name) == expected


def test_what_describes_data_is_no_data() -> None:
    assert [is_data(n) for n in ("x.JSONL", "x.csv.gz", "x.txt", "dataset_info.json", "x.gz")] == [
        True, True, False, False, False
    ]  # fmt: skip


# -- the hub


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("owner/name", True), ("owner/name/main@v1.0", True), ("owner/name.jsonl", False), ("name", False),
        ("a/b/c/d", False), ("../name", False), ("tests/name", False), ("/owner/name", False),
    ],
)  # fmt: skip
def test_a_name_of_the_hub_is_told_from_a_path(text: str, is_one: bool) -> None:
    assert is_hub_name(text) is is_one


def test_the_parts_of_a_hub_name() -> None:
    assert HubName.parse("a/b/c@v1") == HubName(repository="a/b", configuration="c", revision="v1")
    assert HubName.parse("a/b") == HubName(repository="a/b", configuration=None, revision=None)


def test_a_data_set_of_the_hub_is_streamed_by_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder laid out as a repository stands for the hub."""
    (tmp_path / "owner" / "name").mkdir(parents=True)
    (tmp_path / "owner" / "name" / "train.jsonl").write_text(LINE * 2)
    monkeypatch.chdir(tmp_path)
    found = list(hub_records("owner/name"))
    assert [(str(item.place), item.columns) for item in found if isinstance(item, Record)] == [
        ("owner/name: record 1", ROW), ("owner/name: record 2", ROW)
    ]  # fmt: skip


def test_a_hub_that_cannot_be_reached_is_one_line() -> None:
    code = "from core.records.hub import hub_records; list(hub_records('owner/gone'))"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    said = done.stderr.strip().splitlines()[-1]
    assert "DataError: owner/gone: no such file or folder, and it cannot be had from the datasets hub" in said
