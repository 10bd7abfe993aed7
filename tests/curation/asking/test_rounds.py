"""Asking within a time, through the whole pipeline."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import StageError
from core.files import read_json, read_jsonl, write_json
from core.generation.request import Answer, Kind, Request
from curation.asking.adaptive import AdaptiveParameters
from curation.asking.round_record import StopReason, read_timing
from curation.candidate import CandidateParameters, References
from curation.curate import curate
from curation.sample import Control, SampleParameters
from curation.what_if import Alternatives
from tests.curation.test_curate import OUTPUTS, curation, numbers

SECONDS_PER_PROMPT = 1.0


class Timed:
    """Answers as a hash of the prompt says, right in a third of the prompts; its clock moves by each answer."""

    in_flight = 1
    keeps_answers = True
    revision = "timed"

    def __init__(self, fails_after: int | None = None) -> None:
        self.now_s, self.num, self._fails_after = 0.0, 0, fails_after

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        return True

    def complete(self, requests: Sequence[Request]) -> list[Answer]:
        if self._fails_after is not None and self.num >= self._fails_after:
            raise KeyboardInterrupt
        self.num += len(requests)
        self.now_s += SECONDS_PER_PROMPT * len(requests)
        return [r.references[0] if hashlib.sha256(r.prompt.encode()).digest()[0] < 85 else "" for r in requests]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    for n in range(3):
        numbers(tmp_path / "tasks", f"task{n}_numbers", 1_500)
    return tmp_path / "tasks"


def asked_within(folder: Path, tasks: Path, predictor: Timed, within_s: float | None, **changes: object) -> Path:
    made = curation(
        folder, tasks=tasks, predictor=predictor, adaptive=AdaptiveParameters(rounds=changes.pop("rounds", None))
    )  # type: ignore[arg-type]
    return curate(replace(made, within_s=within_s, clock=lambda: predictor.now_s, **changes))  # type: ignore[arg-type]


def test_a_time_limit_ends_the_rounds_and_a_repetition_of_their_number_gives_the_same_bytes(
    tmp_path: Path, tasks: Path
) -> None:
    predictor = Timed()
    mix = asked_within(tmp_path / "a", tasks, predictor, 1_000.0)
    timing = read_timing(tmp_path / "a" / "run")
    assert timing is not None
    assert timing.stopped is StopReason.TIME
    assert 700 < timing.seconds <= 1_000
    assert predictor.num == timing.asked == timing.seconds
    summary = read_json(tmp_path / "a" / "run" / "02_predictions" / "summary.json")
    assert summary["details"]["asking"]["asked"] == timing.asked
    assert summary["tallies"]["instance"]["dropped"] == {"time_is_up": 4_500 - timing.asked}
    rounds = read_json(mix / "manifest.json")["parameters"]["adaptive"]["rounds"]
    again = asked_within(tmp_path / "b", tasks, Timed(), None, rounds=rounds)
    for name in (*OUTPUTS, "manifest.json"):
        assert (again / name).read_bytes() == (mix / name).read_bytes()


def test_an_interrupted_run_asks_nothing_twice_and_ends_like_one_that_was_not(tmp_path: Path, tasks: Path) -> None:
    whole = asked_within(tmp_path / "a", tasks, Timed(), 1_000.0)
    first, second = Timed(fails_after=500), Timed()
    with pytest.raises(KeyboardInterrupt):
        asked_within(tmp_path / "b", tasks, first, 1_000.0)
    mix = asked_within(tmp_path / "b", tasks, second, 1_000.0)
    timing = read_timing(tmp_path / "b" / "run")
    assert timing is not None
    assert first.num + second.num == timing.asked
    for name in OUTPUTS:
        assert (mix / name).read_bytes() == (whole / name).read_bytes()


def test_a_finished_run_is_not_asked_again_and_another_limit_is_refused_until_redo_goes_on(
    tmp_path: Path, tasks: Path
) -> None:
    asked_within(tmp_path, tasks, Timed(), 1_000.0)
    rounds = len(list(read_jsonl(tmp_path / "run" / "asking.jsonl")))
    same = Timed()
    asked_within(tmp_path, tasks, same, 1_000.0)
    assert same.num == 0
    with pytest.raises(StageError, match="asking stopped after 1000 s"):
        asked_within(tmp_path, tasks, Timed(), 2_000.0)
    more = Timed()
    asked_within(tmp_path, tasks, more, 2_000.0, redo=True)
    timing = read_timing(tmp_path / "run")
    assert timing is not None
    assert 1_700 < timing.asked <= 2_000
    assert more.num < timing.asked
    assert len(list(read_jsonl(tmp_path / "run" / "asking.jsonl"))) > rounds


def test_a_finished_run_without_its_record_of_rounds_is_not_asked_again(tmp_path: Path, tasks: Path) -> None:
    mix = asked_within(tmp_path, tasks, Timed(), 1_000.0)
    before = (mix / "manifest.json").read_bytes()
    (tmp_path / "run" / "asking.jsonl").unlink()
    same = Timed()
    again = asked_within(tmp_path, tasks, same, 1_000.0)
    assert (same.num, (again / "manifest.json").read_bytes()) == (0, before)


def test_answers_of_equal_inputs_make_no_row_unusable(tmp_path: Path) -> None:
    """`single_only` counts the answers of an instance, when rows are counted as when they are drawn."""
    numbers(tmp_path / "tasks", "task9_pairs", 60)
    path = tmp_path / "tasks" / "task9_pairs.json"
    task = read_json(path)
    for number, instance in enumerate(task["Instances"]):
        instance |= {"input": f"What is there in row {number // 2}?", "output": [f"A tree and {number} birds."]}
    write_json(path, task)
    candidates = CandidateParameters(references=References.SINGLE_ONLY)
    made = curation(
        tmp_path, tasks=tmp_path / "tasks", predictor=Timed(), candidates=candidates, adaptive=AdaptiveParameters(),
        kinds={"task9_pairs": Kind.GENERATION},
    )  # fmt: skip
    curate(made)
    (population,) = read_jsonl(tmp_path / "run" / "02_predictions" / "populations.jsonl")
    assert 0 < population["usable"] <= population["asked"]


def test_other_inputs_are_refused_before_anything_is_asked(tmp_path: Path, tasks: Path) -> None:
    asked_within(tmp_path, tasks, Timed(), 1_000.0)
    other = Timed()
    other.revision = "another model"
    with pytest.raises(StageError, match="model"):
        asked_within(tmp_path, tasks, other, 1_000.0)
    assert other.num == 0


def test_what_another_choice_changes_is_told_from_the_rounds_that_were_asked(tmp_path: Path, tasks: Path) -> None:
    predictor = Timed()
    asked_within(tmp_path, tasks, predictor, 1_000.0)
    made = curation(tmp_path, tasks=tasks, predictor=Timed(), adaptive=AdaptiveParameters())
    alternatives = Alternatives(replace(made, within_s=1_000.0))
    changed = replace(alternatives.parameters, split=replace(made.parameters.split, seed=1))
    assert alternatives.change("split.seed", changed).num_rows == 0


def test_without_a_task_to_ask_there_is_nothing_to_wait_for(tmp_path: Path, tasks: Path) -> None:
    samples, predictor = SampleParameters(control=Control.RANDOM), Timed()
    made = curation(tmp_path, tasks=tasks, predictor=predictor, adaptive=AdaptiveParameters(), samples=samples)
    for _ in range(2):
        mix = curate(replace(made, within_s=100.0, clock=lambda: predictor.now_s))
        assert (mix / "train.jsonl").is_file()
    assert predictor.num == 0
