"""What comes before the clock: a budget that holds not even the anchor, and suites whose items are not here."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.errors import OnedayError
from oneday.commands.studying.evaluator import CommandEvaluator
from studies.estimate import Measured
from studies.graph import Training
from studies.running.prepare import prepare
from studies.selection import Selection
from studies.study import Study, find_study, read_study
from tests.studies.fakes import FakeRunner, Machine
from tests.studies.studies import SMALL, study_of


@dataclass
class MeasuringRunner(FakeRunner):
    """Every kind of training runs at 100 tokens a second."""

    def prepare(self, training: Training, *, base: Path, mix: Path, tokens: int) -> Measured | None:
        return Measured(tokens_per_s=100.0, start_s=10.0, evaluation_s=1.0)


@pytest.fixture
def study(tmp_path: Path, demo_base: Path) -> Study:
    for language in ("en", "fi"):
        rows = [{"instruction": f"{language} {n}?", "output": f"{language} {n}."} for n in range(40)]
        pairs = [{"prompt": f"{language} {n}?", "chosen": "yes, indeed", "rejected": f"no {n}"} for n in range(20)]
        for name, lines in ((f"{language}.jsonl", rows), (f"pairs_{language}.jsonl", pairs)):
            (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    sizes = {f"sources.{name}.rows": 40 for name in ("en", "fi")}
    sizes |= {f"sources.pairs-{name}.rows": 20 for name in ("en", "fi")}
    text = SMALL.replace("models/base", str(demo_base))
    changes = {"data_folder": str(tmp_path), "selection.metrics": ["eval_loss"], **sizes}
    return study_of(text, tmp_path, changes)


def prepared(study: Study, folder: Path) -> dict[str, str]:
    runner = MeasuringRunner(Machine(), lambda identity: 1.0)
    return dict(prepare(study, folder=folder, runner=runner, evaluator=CommandEvaluator()).not_run)


def test_a_budget_below_what_the_anchor_was_measured_to_need_is_refused_with_the_least(
    study: Study, tmp_path: Path
) -> None:
    """By the rehearsal and not by the card: 3 x 80 rows of 500 tokens at 100 tokens a second."""
    small = study.model_copy(update={"budget": "15m"})
    with pytest.raises(OnedayError, match=r"`budget=15m00s` is too small: the anchor whole alone needs 20m1\ds") as e:
        prepared(small, tmp_path / "run")
    assert "\n" not in str(e.value)
    assert not (tmp_path / "run" / "ledger.jsonl").exists()
    prepared(study.model_copy(update={"budget": "25m"}), tmp_path / "run")


def test_a_suite_whose_items_are_not_here_is_not_run_and_says_where_they_were_looked_for(
    study: Study, tmp_path: Path
) -> None:
    assert prepared(study, tmp_path / "run") == {"crosslingual": f"its items are not here: {tmp_path}/crosslingual"}
    rule = Selection(metrics=("language.accuracy",))
    with pytest.raises(OnedayError, match=r"none of language\.accuracy can be computed here \(crosslingual: "):
        prepared(study.model_copy(update={"selection": rule}), tmp_path / "other")


def test_an_arm_that_would_train_on_tasks_that_are_asked_about_is_refused(tmp_path: Path) -> None:
    data = {"build": "curate", "source": "ni", "control": "random", "rows": 10_000, "tokens": 4e6, "held_out_tasks": 4}
    changes = {"arms.other": {"changes": {"sft.data": data}}}
    study = read_study(find_study(Path("choosing")), changes=changes)
    with pytest.raises(OnedayError, match=r"arms\.other: it holds out 4 tasks of .*, and suite \S+ asks about 40"):
        prepared(study, tmp_path / "run")
