import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.files import read_jsonl
from core.score import Normaliser, ScoreParameters
from curation.curate import curate
from curation.policies.policy import PolicyParameters
from curation.preset import PRESETS, CurationParameters, with_choice
from curation.what_if import Alternatives, stored_changes, variants
from tests.curation.test_curate import Oracle, curation


@pytest.fixture
def finished(tmp_path: Path) -> Alternatives:
    made = curation(tmp_path)
    curate(made)
    return Alternatives(made)


def ids(run: Path) -> set[str]:
    return {row["id"] for row in read_jsonl(run / "04_samples" / "rows.jsonl")}


def test_a_change_counts_the_rows_that_a_real_run_would_change(tmp_path: Path, finished: Alternatives) -> None:
    mine = curation(tmp_path).parameters
    longer = replace(mine, policies=replace(mine.policies, max_words=10))
    change = finished.change("shorter", longer)
    curate(replace(curation(tmp_path, name="other"), parameters=longer))
    before, after = ids(tmp_path / "run"), ids(tmp_path / "other")
    assert change.num_rows == max(len(before - after), len(after - before)) > 0


def test_the_run_itself_is_left_as_it_was(tmp_path: Path, finished: Alternatives) -> None:
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    list(finished.changes(PRESETS["birbal-scripts"]))
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_what_decides_the_questions_cannot_be_told_without_the_model(tmp_path: Path, finished: Alternatives) -> None:
    changes = {c.what: c for c in finished.changes(PRESETS["birbal-scripts"])}
    assert changes["prompts.shot_order"].num_rows is None
    assert "needs the model" in changes["prompts.shot_order"].note
    assert "validate" in changes["split.stratified"].note
    told = {key: c for key, c in changes.items() if not key.startswith(("prompts.", "split."))}
    assert {key: c.note for key, c in told.items() if c.num_rows is None} == {
        "rules.licences": "asks 1 more instances: needs the model"  # of a task that was left out
    }


def test_a_stricter_normaliser_moves_a_task(tmp_path: Path) -> None:
    class Shouting(Oracle):
        def complete(self, requests):  # type: ignore[no-untyped-def]
            return [str(a).upper() for a in super().complete(requests)]

    made = curation(tmp_path, predictor=Shouting())
    curate(made)
    strict = replace(made.parameters, scores=ScoreParameters(normaliser=Normaliser.STRICT))
    change = Alternatives(made).change("strict", strict)
    assert change.moved_tasks == ("task1_even_or_odd",)
    assert change.num_rows == 5  # those that were right in capitals


def test_another_seed_and_every_other_score_are_tried_one_at_a_time() -> None:
    mine = CurationParameters(policies=PolicyParameters(max_tokens=None))
    names = [name for name, _ in variants(mine)]
    assert names == [
        "normaliser strict", "normaliser stripped", "normaliser normalised", "rouge rouge-score", "rouge rouge",
        "rouge text cleaned", "empty scores reference", "draw with seed 2024", "draw with seed 2025",
    ]  # fmt: skip


def test_another_number_of_shots_is_compared_on_the_instances_asked_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    rows = [
        {
            "task": "t",
            "id": f"i{n}",
            "references": ["a red fox"],
            "prediction": "a red fox" if k and n else "no",
            "shots": k,
        }
        for n in range(4)
        for k in (0, 2)
    ] + [{"task": "t", "id": "i9", "references": ["x"], "prediction": "x", "shots": 2}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    p = CurationParameters()
    change = next(c for c in stored_changes(path, p.scores, p.buckets) if "shots" in c.what)
    assert (change.what, change.moved_share, change.note) == ("t: 0 shots for 2", 0.75, "4 instances asked both ways")


def test_real_predictions_say_how_far_another_rouge_moves_them(real_data: Path) -> None:
    p = CurationParameters()
    path = real_data / "gpt3-predictions" / "predictions.jsonl"
    changes = {c.what: c for c in stored_changes(path, p.scores, p.buckets)}
    assert 0.2 < changes["rouge rouge"].moved_share < 0.8
    assert sum("shots" in what for what in changes) >= 1


def test_a_choice_taken_alone_differs_in_that_choice() -> None:
    one = with_choice(PRESETS["recommended"], "scores.normaliser", PRESETS["birbal-scripts"])
    assert one.scores == ScoreParameters(normaliser=Normaliser.STRICT)
