"""Mixes that are chosen by what a base gets wrong, and controls, at equal tokens and without the held-out tasks."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from core.files import read_jsonl
from core.generation.engine import Engine
from core.generation.request import Answer, Request
from core.model.token_counter import TokenCounter
from oneday.demo.tasks import write_corpus
from studies.data import Curated
from studies.errors import StudyError
from studies.running.choosing import chosen_mix
from studies.running.prepare import prepare
from studies.study import Study, find_study, read_study
from tests.curation.test_curate import Oracle
from tests.studies.fakes import FakeEvaluator, FakeRunner, Machine

SMALL = {
    "tokens": 6000,
    "rows": 400,
    "instances_per_task": 20,
    "held_out_tasks": 4,
    "questions_per_task": 5,
}


class HalfRight(Oracle):
    """Right on every other instance."""

    def complete(self, requests: Sequence[Request]) -> list[Answer]:
        self.prompts += [request.prompt for request in requests]
        return [request.references[0] if int(request.id[-1]) % 2 else "no idea" for request in requests]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "tasks"
    write_corpus(folder)
    return folder


def test_arms_have_equal_tokens_and_controls_do_not_ask(tasks: Path, demo_base: Path, tmp_path: Path) -> None:
    asked: list[HalfRight] = []

    def load(engine: Engine) -> HalfRight:
        asked.append(HalfRight())
        return asked[-1]

    def mix(control: str, **changes: object) -> Path:
        data = Curated.model_validate({"build": "curate", "source": "ni", "control": control, **SMALL, **changes})
        return chosen_mix(
            data,
            tasks=tasks,
            base=demo_base,
            folder=tmp_path / f"{control}{len(changes)}",
            held_out_seed=7,
            seed=7,
            build=load,
        )

    counter = TokenCounter.load(demo_base)
    chosen = {}
    for control in ("none", "random", "balanced"):
        rows = list(read_jsonl(mix(control) / "train.jsonl"))
        tokens = sum(counter.count_rows([(row["instruction"], row["input"], row["output"]) for row in rows]))
        assert 0.97 * 6000 < tokens <= 6000
        chosen[control] = {row["id"] for row in rows}
    assert len(asked) == 1
    assert len(asked[0].prompts) <= 20 * len(list(tasks.glob("*.json")))
    assert not any(int(i[-1]) % 2 for i in chosen["none"]), "only what the base gets wrong"
    assert any(int(i[-1]) % 2 for i in chosen["random"])
    assert chosen["random"] != chosen["balanced"]
    mix("none")
    assert len(asked) == 1, "an unchanged mix is not made again"
    with pytest.raises(StudyError, match=r"control balanced: the .* chosen rows have .* tokens and not 900,000"):
        mix("balanced", tokens=900_000)


@pytest.mark.slow
def test_the_shipped_study_is_prepared_by_one_call(tasks: Path, demo_base: Path, tmp_path: Path) -> None:
    """The real base is asked; the trainer is a fake."""
    changes = {"base": str(demo_base), "data_folder": str(tasks.parent), "card": "rtx4090"}
    stage = {f"sft.data.{key}": value for key, value in {**SMALL, "instances_per_task": 4, "tokens": 1500}.items()}
    study: Study = read_study(find_study(Path("choosing")), changes={**changes, **stage})
    machine, folder = Machine(), tmp_path / "run"
    evaluator = FakeEvaluator(machine, lambda identity: 1.0, lambda metric, generation: 0.5)
    context = prepare(study, folder=folder, runner=FakeRunner(machine, lambda i: 1.0), evaluator=evaluator)
    questions = list(read_jsonl(study.items(study.suites["held-out"], folder)))
    held_out = {question["task"] for question in questions}
    assert (len(held_out), len(questions)) == (4, 20)
    assert len(context.mixes) == 3
    for mix in context.mixes.values():
        assert held_out.isdisjoint(row["task"] for row in read_jsonl(mix.path / "train.jsonl"))
