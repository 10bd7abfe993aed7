"""What the benchmarks of the real model compute from what they record."""

import json
from pathlib import Path

import pytest

from benchmarks.real.asking import PEER, report, requests
from benchmarks.real.division import divide, read_tasks
from benchmarks.real.learning_rate import regret
from benchmarks.real.scores import compared, documents, helm_scores
from benchmarks.real.selection import State
from benchmarks.real.training import largest_difference, tokens_per_s
from core.files import make_folder, write_json
from tests.benchmarks.test_real import PARAMETERS, tasks  # noqa: F401


def test_regret_is_the_loss_above_the_best_training() -> None:
    tokens = [2, 4, 2]
    grid = {"0.001": {"sums": [2.0, 4.0, 2.0], "tokens": tokens}, "0.01": {"sums": [4.0, 8.0, 4.0], "tokens": tokens}}
    chosen = {"sums": [3.0, 4.0, 2.0], "tokens": tokens}
    found = regret(chosen, {**grid, "chosen": chosen})
    assert (found["best"], found["value"], found["interval"][0]) == ("0.001", 0.125, 0.0)  # type: ignore[index]
    assert regret(grid["0.001"], {**grid, "chosen": grid["0.001"]})["value"] == 0.0


def test_speed_leaves_the_first_steps_and_the_padding_out() -> None:
    recorded = {"times": [10.0, 20.0, 22.0, 24.0], "tokens": [900, 900, 1_000, 600]}
    assert tokens_per_s(recorded, "times") == 400.0


@pytest.mark.parametrize(
    ("theirs", "message"), [([1.0, 2.0], "differs by"), ([1.0], "not comparable"), ([], "not comparable")]
)
def test_contenders_that_train_differently_are_not_compared(theirs: list[float], message: str) -> None:
    assert largest_difference([1.0, 3.0], [1.0, 3.0], "losses") == 0.0
    with pytest.raises(SystemExit, match=message):
        largest_difference([1.0, 3.0], theirs, "losses")


def test_prompts_of_a_task_stand_together(tasks: Path) -> None:  # noqa: F811
    found = requests(tasks, 10, 4, lambda prompt, num: True)
    assert [len(list(names)) for names in ([r.task for r in found][:4], [r.task for r in found][8:])] == [4, 2]
    assert [len({r.task for r in found[start : start + 4]}) for start in (0, 4, 8)] == [1, 1, 1]
    assert [r.id for r in found] == [r.id for r in requests(tasks, 10, 4, lambda prompt, num: True)]


def test_only_blocks_that_all_have_answered_count(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "answers")
    write_json(tmp_path / "prompts.json", {"prompts": 4})
    write_json(tmp_path / "left_out.json", {"llama_cpp": "not installed"})
    for block, name, cpu_s, texts in (
        ("000", PEER, 8.0, ["a", "b"]), ("000", "oneday", 2.0, ["a", "c"]), ("001", PEER, 1.0, ["a", "b"]),
    ):  # fmt: skip
        write_json(folder / f"{block}-{name}.json", {"seconds": 2 * cpu_s, "cpu_s": cpu_s, "texts": texts, "ids": []})
    found = report(State(tmp_path))
    assert (found["blocks"], found["answered"]) == (1, 2)
    ours = found["contenders"]["oneday"]  # type: ignore[index]
    assert (ours["times_one_by_one"], ours["equal_answers"], ours["prompts_per_cpu_s"]) == (4.0, 0.5, 1.0)


def test_documents_are_the_held_out_questions_with_their_labels(tasks: Path) -> None:  # noqa: F811
    found = documents(divide(read_tasks(tasks), PARAMETERS))
    assert {row["ni_task"] for row in found} == {"task1_a", "task3_a", "task5_a"}
    assert all(row["labels"] == ["no", "yes"] and row["labels"][row["gold"]] == row["answer"] for row in found)  # type: ignore[index]


def test_helm_instances_are_paired_by_their_ids(tmp_path: Path) -> None:
    def out(name: str, means: dict[str, float]) -> Path:
        folder = make_folder(tmp_path / name / "benchmark_output" / "runs" / "simple" / "simple_mcqa")
        (folder / "run_spec.json").write_text(json.dumps({"name": "simple_mcqa:x", "groups": ["simple_mcqa"]}))
        (folder / "scenario_state.json").write_text(json.dumps({"request_states": []}))
        (folder / "stats.json").write_text(
            json.dumps([{"name": {"name": "exact_match", "split": "test"}, "mean": 0.5}])
        )
        stats = [
            {"instance_id": i, "train_trial_index": 0, "stats": [{"name": {"name": "exact_match"}, "mean": mean}]}
            for i, mean in means.items()
        ]
        (folder / "per_instance_stats.json").write_text(json.dumps(stats))
        return tmp_path / name

    base, tuned = out("base", {"id1": 0.0, "id2": 1.0, "id3": 0.0}), out("tuned", {"id2": 1.0, "id3": 1.0, "id4": 1.0})
    found = compared(helm_scores(tuned), helm_scores(base))["simple_mcqa"]
    assert (found["base"], found["tuned"], found["difference"]["questions"]) == (0.5, 1.0, 2)  # type: ignore[index]
