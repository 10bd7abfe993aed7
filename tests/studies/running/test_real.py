"""A study on the real Axolotl: several kinds of trainings, a race, and kills that change nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core.model.language_model import LanguageModel
from harness.axolotl_process import Launcher
from harness.budget.gpu_profile import get_gpu_profile
from harness.inside.events import Event, Step
from studies.running.folder import TrainedRecord
from studies.running.harness_runner import HarnessRunner
from studies.running.prepare import prepare
from studies.running.run import StudyResult, run_study
from studies.study import Study
from submission.checkpoint import find_served
from tests.conftest import write_small_mix
from tests.studies.fakes import FakeEvaluator, Killed, Machine
from tests.studies.running.test_run import content
from tests.studies.studies import study_of

pytestmark = pytest.mark.slow

STUDY = """
study: real
about: a study of the tests that trains
base: BASE
models: {BASE: {parameters: 6.0e5, tokens_per_s: 4000, new_tokens_per_s: 100, start_s: 5}}
card: cpu
budget: 3h
data_folder: FOLDER
sources:
  texts: {path: texts.jsonl, rows: 40, tokens: 80}
  answers: {path: answers, rows: 60, tokens: 40}
  rated: {path: rated.jsonl, rows: 20, tokens: 40}
  pairs: {path: pairs.jsonl, rows: 40, tokens: 80}
stages:
  - {name: cpt, kind: cpt, data: {build: rows, source: texts}, weights: full, learning_rate: 3.0e-4, max_steps: 2,
     micro_batch_size: 2, sequence_len: 256, eval_steps: 2}
  - {name: sft, kind: sft, data: {build: rows, source: answers}, weights: lora, lora_r: 8, learning_rate: 1.0e-3,
     warmup_ratio: 0.2, max_steps: 4, micro_batch_size: 2, sequence_len: 512, eval_steps: 2}
  - {name: feedback, kind: feedback, data: {build: feedback, source: rated}, weights: lora, lora_r: 8,
     learning_rate: 1.0e-3, max_steps: 2, micro_batch_size: 2, sequence_len: 512, eval_steps: 2}
  - {name: dpo, kind: dpo, data: {build: preferences, sources: [pairs]}, weights: lora, lora_r: 8, beta: 0.1,
     learning_rate: 1.0e-3, max_steps: 2, micro_batch_size: 2, sequence_len: 512, eval_steps: 2}
anchor: chain
arms:
  chain: {priority: 100, skip: [dpo]}
  preferred: {priority: 50, skip: [cpt, feedback]}
sweep: {stage: sft, key: learning_rate, values: [1.0e-8, 1.0e-2], arm: chain, halving: true}
selection: {metrics: [eval_loss]}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_small_mix(folder / "answers", num_train=60, num_validation=80)
    texts = [{"text": f"Chapter {n}. A fox met {n} hares, and all of them ran home.\n" * 3} for n in range(40)]
    rated = [
        {"prompt": f"Who met hare {n}?", "completion": f"A fox met hare {n}.", "label": n % 2 == 0} for n in range(40)
    ]
    pairs = [{"prompt": f"Who met hare {n}?", "chosen": f"A fox met {n}.", "rejected": "Nobody."} for n in range(40)]
    for name, rows in (("texts", texts), ("rated", rated), ("pairs", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


class RealRun:
    """The study in a folder, as often as the test calls it; killed at the moments that the test names."""

    def __init__(self, study: Study, folder: Path, launch: Launcher):
        self.study, self.folder, self.launch = study, folder, launch
        self.seen: list[tuple[int, int]] = []
        """(training, step) of every step; trainings are numbered as the trainer starts them."""

    def __call__(self, *, kill_at: int | None = None) -> StudyResult:
        """Args:
        kill_at: Number of the step, over all trainings of this call, at which everything ends.
        """
        steps = 0

        def observe(event: Event, left_s: float) -> None:
            nonlocal steps
            if isinstance(event, Step):
                steps += 1
                if steps == kill_at:
                    raise Killed

        runner = HarnessRunner(
            card=get_gpu_profile("cpu"), folder=self.folder, launch=self.launch, on_event=observe
        )  # fmt: skip
        evaluator = FakeEvaluator(Machine(), lambda identity: 0.0, lambda metric, generation: None)
        context = prepare(self.study, folder=self.folder, runner=runner, evaluator=evaluator)
        result = run_study(context, runner=runner, evaluator=evaluator)
        self.num_steps = steps
        return result


@pytest.fixture(scope="module")
def real_run(data: Path, demo_base: Path, axolotl: Launcher) -> Callable[[Path], RealRun]:
    text = STUDY.replace("BASE", str(demo_base)).replace("FOLDER", str(data))
    return lambda folder: RealRun(study_of(text, folder), folder / "run", axolotl)


@pytest.fixture(scope="module")
def undisturbed(
    real_run: Callable[[Path], RealRun], tmp_path_factory: pytest.TempPathFactory
) -> tuple[RealRun, StudyResult]:
    run = real_run(tmp_path_factory.mktemp("undisturbed"))
    return run, run()


def record_of(result: StudyResult, arm: str) -> TrainedRecord:
    checkpoint = result.results.arms[arm].checkpoint
    return next(record for record in result.results.trainings.values() if record.identity == checkpoint)


def test_a_chain_of_text_answers_and_feedback_is_trained_each_on_what_its_parent_wrote(
    undisturbed: tuple[RealRun, StudyResult],
) -> None:
    run, result = undisturbed
    assert {arm.state for arm in result.results.arms.values()} == {"done"}
    assert result.ledger.overshoot_s == 0
    by_weights = {record.sha256: record for record in result.results.trainings.values()}
    last = record_of(result, "chain")
    middle = by_weights[last.parent]
    first = by_weights[middle.parent]
    assert [record.step for record in (first, middle, last)] == [2, 4, 2]
    preferred = record_of(result, "preferred")
    answers = by_weights[preferred.parent]
    assert (answers.step, preferred.step) == (4, 2)
    assert first.parent == answers.parent == ""
    assert answers.identity not in (first.identity, middle.identity)
    for record in (first, last, preferred):
        served = find_served(run.folder / Path(record.weights).parent.parent, base=None)
        assert (served.lora_adapter is None) == (record is first)
        model = LanguageModel.load(served.base, lora_adapter=served.lora_adapter, precision=served.precision)
        assert len(model.generate(["### Response:\n"], max_new_tokens=2)) == 1


def test_the_race_stops_the_rate_that_learns_nothing_half_way(undisturbed: tuple[RealRun, StudyResult]) -> None:
    run, result = undisturbed
    (stopped,) = [record for record in result.results.trainings.values() if record.stopped]
    assert stopped.step == 2
    assert "stopped at step 2: dropped after 32 rows: worse than learning_rate=0.01 by " in stopped.stopped
    assert result.results.selections["chain"].value == 1e-2
    # text, both candidates with the second half of one, feedback; without text: answers, pairs
    assert run.num_steps == 2 + (2 + 2 + 2) + 2 + 4 + 2


def test_kills_in_every_training_change_nothing_at_the_end(
    real_run: Callable[[Path], RealRun], tmp_path: Path, undisturbed: tuple[RealRun, StudyResult]
) -> None:
    run = real_run(tmp_path)
    for step in (2, 3, 3):  # in the first training, in a candidate, in one that goes on after the race
        with pytest.raises(Killed):
            run(kill_at=step)
    result = run()
    assert content(run.folder) == content(undisturbed[0].folder)
    assert result.ledger.resumes >= 3
