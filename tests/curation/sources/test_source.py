from pathlib import Path

import pytest

from core.errors import SourceError
from core.files import file_sha256
from curation.sources.source import EPOCHS, MIXES, SOURCES, Located, locate, mix_targets

OTHERS = frozenset(["open-platypus", "openbookqa", "quac", "cnn_dailymail", "mathinstruct"])
ALL = frozenset(MIXES["200k"])


def no_hub(dataset: str, revision: str | None) -> str:
    raise AssertionError(f"the hub was asked for {dataset}")


def commit_of(dataset: str, revision: str | None) -> str:
    return f"{dataset} at {revision}"


def written(path: Path, text: str = "{}\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def tasks_in(folder: Path) -> Path:
    (folder / "tasks").mkdir(parents=True)
    return folder / "tasks"


def test_the_mixes_sum_to_the_papers_totals() -> None:
    assert {name: sum(counts.values()) for name, counts in MIXES.items()} == {
        "200k": 206_000,
        "400k": 389_000,
        "700k": 709_000,
    }
    assert set(EPOCHS) == set(MIXES)


def test_every_source_of_a_mix_but_ni_is_described() -> None:
    for counts in MIXES.values():
        assert set(counts) - {"ni_exact_match", "ni_generation"} == set(SOURCES)


def test_scale_and_without_shape_the_targets() -> None:
    assert mix_targets("200k", 0.01, OTHERS) == {"lima": 10, "ni_exact_match": 500, "ni_generation": 500}


def test_a_small_scale_leaves_one_row_of_each_source() -> None:
    assert set(mix_targets("200k", 1e-9, frozenset()).values()) == {1}


@pytest.mark.parametrize(
    ("mix", "scale", "without", "message"),
    [
        ("1m", 1.0, OTHERS, "unknown mix"),
        ("200k", 0.0, OTHERS, "not in"),
        ("200k", 2.0, OTHERS, "not in"),
        ("200k", float("nan"), OTHERS, "not in"),
        ("200k", 1.0, OTHERS | {"alpaca"}, "`without=alpaca`: unknown source"),
        ("200k", 1.0, ALL, "no source at all"),
    ],
)
def test_what_cannot_be_mixed_says_what_to_do(mix: str, scale: float, without: frozenset[str], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        mix_targets(mix, scale, without)


def test_a_given_file_is_pinned_by_its_hash(tmp_path: Path) -> None:
    file = written(tmp_path / "anywhere.jsonl")
    found = locate({"lima": 1}, near=[], given={"lima": str(file)}, hub=False, resolve=no_hub)
    assert found == {"lima": Located(name="lima", paths=(file,), hub="GAIR/lima", revision=file_sha256(file))}
    before = found["lima"].fingerprint()
    moved = file.rename(tmp_path / "elsewhere.jsonl")
    found = locate({"lima": 1}, near=[], given={"lima": str(moved)}, hub=False, resolve=no_hub)
    assert found["lima"].fingerprint() == before
    moved.write_text("[]\n")
    found = locate({"lima": 1}, near=[], given={"lima": str(moved)}, hub=False, resolve=no_hub)
    assert found["lima"].fingerprint() != before


@pytest.mark.parametrize("place", ["ni/lima/train.jsonl", "lima/train.parquet", "lima/lima.json"])
def test_a_source_is_found_beside_the_tasks_or_beside_their_parent(tmp_path: Path, place: str) -> None:
    tasks = tasks_in(tmp_path / "ni")
    file = written(tmp_path / place)
    written(file.parent / "README.md")
    found = locate({"lima": 1}, near=[tmp_path / "empty" / "tasks", tasks], given={}, hub=True, resolve=no_hub)
    assert found["lima"].paths == (file,)


def test_a_given_file_comes_before_one_beside_the_tasks(tmp_path: Path) -> None:
    tasks = tasks_in(tmp_path / "ni")
    written(tmp_path / "ni" / "lima" / "train.jsonl")
    other = written(tmp_path / "mine.jsonl")
    found = locate({"lima": 1}, near=[tasks], given={"lima": str(other)}, hub=False, resolve=no_hub)
    assert found["lima"].paths == (other,)


@pytest.mark.parametrize("first", ["test-00000-of-00001.parquet", "dataset_info.json"])
def test_of_several_files_beside_the_tasks_the_one_to_train_on_is_taken(tmp_path: Path, first: str) -> None:
    tasks = tasks_in(tmp_path / "ni")
    written(tmp_path / "ni" / "openbookqa" / first)
    train = written(tmp_path / "ni" / "openbookqa" / "train-00000-of-00001.parquet")
    found = locate({"openbookqa": 1}, near=[tasks], given={}, hub=False, resolve=no_hub)
    assert found["openbookqa"].paths == (train,)


@pytest.mark.parametrize(
    ("where", "hub", "revision"),
    [
        ("hub", "allenai/quac", "allenai/quac at refs/convert/parquet"),
        ("hub@abc", "allenai/quac", "allenai/quac at abc"),
        ("hub:my/quac", "my/quac", "my/quac at refs/convert/parquet"),
        ("hub:my/quac@abc", "my/quac", "my/quac at abc"),
    ],
)
def test_a_hub_source_is_pinned_to_the_commit_of_its_branch(where: str, hub: str, revision: str) -> None:
    found = locate({"quac": 1}, near=[], given={"quac": where}, hub=False, resolve=commit_of)
    assert found == {"quac": Located(name="quac", paths=(), hub=hub, revision=revision)}
    assert found["quac"].fingerprint() == {"from": hub, "revision": revision}


def test_the_hub_fills_in_only_what_is_not_found(tmp_path: Path) -> None:
    tasks = tasks_in(tmp_path / "ni")
    file = written(tmp_path / "ni" / "lima" / "train.jsonl")
    targets = {"ni_generation": 1, "lima": 1, "openbookqa": 1}
    found = locate(targets, near=[tasks], given={}, hub=True, resolve=commit_of)
    assert {name: at.paths or at.revision for name, at in found.items()} == {
        "lima": (file,),
        "openbookqa": "allenai/openbookqa at None",
    }


def test_the_order_of_what_is_given_does_not_matter(tmp_path: Path) -> None:
    lima, quac = written(tmp_path / "a.jsonl"), written(tmp_path / "b.jsonl", "x")
    there = locate(
        {"lima": 1, "quac": 1},
        near=[],
        given={"lima": str(lima), "quac": str(quac)},
        hub=False,
        resolve=no_hub,
    )
    back = locate(
        {"quac": 1, "lima": 1},
        near=[],
        given={"quac": str(quac), "lima": str(lima)},
        hub=False,
        resolve=no_hub,
    )
    assert list(there.items()) == list(back.items())


def test_ni_alone_needs_nothing_else() -> None:
    assert locate({"ni_exact_match": 1, "ni_generation": 1}, near=[], given={}, hub=False, resolve=no_hub) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"alpaca": "x.jsonl"}, "`source=alpaca`: not a source of this mix. Use lima, quac"),
        ({"ni_generation": "x.jsonl"}, "`source=ni_generation`: not a source"),
        ({"openbookqa": "hub"}, "`source=openbookqa`: not a source"),
        ({"lima": "nowhere.jsonl"}, "`source=lima=nowhere.jsonl`: no such file"),
        ({"lima": "."}, r"no \.jsonl, \.json or \.parquet in it"),
        ({"lima": "hub#main"}, "no such file"),
        ({"quac": "hub"}, r"beside the tasks: lima \(GAIR/lima\)\. .*`source=lima=FILE`.*`hub=true`.*`without=lima`\."),
        ({}, r"lima \(GAIR/lima\), quac \(allenai/quac\).*`without=lima,quac`"),
    ],
)
def test_a_source_that_cannot_be_had_says_what_to_do(tmp_path: Path, given: dict[str, str], message: str) -> None:
    targets = {"lima": 1, "quac": 1, "ni_generation": 1}
    with pytest.raises(SourceError, match=message) as e:
        locate(targets, near=[tasks_in(tmp_path / "ni")], given=given, hub=False, resolve=commit_of)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("where", ["hub_quac.json", "hub/quac.json"])
def test_a_file_whose_name_begins_with_hub_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / where)
    found = locate({"quac": 1}, near=[], given={"quac": where}, hub=False, resolve=no_hub)
    assert found["quac"].paths == (Path(where),)
