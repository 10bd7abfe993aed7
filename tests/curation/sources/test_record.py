import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from core.errors import OnedayError, SourceError
from core.stage import Dropped
from curation.preset import preset
from curation.sources.mapping import NO_ANSWER, PLATYPUS_LICENCES, OpenBookQA, RecordParameters
from curation.sources.record import read_source, records, resolve_on_hub
from curation.sources.source import SOURCES, Located, MixRow

DATA = Path(__file__).parents[2] / "data" / "sources"
ADA, BAND, EMPTY, MILL = range(4)
"""The dialogues of quac.parquet, in order: of three, two, no and one turn."""

OPENBOOKQA_CARD = """---
configs:
- config_name: additional
  data_files:
  - split: train
    path: additional/train-*
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: main/test-*
---
"""

MAIN_CARD = """---
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
---
"""

QUAC_CARD = """---
dataset_info:
  config_name: plain_text
  features:
  - name: dialogue_id
    dtype: string
  - name: wikipedia_page_title
    dtype: string
  - name: background
    dtype: string
  - name: section_title
    dtype: string
  - name: context
    dtype: string
  - name: turn_ids
    sequence: string
  - name: questions
    sequence: string
  - name: followups
    sequence:
      class_label:
        names:
          '0': y
          '1': n
          '2': m
  - name: yesnos
    sequence:
      class_label:
        names:
          '0': y
          '1': n
          '2': x
  - name: answers
    sequence:
    - name: texts
      sequence: string
    - name: answer_starts
      sequence: int32
  - name: orig_answers
    struct:
    - name: texts
      sequence: string
    - name: answer_starts
      sequence: int32
configs:
- config_name: plain_text
  data_files:
  - split: train
    path: plain_text/train-*
---
"""


def at(name: str, path: Path) -> Located:
    return Located(name=name, paths=(path,), hub=SOURCES[name].hub, revision="r")


def on_hub(name: str, folder: Path) -> Located:
    return Located(name=name, paths=(), hub=str(folder), revision="local")


def both(located: Located, parameters: RecordParameters | None = None) -> tuple[list[MixRow], list[Dropped]]:
    rows: list[MixRow] = []
    dropped: list[Dropped] = []
    for item in read_source(located, parameters or RecordParameters()):
        if isinstance(item, MixRow):
            rows.append(item)
        else:
            dropped.append(item)
    return rows, dropped


def fixture_rows(name: str, file: str, **parameters: Any) -> list[MixRow]:
    return both(at(name, DATA / file), RecordParameters(**parameters))[0]


def of(name: str, *given: dict[str, Any]) -> list[MixRow | Dropped]:
    located = at(name, Path("records"))
    return list(read_source(located, RecordParameters(), load=lambda _: iter(given)))


def texts(row: MixRow) -> tuple[str, str, str]:
    return row.instruction, row.input, row.output


def quac_texts(dialogue: int, turn: int) -> tuple[str, str]:
    """Input and output as they should be, by eye."""
    if dialogue == BAND:
        head = "Title: The Tin Band\nSection: Tours\nPassage: The band played in Oslo and in Turku.\n"
        where = "Question: Where did they play?"
        return [
            (f"{head}{where}", "in Oslo and in Turku."),
            (f"{head}{where}\nAnswer: in Oslo and in Turku.\nQuestion: Who was the drummer?", NO_ANSWER),
        ][turn]
    if dialogue == MILL:
        head = "Title: Old Mill\nSection: Use\nPassage: The mill ground rye until 1950.\n"
        return f"{head}Question: What did it grind?", "rye"
    head = (
        "Title: Ada Moor\nSection: Early work\nPassage: Moor sold her first boat in 1901. She moved to Kiel in 1904.\n"
    )
    sold, like, move = (
        "Question: When did she sell a boat?",
        "Question: Did she like Kiel?",
        "Question: When did she move?",
    )
    return [
        (f"{head}{sold}", "in 1901"),
        (f"{head}{sold}\nAnswer: in 1901\n{like}", NO_ANSWER),
        (f"{head}{sold}\nAnswer: in 1901\n{like}\nAnswer: {NO_ANSWER}\n{move}", "in 1904"),
    ][turn]


# -- the data sets


def test_lima_gives_the_first_turn_of_each_conversation() -> None:
    rows, dropped = both(at("lima", DATA / "lima.jsonl"))
    assert [texts(row) for row in rows] == [
        ("Why is the kettle singing?", "", "Steam is passing through its whistle."),
        ("Name a river.", "", "The Aller."),
        ("Is 3 < 5?", "", "Yes."),
    ]
    assert [row.id for row in rows] == ["lima-000001", "lima-000002", "lima-000004"]
    assert dropped == [
        Dropped(unit="row", id="lima-000003", reason="malformed", detail=f"{DATA / 'lima.jsonl'}: record 3")
    ]
    first = rows[0]
    assert (first.source, first.task, first.origin) == ("lima", "lima", "GAIR/lima#1")
    assert (first.licence, first.spdx, first.llm_generated) == ("CC BY-NC-SA", "LicenseRef-CC-BY-NC-SA", False)


def test_platypus_tells_its_parts_their_licences_and_who_wrote_them() -> None:
    rows = fixture_rows("open-platypus", "open-platypus.parquet")
    assert len(rows) == 10
    assert {row.task.removeprefix("open-platypus/"): row.licence for row in rows} == PLATYPUS_LICENCES
    assert [row.task.removeprefix("open-platypus/") for row in rows if row.llm_generated] == [
        "airoboros",
        "leetcode_ne",
        "guanaco",
        "tigerbot-kaggle",
    ]
    assert [row.spdx for row in rows[:4]] == ["MIT", "NOASSERTION", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"]
    assert texts(rows[0]) == ("Question 1 of MATH/PRM-800K?", "", "Answer 1.")
    assert texts(rows[1]) == ("Question 2 of reclor?", "Choose A, B, C or D as your solution.", "C")


def test_a_part_of_platypus_that_nobody_knows_has_no_known_licence() -> None:
    (row,) = of("open-platypus", {"instruction": "q", "input": None, "output": "a", "data_source": "new"})
    assert isinstance(row, MixRow)
    assert (row.task, row.licence, row.spdx, row.input) == ("open-platypus/new", "Unknown", "NOASSERTION", "")


def test_openbookqa_lists_the_options_and_answers_with_the_text() -> None:
    rows, dropped = both(at("openbookqa", DATA / "openbookqa.parquet"))
    assert [(row.input, row.output) for row in rows] == [
        ("A candle gives\nA. rain\nB. light\nC. wool\nD. sound", "light"),
        ("Which of these floats?\nA. a nail\nB. a coin\nC. a brick\nD. a cork", "a cork"),
    ]
    assert rows[0].instruction == rows[1].instruction != ""
    assert (rows[0].language, rows[0].licence) == ("en", "Unknown")
    assert [d.id for d in dropped] == ["openbookqa-000003"]  # its key names no option


def test_openbookqa_bears_the_winners_instruction_where_it_is_asked_for() -> None:
    assert preset("birbal-paper").records.openbookqa is preset("birbal-scripts").records.openbookqa is OpenBookQA.WINNER
    rows = fixture_rows("openbookqa", "openbookqa.parquet", openbookqa=OpenBookQA.WINNER)
    assert {row.instruction for row in rows} == {
        "You are given an incomplete sentence along with a few reference completions. Only one of the reference "
        "completion is coherent and correct based on the context in sentence and all other reference completions are "
        "incorrect. Your task is to choose best matching completion from reference options and return that."
    }


def test_options_without_as_many_labels_are_malformed() -> None:
    choices = {"text": ["a", "b"], "label": ["A"]}
    (dropped,) = of("openbookqa", {"question_stem": "q", "choices": choices, "answerKey": "A"})
    assert isinstance(dropped, Dropped)


@pytest.mark.parametrize("file", ["quac.parquet", "quac_v0.2.json"])
def test_quac_asks_each_of_its_turns_with_those_before_it(file: str) -> None:
    turns = {ADA: 3, BAND: 2, MILL: 1}
    seen: dict[int, set[tuple[str, str]]] = {dialogue: set() for dialogue in turns}
    for seed in range(20):
        for row, dialogue in zip(fixture_rows("quac", file, seed=seed), turns, strict=True):
            seen[dialogue].add((row.input, row.output))
            assert NO_ANSWER in row.instruction
    assert seen == {d: {quac_texts(d, turn) for turn in range(num)} for d, num in turns.items()}


def test_both_layouts_of_quac_give_the_same_rows() -> None:
    assert both(at("quac", DATA / "quac.parquet"))[0] == both(at("quac", DATA / "quac_v0.2.json"))[0]


@pytest.mark.parametrize("file", ["quac.parquet", "quac_v0.2.json"])
def test_a_dialogue_without_questions_is_malformed(file: str) -> None:
    rows, dropped = both(at("quac", DATA / file))
    assert [row.id for row in rows] == ["quac-000001", "quac-000002", "quac-000004"]
    assert [(d.id, d.reason) for d in dropped] == [("quac-000003", "malformed")]


def test_the_seed_makes_quac_turns_reproducible() -> None:
    drawn = [[row.input for row in fixture_rows("quac", "quac.parquet", seed=seed)] for seed in (1, 1, 2, 3, 4, 5)]
    assert drawn[0] == drawn[1]
    assert any(inputs != drawn[0] for inputs in drawn[2:])


def test_a_dialogue_draws_its_turn_whatever_stands_before_it() -> None:
    whole = list(records(at("quac", DATA / "quac.parquet")))
    changed = [{**whole[BAND], "questions": whole[BAND]["questions"] * 3}, *whole[1:]]
    assert of("quac", *whole)[1:] == of("quac", *changed)[1:]


def test_cnn_dailymail_keeps_the_lines_of_its_highlights() -> None:
    rows, dropped = both(at("cnn_dailymail", DATA / "cnn_dailymail.parquet"))
    assert [(row.input, row.output) for row in rows] == [
        (
            "(CNN) -- A goat walked into the town hall of Brenz on Monday. It left by noon.",
            "Goat visits town hall.\nIt left by noon.",
        ),
        ("The ferry to Holm is free this week, the harbour office said.", "Ferry to Holm is free this week."),
    ]
    assert (rows[0].spdx, rows[0].language) == ("Apache-2.0", "en")
    assert [d.id for d in dropped] == ["cnn_dailymail-000002"]  # no highlights


def test_mathinstruct_marks_what_a_model_wrote() -> None:
    rows = fixture_rows("mathinstruct", "mathinstruct.json")
    assert [row.llm_generated for row in rows] == [False] * 3 + [True] * 5
    assert [row.task for row in rows[:5]] == [
        "mathinstruct/CoT/gsm_train",
        "mathinstruct/CoT/aqua_rat",
        "mathinstruct/CoT/MATH_train",
        "mathinstruct/CoT/math50k_camel",
        "mathinstruct/CoT/gsm_rft",
    ]
    assert texts(rows[0]) == ("Tom has 3 Apples and buys 4. How many?", "", "3 + 4 = 7\nThe answer is 7")


def test_the_human_parts_of_mathinstruct_have_their_own_licences() -> None:
    rows = fixture_rows("mathinstruct", "mathinstruct.json")[:4]
    assert [(row.licence, row.spdx) for row in rows] == [
        ("MIT", "MIT"),
        ("Apache 2.0", "Apache-2.0"),
        ("MIT", "MIT"),
        ("CC BY-NC 4.0", "CC-BY-NC-4.0"),
    ]


def test_the_other_parts_of_mathinstruct_have_the_licences_of_its_card() -> None:
    rows = {row.task: row.licence for row in fixture_rows("mathinstruct", "mathinstruct.json")}
    assert rows["mathinstruct/CoT/gsm_rft"] == "Unknown"  # "Non listed"
    assert rows["mathinstruct/PoT/aqua_rat_filtered"] == "Apache 2.0"


def test_answers_of_mathinstruct_that_are_programs_are_left_out() -> None:
    _, dropped = both(at("mathinstruct", DATA / "mathinstruct.json"))
    assert [(d.id, d.reason) for d in dropped] == [
        ("mathinstruct-000008", "program"),
        ("mathinstruct-000009", "program"),
    ]


def test_human_and_generated_parts_of_one_file_name_are_told_apart() -> None:
    rows = fixture_rows("mathinstruct", "mathinstruct.json")
    written_by = {(row.task, row.llm_generated) for row in rows if "MATH_train" in row.task}
    assert len({task for task, _ in written_by}) == len(written_by) == 2


def math_output(output: str) -> str:
    (row,) = of("mathinstruct", {"source": "data/CoT/gsm_train.json", "instruction": "q", "output": output})
    assert isinstance(row, MixRow)
    return row.output


def test_a_bare_number_after_hashes_is_cut_from_a_mathinstruct_answer() -> None:
    assert math_output("3 + 4 = 7\nThe answer is 7\n#### 7") == "3 + 4 = 7\nThe answer is 7"


def test_an_answer_in_words_after_hashes_stays() -> None:
    assert math_output("3 + 4 = 7\n#### 7\nThe answer is: 7") == "3 + 4 = 7\nThe answer is: 7"


def test_a_share_of_math_questions_is_lower_cased_and_no_answer_is() -> None:
    as_is = fixture_rows("mathinstruct", "mathinstruct.json")
    lowered = fixture_rows("mathinstruct", "mathinstruct.json", lower_case_math=1.0)
    assert [row.instruction for row in lowered] == [row.instruction.lower() for row in as_is]
    assert [row.output for row in lowered] == [row.output for row in as_is]
    question = {"source": "data/CoT/gsm_train.json", "instruction": "Q", "output": "a"}

    def some(seed: int) -> list[str]:
        parameters = RecordParameters(lower_case_math=0.3, seed=seed)
        located = at("mathinstruct", Path("records"))
        rows = read_source(located, parameters, load=lambda _: iter([question] * 200))
        return [row.instruction for row in rows if isinstance(row, MixRow)]

    assert 40 <= Counter(some(1))["q"] <= 80
    assert some(1) == some(1)
    assert some(1) != some(2)


@pytest.mark.parametrize(
    ("name", "file"),
    [("lima", "lima.jsonl"), ("open-platypus", "open-platypus.parquet"), ("mathinstruct", "mathinstruct.json")],
)
def test_a_question_can_stand_as_the_input_where_it_has_none(name: str, file: str) -> None:
    as_is = fixture_rows(name, file)
    moved = fixture_rows(name, file, question_as_input=True)
    assert [texts(row) for row in moved] == [
        (row.instruction, row.input, row.output) if row.input else ("", row.instruction, row.output) for row in as_is
    ]


def test_a_source_with_inputs_of_its_own_keeps_its_instruction() -> None:
    as_input = fixture_rows("openbookqa", "openbookqa.parquet", question_as_input=True)
    assert as_input == fixture_rows("openbookqa", "openbookqa.parquet")


# -- what is wrong with a record or a file

GOOD = {"conversations": ["q", "a"], "source": "nlp"}


@pytest.mark.parametrize(
    "conversations",
    [
        None,
        5,
        [],
        ["q"],
        ["q", " "],
        [" ", "a"],
        ["q", None],
        [None, "a"],
        ["q", 7],
        ["q", "\ud83d"],
        ["\ud83d", "a"],
        [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
    ],
)
def test_a_malformed_record_is_dropped_and_the_next_is_read(conversations: Any) -> None:
    found = of("lima", GOOD, {"conversations": conversations}, GOOD)
    assert [type(item) for item in found] == [MixRow, Dropped, MixRow]
    assert found[1] == Dropped(unit="row", id="lima-000002", reason="malformed", detail="records: record 2")


def test_a_record_that_lacks_a_column_is_dropped_after_a_good_one() -> None:
    assert [type(item) for item in of("lima", GOOD, {"source": "nlp"})] == [MixRow, Dropped]


def test_a_conversation_that_is_one_text_is_malformed() -> None:
    assert [type(item) for item in of("lima", GOOD, {"conversations": "Hello there"})] == [MixRow, Dropped]


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_file_of_another_data_set_is_refused_with_its_columns(name: str) -> None:
    with pytest.raises(SourceError, match=f"its first record has a, b, not .*`source={name}`") as e:
        of(name, {"b": 1, "a": 2})
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("x.csv", b"a,b\n", "unknown kind of file"),
        ("x.jsonl", b"\n", "no record in it"),
        ("x.json", b"[]", "no record in it"),
        ("x.json", b"{", "not JSON of a known layout"),
        ("x.json", b"\xff", "not JSON of a known layout"),
        ("x.json", b'{"rows": []}', "not a list of records"),
        ("x.json", b"[1]", "not a list of records"),
        ("x.json", b'{"data": [{"title": "a"}]}', "not JSON of a known layout"),
        ("x.json", b'{"data": 5}', "not JSON of a known layout"),
        ("x.parquet", b"PAR1", "not Parquet"),
        ("x.jsonl", b'{"conversations":["q","a"]}\n{\n', r"x\.jsonl:2: not JSON"),
    ],
)
def test_an_unreadable_file_says_what_to_do(tmp_path: Path, file: str, content: bytes, message: str) -> None:
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(OnedayError, match=message) as e:
        both(at("lima", path))
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)


def test_a_file_may_go_by_any_of_the_three_suffixes(tmp_path: Path) -> None:
    rows = list(records(at("cnn_dailymail", DATA / "cnn_dailymail.parquet")))
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "x.json").write_text(json.dumps(rows))
    expected = fixture_rows("cnn_dailymail", "cnn_dailymail.parquet")
    assert both(at("cnn_dailymail", tmp_path / "x.jsonl"))[0] == expected
    assert both(at("cnn_dailymail", tmp_path / "x.json"))[0] == expected


def test_lima_is_read_whole(shared_data: Path) -> None:
    rows, dropped = both(at("lima", shared_data / "lima" / "lima.en.jsonl"))
    assert (len(rows), dropped) == (1_030, [])
    assert len({row.id for row in rows}) == 1_030


# -- the hub


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The `datasets` library, with its cache in the test's folder and no way out."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(cache))
    import datasets

    # both are read once, at the first import, which another test may have done
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield cache
    datasets.enable_progress_bars()


def hub_folder(folder: Path, card: str, files: dict[str, str]) -> Path:
    """A folder laid out like a data set's repository: README.md and place -> fixture."""
    folder.mkdir()
    (folder / "README.md").write_text(card)
    for place, fixture in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DATA / fixture, folder / place)
    return folder


def same_but_place(rows: list[MixRow], dropped: list[Dropped]) -> tuple[list[MixRow], list[tuple[str, str]]]:
    return rows, [(d.id, d.reason) for d in dropped]


@pytest.mark.parametrize(
    ("name", "fixture", "place", "card"),
    [
        ("lima", "lima.jsonl", "train.jsonl", ""),
        ("open-platypus", "open-platypus.parquet", "data/train-00000-of-00001-4fe2df04.parquet", ""),
        ("openbookqa", "openbookqa.parquet", "main/train-00000-of-00001.parquet", MAIN_CARD),
        ("quac", "quac.parquet", "plain_text/train-00000-of-00001.parquet", QUAC_CARD),
        (
            "cnn_dailymail",
            "cnn_dailymail.parquet",
            "3.0.0/train-00000-of-00001.parquet",
            "---\nconfigs:\n- config_name: 3.0.0\n  data_files:\n  - split: train\n    path: 3.0.0/train-*\n---\n",
        ),
        ("mathinstruct", "mathinstruct.json", "MathInstruct.json", ""),
    ],
)
def test_a_hub_data_set_gives_the_rows_of_its_file(
    tmp_path: Path, offline: Path, name: str, fixture: str, place: str, card: str
) -> None:
    folder = hub_folder(tmp_path / name, card, {place: fixture})
    from_hub = same_but_place(*both(on_hub(name, folder)))
    assert from_hub == same_but_place(*both(at(name, DATA / fixture)))
    assert any(offline.iterdir())  # and nowhere else


def test_the_configuration_and_the_split_of_a_source_are_read_and_no_other(tmp_path: Path, offline: Path) -> None:
    main = "main/train-00000-of-00001.parquet"
    folder = hub_folder(tmp_path / "openbookqa", OPENBOOKQA_CARD, {main: "openbookqa.parquet"})
    only_first = pyarrow.parquet.read_table(DATA / "openbookqa.parquet").slice(0, 1)
    for other in ("main/test-00000-of-00001.parquet", "additional/train-00000-of-00001.parquet"):
        (folder / other).parent.mkdir(exist_ok=True)
        pyarrow.parquet.write_table(only_first, folder / other)
    assert [row.output for row in both(on_hub("openbookqa", folder))[0]] == ["light", "a cork"]


@pytest.mark.parametrize("content", [{}, {"train.json": b"{"}, {"train-00000.parquet": b"no"}])
def test_a_hub_data_set_that_cannot_be_read_is_one_line(
    tmp_path: Path, offline: Path, content: dict[str, bytes]
) -> None:
    folder = tmp_path / "GAIR"
    folder.mkdir()
    for file, data in content.items():
        (folder / file).write_bytes(data)
    with pytest.raises(SourceError, match="cannot be had from the datasets hub") as e:
        both(on_hub("mathinstruct", folder))
    assert str(folder) in str(e.value)
    assert "\n" not in str(e.value)


def test_a_clone_with_a_loading_script_is_read_past_it_or_refused(tmp_path: Path, offline: Path) -> None:
    folder = hub_folder(tmp_path / "lima", "", {"train.jsonl": "lima.jsonl"})
    (folder / "lima.py").write_text("# a loading script\n")
    try:
        rows, _ = both(on_hub("lima", folder))
    except SourceError as e:
        assert "lima.py" in str(e)  # noqa: PT017
    else:
        assert len(rows) == 3


def test_a_local_folder_stands_for_its_files(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "quac", QUAC_CARD, {"plain_text/train-00000-of-00001.parquet": "quac.parquet"})
    before = resolve_on_hub(str(folder), None)
    shutil.copy(DATA / "openbookqa.parquet", folder / "plain_text" / "train-00000-of-00001.parquet")
    assert resolve_on_hub(str(folder), None) != before


def test_a_local_folder_is_resolved_without_the_hub(tmp_path: Path) -> None:
    assert resolve_on_hub(str(tmp_path), None)


def said_with(tmp_path: Path, *statements: str, **environment: str) -> list[str]:
    """Returns the lines of what the statements raise in a process with these settings, which are read at import."""
    script = "from curation.sources.record import *\nfrom curation.sources.source import Located\n"
    for statement in statements:
        script += f"try: {statement}\nexcept Exception as e: print(f'{{type(e).__name__}}: {{e}}')\n"
    settings = {**os.environ, "HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), **environment}
    run = subprocess.run([sys.executable, "-c", script], env=settings, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


RESOLVE = "resolve_on_hub('allenai/quac', 'refs/convert/parquet')"
RECORDS = "list(records(Located(name='{name}', paths=(), hub='{hub}', revision='abc')))"


def test_offline_the_hub_is_not_asked_and_the_message_names_the_switch(tmp_path: Path) -> None:
    (said,) = said_with(tmp_path, RESOLVE, HF_HUB_OFFLINE="1")
    assert said.startswith("SourceError: allenai/quac: cannot be had from the datasets hub (")
    assert "HF_HUB_OFFLINE" in said
    assert "`source=NAME=FILE`" in said
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_the_hub_is_a_user_error(tmp_path: Path) -> None:
    hubs = {"lima": "GAIR/lima", "quac": "allenai/quac"}
    asked = [RECORDS.format(name=name, hub=hub) for name, hub in hubs.items()]
    said = said_with(tmp_path, RESOLVE, *asked, HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9")
    begins = [f"SourceError: {hub}: cannot be had from the datasets hub (" for hub in ("allenai/quac", *hubs.values())]
    assert [line[: len(begin)] for line, begin in zip(said, begins, strict=True)] == begins


@pytest.mark.parametrize("dataset", ["my/own/quac", "not a name"])
def test_a_name_that_is_no_data_set_is_a_user_error(dataset: str) -> None:
    with pytest.raises(SourceError, match=dataset):
        resolve_on_hub(dataset, None)
