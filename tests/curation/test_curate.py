import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import SelectionError, StageError, TaskError
from core.files import read_json, read_jsonl
from core.generation.request import Answer, Request
from core.score import Normaliser, ScoreParameters
from curation.asking.adaptive import AdaptiveParameters
from curation.candidate import CandidateParameters
from curation.curate import curate
from curation.fit import FitParameters
from curation.mix import MixParameters
from curation.ni.few_shot import few_shot_prompt
from curation.ni.select import SelectionRules
from curation.ni.task import Example, ReadingParameters, TaskFile
from curation.policies.licence import LicencePolicy
from curation.policies.policy import PolicyParameters
from curation.preset import CurationParameters, preset
from curation.sources.source import Located
from curation.stages import pooling
from curation.stages import scores as scores_stage
from curation.stages import tasks as tasks_stage
from curation.stages.context import Curation
from oneday.display.console import Console
from oneday.display.curation_tables import show_curation

DATA = Path(__file__).parents[1] / "data" / "tasks"
OTHERS = frozenset(["open-platypus", "openbookqa", "quac", "cnn_dailymail", "mathinstruct"])


class Oracle:
    """Right on the first half of the instances, wrong on the rest; counts its questions."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    in_flight = 1
    keeps_answers = True

    @property
    def revision(self) -> str:
        return "oracle"

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        return True

    def complete(self, requests: Sequence[Request]) -> list[Answer]:
        self.prompts += [r.prompt for r in requests]
        return [r.references[0] if int(r.id.split("-")[1]) < 5 else "no idea" for r in requests]


_FIELDS = ("predictor", "workers", "suites", "sources", "tokenizer", "probe_losses")


def curation(tmp_path: Path, *, tasks: Path = DATA, name: str = "run", redo: bool = False, **given: Any) -> Curation:
    """A curation of the small tasks; what is no parameter is a field of `Curation`."""
    fields = {key: given.pop(key) for key in _FIELDS if key in given}
    policies = given.pop("policies", PolicyParameters(max_tokens=None))
    chosen = CurationParameters(**{"without": OTHERS | {"lima"}, "scale": 0.001, "policies": policies, **given})
    fields = {"predictor": Oracle(), **fields}
    return Curation(run=tmp_path / name, tasks=(tasks,), parameters=chosen, redo=redo, **fields)


def run(tmp_path: Path, **given: Any) -> Path:
    return curate(curation(tmp_path, **given))


def rows(mix: Path) -> list[dict[str, Any]]:
    return [*read_jsonl(mix / "train.jsonl"), *read_jsonl(mix / "validation.jsonl")]


def test_an_instance_walks_from_its_file_to_a_row(tmp_path: Path) -> None:
    mix = run(tmp_path)
    by_id = {row["id"]: row for row in rows(mix)}
    assert by_id["task1-6"] == {
        "id": "task1-6",
        "source": "ni_exact_match",
        "task": "task1_even_or_odd",
        "origin": "allenai/natural-instructions/task1_even_or_odd.json",
        "licence": "Apache 2.0",
        "spdx": "Apache-2.0",
        "language": "en",
        "llm_generated": False,
        "instruction": "Is the number even or odd? Answer even or odd.",
        "input": "16",
        "output": "even",
        "kind": "exact_match",
        "bucket": 4,
        "num_tokens": 0,
    }
    assert by_id["task2-7"]["output"] == "a small cat number 7"


def test_only_wrong_and_weak_answers_are_trained_on(tmp_path: Path) -> None:
    ids = {row["id"] for row in rows(run(tmp_path))}
    assert ids == {f"task1-{n}" for n in range(5, 12)} | {f"task2-{n}" for n in range(5, 10)}


def test_solved_rows_can_be_retained(tmp_path: Path) -> None:
    from curation.sample import SampleParameters

    ids = {row["id"] for row in rows(run(tmp_path, samples=SampleParameters(retain_share=0.1)))}
    assert len(ids & {f"task1-{n}" for n in range(5)}) == 5


def test_the_model_is_asked_in_the_published_layout(tmp_path: Path) -> None:
    oracle = Oracle()
    run(tmp_path, predictor=oracle)
    shots = [Example(input="a very big dog", output="a big dog")]
    assert few_shot_prompt("Say it shorter.", shots, "a very small cat number 0") in oracle.prompts


def tally_of(stage: Path, unit: str) -> dict[str, Any]:
    return read_json(stage / "summary.json")["tallies"][unit]


def test_every_stage_accounts_for_every_record_and_keeps_its_reasons(tmp_path: Path) -> None:
    run(tmp_path, instances_per_task=9)
    reasons: dict[str, list[str]] = {}
    folder = tmp_path / "run"
    for name, file, unit in (
        ("01_tasks", "tasks.jsonl", "task"),
        ("02_predictions", "predictions.jsonl", "instance"),
        ("03_scores", "scores.jsonl", "prediction"),
        ("04_samples", "rows.jsonl", "row"),
    ):
        assert len(list(read_jsonl(folder / name / file))) == tally_of(folder / name, unit)["kept"]
    chain = [("01_tasks", "instance"), ("02_predictions", "instance"), ("03_scores", "prediction")]
    chain += [("04_samples", "row"), ("05_mix", "row")]
    for (before, unit), (after, next_unit) in itertools.pairwise(chain):
        assert tally_of(folder / before, unit)["kept"] == tally_of(folder / after, next_unit)["read"]
    for folder in sorted((tmp_path / "run").glob("0*")):
        summary = read_json(folder / "summary.json")
        dropped = list(read_jsonl(folder / "dropped.jsonl"))
        for unit, tally in summary["tallies"].items():
            assert tally["read"] == tally["kept"] + sum(tally["dropped"].values())
            assert sum(tally["dropped"].values()) == sum(d["unit"] == unit for d in dropped)
        reasons[folder.name] = sorted({d["reason"] for d in dropped})
    assert reasons["01_tasks"] == ["language", "non_commercial", "not_asked"]
    assert reasons["04_samples"] == ["already_solved"]


def test_a_second_run_computes_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.json*")}
    oracle = Oracle()
    run(tmp_path, predictor=oracle)
    assert oracle.prompts == []
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.json*")} == before


def test_changed_parameters_reuse_what_they_do_not_touch(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(StageError, match="normaliser: words-and-numbers -> strict"):
        run(tmp_path, scores=ScoreParameters(normaliser=Normaliser.STRICT))
    oracle = Oracle()
    run(tmp_path, predictor=oracle, scores=ScoreParameters(normaliser=Normaliser.STRICT), redo=True)
    assert oracle.prompts == []  # predictions stand before scores


OUTPUTS = ("train.jsonl", "validation.jsonl", "train.parquet", "manifest.json", "summary.json", "report.html")


def test_the_same_inputs_give_the_same_bytes_in_another_folder(tmp_path: Path) -> None:
    first, second = run(tmp_path / "a"), run(tmp_path / "b")
    for name in OUTPUTS:
        assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("policies", [PolicyParameters(max_tokens=None), preset("birbal-scripts").policies])
def test_any_number_of_workers_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policies: PolicyParameters
) -> None:
    monkeypatch.setattr(scores_stage, "_CHUNK", 3)  # so that small data is shared out at all
    monkeypatch.setattr(pooling, "_FEW", 3)
    found = [run(tmp_path / str(workers), workers=workers, policies=policies) for workers in (1, 2, 4)]
    for name in OUTPUTS:
        assert len({(mix / name).read_bytes() for mix in found}) == 1


def test_the_order_and_the_folders_of_task_files_do_not_matter(tmp_path: Path) -> None:
    files = sorted(DATA.glob("*.json"))
    for number, file in enumerate(files):
        folder = tmp_path / f"folder{number}"
        folder.mkdir()
        shutil.copy(file, folder)
    folders = tuple(tmp_path / f"folder{n}" for n in range(len(files)))
    given = [replace(curation(tmp_path, name=name), tasks=t) for name, t in (("x/r", folders), ("y/r", folders[::-1]))]
    one, other = (curate(c) for c in given)
    whole = run(tmp_path / "z", name="r")
    for name in OUTPUTS:
        assert (one / name).read_bytes() == (other / name).read_bytes() == (whole / name).read_bytes()


def test_another_seed_gives_another_mix(tmp_path: Path) -> None:
    first, second = run(tmp_path, name="a"), run(tmp_path, name="b", seed=7, split=MixParameters(seed=7))
    assert (first / "train.jsonl").read_bytes() != (second / "train.jsonl").read_bytes()


def test_a_task_list_replaces_the_rules_and_names_without_a_file_are_listed(tmp_path: Path) -> None:
    run(tmp_path, task_list=("task2_shorten", "task77_absent", "task4_title_v1"))
    summary = read_json(tmp_path / "run" / "01_tasks" / "summary.json")
    assert summary["details"]["listed_without_file"] == ["task77_absent"]
    assert [t["name"] for t in read_jsonl(tmp_path / "run" / "01_tasks" / "tasks.jsonl")] == [
        "task2_shorten",
        "task4_title-v1.2_x",
    ]


def test_a_shortfall_is_told_with_target_best_reason_and_two_ways_out(tmp_path: Path) -> None:
    shortfalls = read_json(run(tmp_path, scale=0.01) / "summary.json")["details"]["shortfalls"]
    assert [(s["source"], s["target"], s["rows"], s["because"]) for s in shortfalls] == [
        ("ni_exact_match", 500, 7, {"already_solved": 5}),
        ("ni_generation", 500, 5, {"already_solved": 5}),
    ]
    assert shortfalls[0]["ways_out"] == [
        "`samples.retain_share=0.25` takes up to a quarter from 5 rows that the base already answers",
        "give more task files with `tasks=`: 493 rows are missing",
    ]


def lima(tmp_path: Path, num: int = 30) -> dict[str, Located]:
    path = tmp_path / "lima.jsonl"
    if not path.is_file():
        path.write_text("".join(json.dumps({"conversations": [f"Q{n}", f"A{n}"]}) + "\n" for n in range(num)))
    return {"lima": Located(name="lima", paths=(path,), hub="GAIR/lima", revision="r")}


ALL_LICENCES = PolicyParameters(max_tokens=None, licences=LicencePolicy.ALL)


def test_lima_is_taken_only_where_its_licence_is_allowed(tmp_path: Path) -> None:
    refused = run(tmp_path, name="a", without=OTHERS, sources=lima(tmp_path))
    assert not any(row["source"] == "lima" for row in rows(refused))
    mix = run(tmp_path, name="b", without=OTHERS, sources=lima(tmp_path), scale=0.01, policies=ALL_LICENCES)
    taken = [row for row in rows(mix) if row["source"] == "lima"]
    assert len(taken) == 10
    assert len({row["id"] for row in taken}) == 10
    assert all(row["output"] == f"A{row['instruction'][1:]}" and row["bucket"] is None for row in taken)
    tally = tally_of(tmp_path / "b" / "04_samples", "row")
    assert tally["read"] == 22 + 30
    assert tally["dropped"] == {"already_solved": 10, "over_quota": 20}


def test_what_policies_drop_is_replaced_from_the_same_source(tmp_path: Path) -> None:
    path = tmp_path / "lima.jsonl"
    talks = [[f"Q{n}", "" if n % 2 else f"A{n}"] for n in range(20)] + [["Q0", "A0"]] * 5
    path.write_text("".join(json.dumps({"conversations": talk}) + "\n" for talk in talks))
    mix = run(tmp_path, without=OTHERS, sources=lima(tmp_path), scale=0.01, policies=ALL_LICENCES)
    taken = sorted(row["instruction"] for row in rows(mix) if row["source"] == "lima")
    assert taken == sorted(f"Q{n}" for n in range(0, 20, 2))
    dropped = tally_of(tmp_path / "run" / "04_samples", "row")["dropped"]
    assert dropped["malformed"] == 10
    assert dropped["duplicate"] == 5


def test_the_scripts_drop_after_the_draw_and_replace_nothing(tmp_path: Path) -> None:
    policies = replace(preset("birbal-scripts").policies, licences=LicencePolicy.ALL)
    mix = run(tmp_path, without=OTHERS, sources=lima(tmp_path), scale=0.01, policies=policies)
    assert not [row for row in rows(mix) if row["source"] == "lima"]  # every question has one word
    dropped = list(read_jsonl(tmp_path / "run" / "04_samples" / "dropped.jsonl"))
    assert Counter(d["reason"] for d in dropped if d["source"] == "lima") == {"over_quota": 20, "short_input": 10}


@pytest.mark.parametrize("name", ["recommended", "birbal-paper", "birbal-scripts"])
def test_what_a_model_wrote_takes_no_place_in_a_quota(tmp_path: Path, name: str) -> None:
    path = tmp_path / "math.jsonl"
    parts = ["CoT/math50k_camel", "CoT/gsm_train", "CoT/math50k_camel", "CoT/aqua_rat"]
    records = [
        {
            "source": f"data/{parts[n % 4]}.json",
            "instruction": f"What do {n} and {n * n} and one make?",
            "output": f"{n}",
        }
        for n in range(400)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    mix = run(
        tmp_path,
        without=(OTHERS - {"mathinstruct"}) | {"lima"},
        sources={"mathinstruct": Located(name="mathinstruct", paths=(path,), hub="h", revision="r")},
        scale=0.003,
        policies=replace(preset(name).policies, max_tokens=None, min_input_words=0),
    )
    assert len([row for row in rows(mix) if row["source"] == "mathinstruct"]) == 150


def test_low_accuracy_tasks_give_no_row_in_the_papers_mix(tmp_path: Path) -> None:
    candidates = CandidateParameters(min_accuracy=0.6)
    mix = run(tmp_path, candidates=candidates)
    dropped = list(read_jsonl(tmp_path / "run" / "04_samples" / "dropped.jsonl"))
    low = {d["id"] for d in dropped if d["reason"] == "low_accuracy"}
    assert low == {f"task1-{n}" for n in range(12)}  # 5 of 12 right, the right ones too
    assert {row["source"] for row in rows(mix)} == {"ni_generation"}


def test_contradictory_answers_are_all_right_and_their_groups_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads((DATA / "task1_even_or_odd.json").read_text())
    texts = ["gru\u0308n?", "gr\u00fcn?", *(f"{n}?" for n in range(10))]
    document["Instances"] = [
        {"id": f"task1-{5 + n}", "input": text, "output": ["odd", "even"][n % 2]} for n, text in enumerate(texts)
    ]
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "task1_even_or_odd.json").write_text(json.dumps(document))

    class Odd(Oracle):
        def complete(self, requests: Sequence[Request]) -> list[Answer]:
            return ["odd" if r.id in ("task1-5", "task1-6") else "no idea" for r in requests]

    mix = run(tmp_path, tasks=tmp_path / "tasks", predictor=Odd())
    scores = {row["id"]: row["score"] for row in read_jsonl(tmp_path / "run" / "03_scores" / "scores.jsonl")}
    assert [scores["task1-5"], scores["task1-6"], scores["task1-7"]] == [1.0, 1.0, 0.0]
    details = read_json(tmp_path / "run" / "01_tasks" / "summary.json")["details"]
    assert details["contradictory_groups"] == {"task1_even_or_odd": 1}
    assert (
        "1 groups of equal inputs with different answers; each of them is accepted" in (mix / "report.html").read_text()
    )
    show_curation(tmp_path / "run", Console(json_line=False))
    assert "note: task1_even_or_odd: 1 groups of equal inputs with different answers" in capsys.readouterr().err


def test_solved_tasks_with_wrong_numbers_are_not_solved(tmp_path: Path) -> None:
    """Two tasks with every answer wrong once counted as solved and gave no row."""
    for name, texts in (("mean", ["1.5", "-2.5"]), ("lists", ["[-11, -8, 0]", "[3, -1, 7]"])):
        document = json.loads((DATA / "task1_even_or_odd.json").read_text())
        document["Definition"] = ["Calculate it."]
        document["Instances"] = [
            {"id": f"{name}-{n}", "input": f"{name} {n}", "output": texts[n % 2]} for n in range(12)
        ]
        (tmp_path / "tasks").mkdir(exist_ok=True)
        (tmp_path / "tasks" / f"task_{name}.json").write_text(json.dumps(document))

    class Signless(Oracle):
        def complete(self, requests: Sequence[Request]) -> list[Answer]:
            return [r.references[0].replace("-", "").replace(".", "") for r in requests]

    mix = run(tmp_path, tasks=tmp_path / "tasks", predictor=Signless())
    assert Counter(row["task"] for row in rows(mix)) == {"task_mean": 12, "task_lists": 12}


def test_near_duplicates_are_replaced_while_there_are_other_rows(tmp_path: Path) -> None:
    words = ["abcdefghij", "klmno", "pqrst", "uvwxy", "zabcd", "efghi", "jklmn", "opqrs", "tuvwx", "yzabc"]
    path = tmp_path / "lima.jsonl"
    talks = []
    for text in range(40):
        for variant in range(10):
            body = [f"{word}{text}" for word in words for _ in range(4)] + [f"end{variant}"]
            talks.append([" ".join(body), f"A{text}"])
    path.write_text("".join(json.dumps({"conversations": talk}) + "\n" for talk in talks))
    policies = replace(ALL_LICENCES, near_duplicates=0.9, degenerate=False, language=None)
    mix = run(tmp_path, without=OTHERS, sources=lima(tmp_path), scale=0.03, policies=policies)
    taken = [row["output"] for row in rows(mix) if row["source"] == "lima"]
    assert len(taken) == len(set(taken)) == 30


def test_a_row_that_repeats_a_suite_is_dropped_with_suite_and_span(tmp_path: Path) -> None:
    suite = tmp_path / "exam.jsonl"
    question = "which of these very long words would you say is the longest of them all here"
    suite.write_text(json.dumps({"question": question}) + "\n")
    path = tmp_path / "lima.jsonl"
    talks = [[f"Tell me, {question.upper()}?", "A"], ["Something else", "B"]]
    path.write_text("".join(json.dumps({"conversations": talk}) + "\n" for talk in talks))
    mix = run(
        tmp_path, without=OTHERS, sources=lima(tmp_path), suites={"exam": suite}, scale=0.01, policies=ALL_LICENCES
    )
    assert [row["output"] for row in rows(mix) if row["source"] == "lima"] == ["B"]
    dropped = [
        d for d in read_jsonl(tmp_path / "run" / "04_samples" / "dropped.jsonl") if d["reason"] == "contaminated"
    ]
    assert [(d["id"], d["detail"], d["stage"]) for d in dropped] == [
        ("lima-000001", f"exam:1: {question}", "04_samples")
    ]


def test_tokens_are_counted_and_bound_a_row(tmp_path: Path, demo_base: Path) -> None:
    tokenizer = demo_base / "tokenizer.json"
    mix = run(tmp_path, name="a", tokenizer=tokenizer, policies=PolicyParameters())
    counts = {row["id"]: row["num_tokens"] for row in rows(mix)}
    assert all(n > 0 for n in counts.values())
    limit = sorted(counts.values())[len(counts) // 2]
    bounded = run(tmp_path, name="b", tokenizer=tokenizer, policies=PolicyParameters(max_tokens=limit))
    assert {row["id"] for row in rows(bounded)} == {i for i, n in counts.items() if n <= limit}


def test_a_mix_is_sized_by_the_budget(tmp_path: Path, demo_base: Path) -> None:
    tokenizer = demo_base / "tokenizer.json"
    whole = sum(row["num_tokens"] for row in rows(run(tmp_path, name="a", tokenizer=tokenizer)))
    budget = FitParameters(budget_s=whole * 3 // 2, tokens_per_s=1.0)
    mix = run(tmp_path, name="b", tokenizer=tokenizer, fit=budget)
    fit = read_json(mix / "summary.json")["details"]["fit"]
    tokens = sum(row["num_tokens"] for row in rows(mix))
    assert fit["fills"]
    assert 0.8 * tokens <= fit["tokens"] < tokens  # some rows validate
    assert 0.8 * budget.tokens < fit["epochs"] * fit["tokens"] <= budget.tokens  # rows are few and long here


def test_a_task_file_that_changes_under_the_run_is_noticed(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    shutil.copytree(DATA, tasks)
    run(tmp_path, tasks=tasks)
    path = tasks / "task2_shorten.json"
    path.write_text(path.read_text().replace("shorter", "longer"))
    with pytest.raises(StageError, match="tasks:"):
        run(tmp_path, tasks=tasks)


def test_a_task_file_that_changes_between_two_stages_mixes_no_two_versions_and_is_noticed_next_time(
    tmp_path: Path,
) -> None:
    tasks = tmp_path / "tasks"
    shutil.copytree(DATA, tasks)

    class Meddler(Oracle):
        def complete(self, requests: Sequence[Request]) -> list[Answer]:
            path = tasks / "task2_shorten.json"
            path.write_text(path.read_text().replace("shorter", "longer"))
            return super().complete(requests)

    mix = run(tmp_path, tasks=tasks, predictor=Meddler())
    assert "longer" in (tasks / "task2_shorten.json").read_text()
    assert {row["instruction"] for row in rows(mix) if row["task"] == "task2_shorten"} == {"Say it shorter."}
    with pytest.raises(StageError, match="tasks:"):
        run(tmp_path, tasks=tasks)


def test_a_task_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = tmp_path / "tasks"
    shutil.copytree(DATA, tasks)
    read = tasks_stage.read_task

    def changed_before(path: Path, reading: ReadingParameters) -> TaskFile:
        path.write_text(path.read_text().replace("shorter", "longer"))
        return read(path, reading)

    monkeypatch.setattr(tasks_stage, "read_task", changed_before)
    with pytest.raises(TaskError, match=r"task2_shorten\.json: changed while it was read"):
        run(tmp_path, tasks=tasks)


def test_after_the_first_stage_no_task_file_is_read(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    shutil.copytree(DATA, tasks)

    class Remover(Oracle):
        def complete(self, requests: Sequence[Request]) -> list[Answer]:
            shutil.rmtree(tasks, ignore_errors=True)
            return super().complete(requests)

    mix = run(tmp_path, tasks=tasks, predictor=Remover())
    assert (mix / "train.jsonl").read_bytes() == (run(tmp_path, name="whole") / "train.jsonl").read_bytes()


def test_a_run_of_another_format_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    path = tmp_path / "run" / "01_tasks" / "inputs.json"
    path.write_text(json.dumps({key: value for key, value in read_json(path).items() if key != "format"}))
    with pytest.raises(StageError, match="format: None -> 4"):
        run(tmp_path)


def test_nothing_selected_says_which_rules_dropped_what(tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match="3 by category, 1 by language"):
        run(tmp_path, rules=SelectionRules(categories=frozenset({"Poetry"})))


def test_one_bad_file_stops_the_run_and_is_named(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    shutil.copytree(DATA, tasks)
    (tasks / "task5_bad.json").write_text("{")
    with pytest.raises(TaskError, match="task5_bad"):
        run(tmp_path, tasks=tasks)
    (tasks / "task5_bad.json").unlink()
    run(tmp_path, tasks=tasks)  # the same folder: the mend works


class Stubborn(Oracle):
    """Wrong in one task always, right in the others."""

    def complete(self, requests: Sequence[Request]) -> list[Answer]:
        self.prompts += [r.prompt for r in requests]
        return ["no idea" if r.task.endswith("hard") else r.references[0] for r in requests]


def numbers(folder: Path, name: str, num: int) -> None:
    task = {
        "Definition": [f"{name}: is the number even or odd? Answer even or odd."],
        "Categories": ["Question Answering"],
        **{f"{key}_language": ["English"] for key in ("Input", "Output", "Instruction")},
        "Instance License": ["MIT"],
        "Positive Examples": [],
        "Instances": [{"id": f"{name}-{n}", "input": f"{n}", "output": [("even", "odd")[n % 2]]} for n in range(num)],
    }
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(task))


def test_adaptive_asks_no_more_than_it_needs_and_accounts_for_the_rest(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    numbers(tasks, "task1_hard", 2_000)
    numbers(tasks, "task2_easy", 2_000)
    oracle = Stubborn()
    run(tmp_path, tasks=tasks, predictor=oracle, adaptive=AdaptiveParameters())
    summary = read_json(tmp_path / "run" / "02_predictions" / "summary.json")["tallies"]["instance"]
    buckets = {b["task"]: b["bucket"] for b in read_jsonl(tmp_path / "run" / "03_scores" / "buckets.jsonl")}
    assert buckets == {"task1_hard": 0, "task2_easy": 9}
    asked = {row["task"]: row["asked"] for row in read_jsonl(tmp_path / "run" / "02_predictions" / "populations.jsonl")}
    assert asked["task1_hard"] < 400
    assert asked["task2_easy"] < 400  # no row of it is usable: its quota is given up
    assert summary["read"] == 4_000
    assert summary["dropped"] == {"bucket_certain": 4_000 - sum(asked.values())}
    again = Stubborn()
    run(tmp_path, name="again", tasks=tasks, predictor=again, adaptive=AdaptiveParameters())
    assert len(oracle.prompts) == len(again.prompts) == sum(asked.values())


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.curation.test_curate import Oracle, curation
from curation.candidate import CandidateParameters
from curation.curate import curate

class Slow(Oracle):
    def complete(self, requests):
        time.sleep(0.15)
        return super().complete(requests)

print("ready", flush=True)
curate(curation(Path({folder!r}), tasks=Path({tasks!r}), predictor=Slow()))
"""


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_in_the_same_bytes(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    for number in range(4):
        numbers(tasks, f"task{number}_x", 300)
    whole = run(tmp_path / "whole", tasks=tasks)
    folder = tmp_path / "killed"
    code = KILLED.format(root=str(Path(__file__).parents[2]), folder=str(folder), tasks=str(tasks))
    for wait_s in (0.1, 0.7, 1.3):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(wait_s)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    num_shards = (folder / "run" / "answers.jsonl").read_bytes().count(b"\n")
    assert num_shards > 0
    oracle = Oracle()
    mix = run(folder, tasks=tasks, predictor=oracle)
    assert len(oracle.prompts) == max(0, 1_200 - 128 * num_shards)
    for name in OUTPUTS:
        assert (mix / name).read_bytes() == (whole / name).read_bytes()
