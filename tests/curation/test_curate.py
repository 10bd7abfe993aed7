import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from curation.curate import curate
from curation.errors import SelectionError, SourceError, StageError, TaskError
from curation.predict import Request
from curation.preset import CurationParameters
from curation.prompt import few_shot_prompt
from curation.score import Normaliser, ScoreParameters
from curation.select import SelectionRules
from curation.stage import read_json, read_jsonl
from curation.task import Example

DATA = Path(__file__).parents[1] / "data" / "tasks"
OTHERS = frozenset(["open-platypus", "openbookqa", "quac", "cnn_dailymail", "mathinstruct"])


class Oracle:
    """Right on the first half of the instances, wrong on the rest; counts its questions."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    @property
    def revision(self) -> str:
        return "oracle"

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        return True

    def complete(self, requests: Sequence[Request]) -> list[str | None]:
        self.prompts += [r.prompt for r in requests]
        return [r.references[0] if int(r.id.split("-")[1]) < 5 else "no idea" for r in requests]


def run(tmp_path: Path, *, tasks: Path = DATA, name: str = "run", redo: bool = False, **parameters: Any) -> Path:
    chosen = CurationParameters(**{"without": OTHERS | {"lima"}, "scale": 0.001, **parameters})
    return curate(run=tmp_path / name, tasks=tasks, predictor=Oracle(), parameters=chosen, redo=redo)


def rows(mix: Path) -> list[dict[str, Any]]:
    return [*read_jsonl(mix / "train.jsonl"), *read_jsonl(mix / "validation.jsonl")]


def test_an_instance_walks_from_its_file_to_a_row(tmp_path: Path) -> None:
    mix = run(tmp_path)
    by_id = {row["id"]: row for row in rows(mix)}
    assert by_id["task1-6"] == {
        "id": "task1-6",
        "source": "ni_exact_match",
        "task": "task1_even_or_odd",
        "licence": "Apache 2.0",
        "instruction": "Is the number even or odd? Answer even or odd.",
        "input": "16",
        "output": "even",
    }
    assert by_id["task2-7"]["output"] == "a small cat number 7"


def test_only_wrong_and_weak_answers_are_trained_on(tmp_path: Path) -> None:
    ids = {row["id"] for row in rows(run(tmp_path))}
    assert ids == {f"task1-{n}" for n in range(5, 12)} | {f"task2-{n}" for n in range(5, 10)}


def test_solved_rows_can_be_retained(tmp_path: Path) -> None:
    from curation.sample import SampleParameters

    ids = {row["id"] for row in rows(run(tmp_path, samples=SampleParameters(retain_share=0.04)))}
    assert len(ids & {f"task1-{n}" for n in range(5)}) == 5


def test_the_model_is_asked_in_the_published_layout(tmp_path: Path) -> None:
    oracle = Oracle()
    parameters = CurationParameters(without=OTHERS | {"lima"}, scale=0.001)
    curate(run=tmp_path / "run", tasks=DATA, predictor=oracle, parameters=parameters)
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
    parameters = CurationParameters(without=OTHERS | {"lima"}, scale=0.001)
    curate(run=tmp_path / "run", tasks=DATA, predictor=oracle, parameters=parameters)
    assert oracle.prompts == []
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.json*")} == before


def test_changed_parameters_reuse_what_they_do_not_touch(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(StageError, match="normaliser: normalised -> strict"):
        run(tmp_path, scores=ScoreParameters(normaliser=Normaliser.STRICT))
    oracle = Oracle()
    changed = CurationParameters(
        without=OTHERS | {"lima"}, scale=0.001, scores=ScoreParameters(normaliser=Normaliser.STRICT)
    )
    curate(run=tmp_path / "run", tasks=DATA, predictor=oracle, parameters=changed, redo=True)
    assert oracle.prompts == []  # predictions stand before scores


def test_the_same_inputs_give_the_same_bytes_in_another_folder(tmp_path: Path) -> None:
    first, second = run(tmp_path, name="a"), run(tmp_path, name="b")
    for name in ("train.jsonl", "validation.jsonl", "manifest.json", "summary.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_another_seed_gives_another_mix(tmp_path: Path) -> None:
    first, second = run(tmp_path, name="a"), run(tmp_path, name="b", seed=7)
    assert (first / "train.jsonl").read_bytes() != (second / "train.jsonl").read_bytes()


def test_a_task_list_replaces_the_rules_and_names_without_a_file_are_listed(tmp_path: Path) -> None:
    run(tmp_path, task_list=("task2_shorten", "task77_absent", "task4_title_v1"))
    summary = read_json(tmp_path / "run" / "01_tasks" / "summary.json")
    assert summary["details"]["listed_without_file"] == ["task77_absent"]
    assert [t["name"] for t in read_jsonl(tmp_path / "run" / "01_tasks" / "tasks.jsonl")] == [
        "task2_shorten",
        "task4_title-v1.2_x",
    ]


def test_a_shortfall_is_told_with_its_reason(tmp_path: Path) -> None:
    shortfalls = read_json(run(tmp_path, scale=0.01) / "summary.json")["details"]["shortfalls"]
    assert [(s["source"], s["target"], s["rows"]) for s in shortfalls] == [
        ("ni_exact_match", 500, 7),
        ("ni_generation", 500, 5),
    ]


def test_lima_is_taken_only_where_its_licence_is_allowed(tmp_path: Path) -> None:
    lima = tmp_path / "lima.jsonl"
    lima.write_text("".join(json.dumps({"conversations": [f"Q{n}", f"A{n}"]}) + "\n" for n in range(30)))
    refused = run(tmp_path, name="a", without=OTHERS)
    assert not any(row["source"] == "lima" for row in rows(refused))
    parameters = CurationParameters(without=OTHERS, scale=0.01, rules=SelectionRules(allow_non_commercial=True))
    mix = curate(run=tmp_path / "b", tasks=DATA, predictor=Oracle(), parameters=parameters, sources={"lima": lima})
    assert sum(row["source"] == "lima" for row in rows(mix)) == 10


def test_a_task_file_that_changes_under_the_run_is_noticed(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    shutil.copytree(DATA, tasks)
    run(tmp_path, tasks=tasks)
    path = tasks / "task2_shorten.json"
    path.write_text(path.read_text().replace("shorter", "longer"))
    with pytest.raises(StageError, match="tasks:"):
        run(tmp_path, tasks=tasks)


def test_a_task_file_that_changes_between_two_stages_is_noticed(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    shutil.copytree(DATA, tasks)

    class Meddler(Oracle):
        def complete(self, requests: Sequence[Request]) -> list[str | None]:
            path = tasks / "task2_shorten.json"
            path.write_text(path.read_text().replace("shorter", "longer"))
            return super().complete(requests)

    parameters = CurationParameters(without=OTHERS | {"lima"}, scale=0.001)
    with pytest.raises(TaskError, match="changed since it was selected"):
        curate(run=tmp_path / "run", tasks=tasks, predictor=Meddler(), parameters=parameters)


def test_a_missing_source_is_told_before_any_inference(tmp_path: Path) -> None:
    oracle = Oracle()
    parameters = CurationParameters(without=OTHERS, scale=0.001, rules=SelectionRules(allow_non_commercial=True))
    tasks = tmp_path / "tasks"
    shutil.copytree(DATA, tasks)
    with pytest.raises(SourceError, match="--source lima=FILE"):
        curate(run=tmp_path / "run", tasks=tasks, predictor=oracle, parameters=parameters)
    assert oracle.prompts == []


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
