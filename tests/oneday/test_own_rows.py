"""The user's own rows from file to table: their name, all of them or a share, and none of the paper's sources."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.files import read_json, read_jsonl
from curation.curate import curate
from evaluation.held_out import held_out_questions, score_answer
from harness.data.dataset import prepare_dataset
from harness.reproduce import Verdict, compare_curations
from oneday.cli import main
from oneday.demo.demo import DEMO_BASE
from oneday.requests.curation_call import curation_again
from submission.export.model_card import _data
from tests.curation.test_curate import DATA as NI_TASKS
from tests.oneday.own_rows import letters, write_rows

pytestmark = pytest.mark.slow  # a real model is asked, thousands of times

SOLVED = {"instruction": "Write the first word.", "output": "apple"}
"""The demo base can do it."""

WITHOUT = "lima,open-platypus,openbookqa,quac,cnn_dailymail,mathinstruct"

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`oneday curate` with the demo base in a folder of its own; returns exit code and all that was printed.

    The name of a question comes first.
    """
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object, base: Path = DEMO_BASE) -> tuple[int, str]:
        question = [str(word) for word in arguments[:1] if word in ("diff", "stability")]
        with pytest.raises(SystemExit) as e:
            main(["curate", *question, "--base", str(base), *map(str, arguments[len(question) :])])
        said = capsys.readouterr()
        assert isinstance(e.value.code, int)
        return e.value.code, said.err + said.out

    return command


def rows_of(run: str | Path) -> list[dict[str, Any]]:
    mix = Path(run) / "05_mix"
    return [*read_jsonl(mix / "train.jsonl"), *read_jsonl(mix / "validation.jsonl")]


@pytest.mark.parametrize("num", [8, 50, 500])
def test_own_rows_alone_need_no_source_of_the_paper(tmp_path: Path, run: Run, num: int) -> None:
    write_rows(tmp_path / "mine.jsonl", letters(num))
    code, said = run("--tasks", "mine.jsonl")
    assert code == 0, said
    assert {row["source"] for row in rows_of("runs/mine")} == {"mine"}
    assert len(rows_of("runs/mine")) == num - 3
    assert f"mine gives {num - 3} of {num} rows (3 used_as_example). Ways out: --take-all keeps every row" in said
    for word in ("--scale", "lima", "ni_", "NI exact match", "50,000"):
        assert word not in said
    assert ("validation rows, losses of checkpoints differ by chance" in said) == (num < 160)


def test_the_papers_sources_are_wanted_where_its_mix_is(tmp_path: Path, run: Run) -> None:
    write_rows(tmp_path / "mine.jsonl", letters(8))
    for mix in (["--mix", "200k"], ["--preset", "birbal-paper"]):
        code, said = run("--tasks", "mine.jsonl", *mix, "--run", "runs/paper")
        assert (code, "not found beside the tasks: lima (GAIR/lima)" in said) == (2, True)
    code, said = run("--tasks", "mine.jsonl", "--hub")
    assert (code, "--hub: no source is requested. Give --mix 200k, or --source" in said) == (2, True)
    assert not (tmp_path / "runs" / "mine").exists()


def test_a_source_that_is_named_is_taken_without_a_mix(tmp_path: Path, run: Run) -> None:
    write_rows(tmp_path / "mine.jsonl", letters(8))
    platypus = [{"instruction": f"Count to {n}.", "output": f"1 to {n}", "data_source": "x"} for n in range(40)]
    write_rows(tmp_path / "platypus.jsonl", platypus)
    code, said = run("--tasks", "mine.jsonl", "--source", "open-platypus=platypus.jsonl", "--scale", "0.0004")
    assert code == 0, said
    counts = read_json(Path("runs/mine/05_mix/summary.json"))["details"]["rows_by_source"]
    assert counts == {"mine": 5, "open-platypus": 10}, "of Table 1's rows a part, of one's own all"
    code, said = run("--tasks", "mine.jsonl", "--source", "platypus=platypus.jsonl", "--run", "runs/other")
    assert (code, "--source platypus: not a source of a mix. Use lima, open-platypus," in said) == (2, True)


def test_every_table_calls_them_by_their_files_name(tmp_path: Path, run: Run) -> None:
    name = "our letters_2024"
    write_rows(tmp_path / f"{name}.jsonl", [*letters(40), *letters(40, sort=True)])
    rows = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
    write_rows(tmp_path / f"{name}.jsonl", [row | {"id": str(n)} for n, row in enumerate(rows)])
    code, said = run("--tasks", f"{name}.jsonl", "--tasks", NI_TASKS, "--run", "runs/both")
    assert code == 0, said
    drawn = [row for row in rows_of("runs/both") if row["source"] == name]
    assert {row["kind"] for row in drawn} == {"exact_match", "generation"}
    assert {row["origin"] for row in drawn} == {f"own data: {name}"}
    assert f"{name} gives {len(drawn)} of 80 rows" in said
    manifest = read_json(Path("runs/both/manifest.json"))["curate"]
    assert manifest["counts"]["rows_by_source"][name] == len(drawn)
    samples = read_json(Path("runs/both/04_samples/summary.json"))["details"]
    assert (samples["targets"][name], samples["drawn"][name]) == (80, len(drawn))
    assert len(drawn) + sum(samples["lost"][name].values()) == 80, "every row is accounted for"
    page = Path("runs/both/05_mix/report.html").read_text()
    assert name in page
    assert "own_our_letters_2024_001" in page
    assert f"| {name} | {len(drawn)} |" in _data(manifest)
    questions = [q for q in held_out_questions(Path("runs/both/05_mix"), 1_000) if q.group == name]
    assert {q.exact for q in questions if q.instruction.startswith("Name the department")} == {True}
    labels = [q for q in questions if q.exact]
    assert [score_answer(q, f" {q.reference.capitalize()}.\n") for q in labels] == [1.0] * len(labels)


def test_all_rows_are_kept_and_nothing_is_asked(tmp_path: Path, run: Run) -> None:
    solved = [{**SOLVED, "input": f"apple {n}", "output": "apple"} for n in range(9)]
    rows = [*letters(20), *letters(1)[:0], *solved, {**SOLVED, "input": "apple 1", "output": "apple"}]
    write_rows(tmp_path / "mine.jsonl", rows)
    base = Path(shutil.copytree(DEMO_BASE, tmp_path / "base"))
    (base / "model.safetensors").write_bytes(b"cannot be loaded")
    near = ["--set", "policies.near_duplicates=none"]
    code, said = run("--tasks", "mine.jsonl", "--take-all", *near, base=base)
    assert code == 0, said
    assert "the base makes no predictions: every row of your own is kept" in said
    found = rows_of("runs/mine")
    assert len(found) == 29, "policies still hold: the last row repeats another"
    assert all(row["bucket"] is None for row in found)
    assert "mine gives 29 of 30 rows (1 duplicate)." in said
    page = Path("runs/mine/05_mix/report.html").read_text()
    assert "own, not asked" in page
    with pytest.raises(SystemExit) as e:
        main(["verify", "runs/mine"])
    assert e.value.code == 0
    for question in (["stability"], ["diff", "birbal-paper"]):
        code, said = run(*question, "--tasks", "mine.jsonl", "--take-all", *near, base=base)
        assert (code, "error" in said) == (0, False), said
    code, said = run("--tasks", "mine.jsonl", "--take-all", "--dry-run", base=base)
    assert (code, "no predictions: every row of your own is kept" in said) == (0, True)


def test_what_the_base_solves_is_left_out_unless_all_are_taken(tmp_path: Path, run: Run) -> None:
    words = ("apple", "lamp", "saw", "door", "hat", "cup", "pen", "fish", "tree", "ring", "boat", "leaf")
    instruction = "Write the first word of the list."
    solved = [
        {"instruction": instruction, "input": f"{a}, {b}, {c}", "output": a}
        for a, b, c in zip(words, words[3:] + words[:3], words[5:] + words[:5], strict=True)
    ]
    write_rows(tmp_path / "mine.jsonl", [*solved, *letters(12)])
    code, said = run("--tasks", "mine.jsonl")
    assert code == 0, said
    lost = read_json(Path("runs/mine/04_samples/summary.json"))["details"]["lost"]["mine"]
    assert lost["already_solved"] > 0
    code, said = run("--tasks", "mine.jsonl", "--take-all", "--run", "runs/all")
    assert (code, len(rows_of("runs/all"))) == (0, 24)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_own_rows_are_the_share_that_was_asked_for(tmp_path: Path, run: Run, share: float) -> None:
    write_rows(tmp_path / "mine.jsonl", letters(40))
    common = ["--tasks", NI_TASKS, "--tasks", "mine.jsonl", "--own-share", share]
    code, said = run(*common)
    assert code == 0, said
    found = rows_of("runs/mine")
    own = sum(row["source"] == "mine" for row in found)
    assert own / len(found) == pytest.approx(share, abs=0.5 / min(own, len(found) - own))
    assert f"rows of your own: {own / len(found):.1%} of the mix\n" in said
    code, said = run(*common, "--take-all", "--run", "runs/all")
    kept = rows_of("runs/all")
    assert sum(row["source"] == "mine" for row in kept) == 40
    if 40 / len(kept) > share + 0.01:
        assert f"rows of your own: {40 / len(kept):.1%} of the mix, not the requested {share:.1%}" in said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--tasks", "mine.jsonl", "--own-share", "0.3"], "--own-share 0.3: nothing to mix your rows with. Give NI"),
        (["--tasks", NI_TASKS, "--own-share", "0.3"], "--own-share: no rows of your own in --tasks. Give JSON lines"),
        (["--tasks", NI_TASKS, "--take-all"], "--take-all: no rows of your own in --tasks. Give JSON lines"),
        (["--tasks", "mine.jsonl", "--own-share", "1"], "--own-share 1.0: not in (0, 1). 0.3 makes your rows three"),
        (["--tasks", "mine.jsonl", "--tasks", NI_TASKS, "--own-share", "0.3", "--fit", "1h", "--tokens-per-s", "9"],
         "--own-share with --fit: both determine the number of other rows"),
        (["--tasks", "lima.jsonl"], "lima.jsonl: lima is the name of a source of the paper's mix. Rename the file."),
    ],
)  # fmt: skip
def test_what_cannot_be_met_is_one_line(tmp_path: Path, run: Run, given: list[object], message: str) -> None:
    for name in ("mine", "lima"):
        write_rows(tmp_path / f"{name}.jsonl", letters(8))
    code, said = run(*given)
    assert (code, said.splitlines()[-1].startswith(f"error: {message}")) == (2, True), said


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"language": "fr"}, [], "8 rows of mine: no task is left (1 by language; language: French). --language CODE"),
        ({"licence": "CC BY-NC 4.0"}, [], "no task is left (1 by non_commercial; non commercial: CC BY-NC 4.0). --lic"),
        ({"input": "word " * 3_000}, [], "none of 5 instances has a prediction (5 prompt_too_long; each in runs/mine"),
        ({"input": "word " * 3_000}, ["--take-all"], "no row is left to train on (mine: 8 too_long). Way out: --set"),
        ({"instruction": "Write the first word of the list.", "input": "apple, lamp, saw", "output": "apple"}, [],
         "no row is left to train on (mine: 5 already_solved, 3 used_as_example). Way out: --take-all keeps every row"),
        ({"output": "\ufffd\ufffd"}, [], "no row is left to train on (mine: 5 degenerate, 3 used_as_example). Way out"),
    ],
)  # fmt: skip
def test_no_rows_names_what_took_them(
    tmp_path: Path, run: Run, change: dict[str, str], options: list[str], message: str
) -> None:
    write_rows(tmp_path / "mine.jsonl", [row | change for row in letters(8)])
    code, said = run("--tasks", "mine.jsonl", *options)
    assert code == 2
    assert message in said.splitlines()[-1], said


def test_the_way_out_of_no_rows_is_one(tmp_path: Path, run: Run) -> None:
    row = {"instruction": "Write the first word of the list.", "input": "apple, lamp, saw", "output": "apple"}
    write_rows(tmp_path / "mine.jsonl", [*[row] * 8, *letters(1)])
    assert run("--tasks", "mine.jsonl")[0] == 2
    assert run("--tasks", "mine.jsonl", "--take-all", "--redo")[0] == 0


def test_rows_of_ones_own_are_asked_whole_and_whatever_a_task_list_says(tmp_path: Path, run: Run) -> None:
    write_rows(tmp_path / "mine.jsonl", letters(40))
    (tmp_path / "list.txt").write_text("task3_translate\ntask1_even_or_odd\n")
    both = ["--tasks", NI_TASKS, "--tasks", "mine.jsonl"]
    code, said = run(*both, "--task-list", "list.txt", "--instances-per-task", "2", "--adaptive")
    assert code == 0, said
    asked = {row["task"]: row["num_scores"] for row in read_jsonl(Path("runs/mine/03_scores/buckets.jsonl"))}
    assert asked == {"own_mine_001": 37, "task1_even_or_odd": 2, "task3_translate": 1}


@pytest.mark.parametrize("options", [[], ["--take-all"]])
def test_a_mix_of_own_rows_is_made_again_without_their_file(tmp_path: Path, run: Run, options: list[str]) -> None:
    write_rows(tmp_path / "mine.jsonl", letters(30))
    tasks = Path(shutil.copytree(NI_TASKS, tmp_path / "ni"))
    assert run("--tasks", "ni", "--tasks", "mine.jsonl", *options)[0] == 0
    (tmp_path / "mine.jsonl").unlink()
    moved = tasks.rename(tmp_path / "elsewhere")
    recorded = tmp_path / "runs" / "mine"
    section = read_json(recorded / "manifest.json")["curate"]
    again = curation_again(
        recorded, section, run=tmp_path / "again", tasks=(moved,), base=DEMO_BASE, redo=False
    )  # fmt: skip
    figures = compare_curations(section, read_json(curate(again) / "manifest.json"))
    assert {f.verdict for f in figures} == {Verdict.EQUAL}, figures


def test_the_papers_rules_do_not_leave_out_what_nobody_taught_the_base(tmp_path: Path, run: Run) -> None:
    write_rows(tmp_path / "mine.jsonl", letters(40, sort=True))
    code, said = run("--tasks", "mine.jsonl", "--preset", "birbal-paper", "--without", WITHOUT, "--run", "runs/mine")
    assert code == 0, said
    assert {row["kind"] for row in rows_of("runs/mine")} == {"exact_match"}


def test_a_budget_is_filled_with_own_rows_first(tmp_path: Path, run: Run) -> None:
    write_rows(tmp_path / "mine.jsonl", letters(60))
    fit = ["--tokens-per-s", "100", "--train-share", "1"]
    both = ["--tasks", NI_TASKS, "--tasks", "mine.jsonl"]
    code, said = run(*both, "--fit", "4m", *fit)
    assert code == 0, said
    counts = read_json(Path("runs/mine/05_mix/summary.json"))["details"]["rows_by_source"]
    assert counts["mine"] == 57
    assert sum(counts.values()) > 57
    code, said = run("--tasks", "mine.jsonl", "--fit", "10h", *fit, "--run", "runs/alone")
    assert (code, "the sources have too few rows to fill the budget" in said) == (0, True), said
    assert "200k" not in said, "the paper's mixes have no row of these"


def test_far_more_questions_than_rows_are_told_before_they_are_asked(tmp_path: Path, run: Run) -> None:
    write_rows(tmp_path / "mine.jsonl", letters(8))
    instances = [{"id": f"t-{n}", "input": f"word {n}", "output": ["word"]} for n in range(400)]
    task = {"Definition": ["Say it."], "Categories": ["Summarization"], "Instances": instances}
    task |= {f"{what}_language": ["English"] for what in ("Input", "Output", "Instruction")}
    (tmp_path / "ni").mkdir()
    (tmp_path / "ni" / "task9_words.json").write_text(json.dumps(task))
    both = ["--tasks", "ni", "--tasks", "mine.jsonl", "--dry-run", "--prompts-per-s", "9"]
    code, said = run(*both, "--own-share", "0.5")
    assert code == 0, said
    assert "note: 400 NI prompts for at most 5 NI rows beside 5 of your own; --instances-per-task 25 reduces" in said
    assert "NI questions" not in run(*both)[1]


def test_a_dialogue_is_asked_for_its_last_answer_and_trained_whole(tmp_path: Path, run: Run, demo_base: Path) -> None:
    talks = [
        {
            "id": f"talk-{n}",
            "messages": [
                {"role": "user", "content": f"Order {n} is late."},
                {"role": "assistant", "content": f"I look order {n} up."},
                {"role": "user", "content": "And now?"},
                {"role": "assistant", "content": f"Order {n} comes today."},
            ],
        }
        for n in range(12)
    ]
    write_rows(tmp_path / "talks.jsonl", talks)
    code, said = run("--tasks", "talks.jsonl")
    assert code == 0, said
    rows = rows_of("runs/talks")
    assert {row["id"] for row in rows} == {f"talks-talk-{n}" for n in range(12)}
    first = next(row for row in rows if row["id"] == "talks-talk-3")
    assert first["instruction"] == "User: Order 3 is late.\n\nAssistant: I look order 3 up.\n\nUser: And now?"
    assert first["messages"] == talks[3]["messages"]
    asked = list(read_jsonl(Path("runs/talks/02_predictions/predictions.jsonl")))
    assert len(asked) == 12
    dataset = prepare_dataset(Path("runs/talks/05_mix"), base=demo_base, sequence_len=512, out=tmp_path / "data")
    assert dataset.chat_template.startswith("chat template: ChatML")
    sample = (tmp_path / "data" / "sample.txt").read_text()
    assert sample.count("comes today.<|im_end|>]]") == 3
    assert sample.count(" up.<|im_end|>]]") == 3


def test_own_rows_are_kept_whole_and_others_are_added_by_tokens(tmp_path: Path, run: Run) -> None:
    write_rows(tmp_path / "mine.jsonl", letters(300))
    sums = [{"question": f"What is {n} plus {n * 7}?", "answer": f"The sum is {n * 8}."} for n in range(400)]
    write_rows(tmp_path / "sums.jsonl", sums)
    tasks = ["--tasks", "mine.jsonl", "--tasks", "sums.jsonl"]
    code, said = run(*tasks, "--add", "sums:20%", "--set", "policies.near_duplicates=none")
    assert code == 0, said
    details = read_json(Path("runs/mine/05_mix/summary.json"))["details"]
    assert details["rows_by_source"]["mine"] == 300
    of_sums = sum(n for key, n in details["tokens_by_task"].items() if key.startswith("sums/"))
    assert of_sums / details["tokens"] == pytest.approx(0.2, abs=0.005)
    assert "tokens by source: mine 80.0%, sums 20.0%; wanted sums 20.0%" in said
    code, said = run(*tasks, "--add", "ni:20%", "--run", "runs/ni")
    assert (code, "--add ni:…: no row of it can be drawn. Rows were found of: mine, sums" in said) == (2, True)
    code, said = run(*tasks, "--add", "sums:60%", "--add", "mine:50%", "--run", "runs/more")
    assert (code, "add up to less than 1; own rows are the rest" in said) == (2, True)
