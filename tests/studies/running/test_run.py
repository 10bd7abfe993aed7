"""A study from beginning to end with a fake trainer: budget, sharing, links, selection, kills."""

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.ledger.account import Account
from harness.ledger.ledger import Ledger
from oneday.display.console import Console
from oneday.display.study_results import show_results
from studies.arm import resolve_arms
from studies.errors import LinkError, StudyError
from studies.estimate import Speeds, estimate
from studies.graph import Generation, build_graph
from studies.running.folder import RESULTS, SHORT
from studies.running.page import write_study_report
from studies.running.results import PaperFigure
from studies.running.run import StudyResult, run_study
from studies.running.runner import GenerationWork, Responses, race_key
from studies.running.survey import take_survey
from studies.running.view import how_far, is_study
from studies.study import Study
from tests.studies.fakes import FakeEvaluator, FakeRunner, Killed, Machine, context_of, number, random_costs
from tests.studies.studies import SMALL, SWEPT, study_of

Cost = Callable[[str], float]
"""Identity -> seconds."""


class Run:
    """A study in a folder, as often as the test calls it."""

    def __init__(self, study: Study, folder: Path, *, trains_s: Cost = lambda i: 200.0, asks_s: Cost = lambda i: 40.0):
        self.study, self.folder = study, folder
        self.machine = Machine()
        self.runner = FakeRunner(self.machine, trains_s)
        self.evaluator = FakeEvaluator(self.machine, asks_s, lambda metric, g: number(g.identity))

    def __call__(self, study: Study | None = None, rows: dict[str, str] | None = None) -> StudyResult:
        self.runner.started.clear()
        self.evaluator.generated.clear()
        self.evaluator.scored.clear()
        context = context_of(study or self.study, self.folder, rows=rows)
        return run_study(context, runner=self.runner, evaluator=self.evaluator, clock=self.machine.clock())


@pytest.fixture(autouse=True, scope="module")
def fast_disk() -> Iterator[None]:
    """A kill here is an exception: nothing depends on what reaches the disk, and its syncs take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def small(tmp_path: Path) -> Run:
    return Run(study_of(SMALL, tmp_path), tmp_path / "run")


def content(folder: Path) -> dict[str, str]:
    """Every file that is a result: ledgers, speeds and what a kill leaves aside."""
    names = ("trained.json", "generated.json", "scores.json", "results.json", "weights.txt", "responses.jsonl")
    paths = [path for path in sorted(folder.rglob("*")) if path.name in names]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def test_everything_is_done_once_and_again_nothing(small: Run) -> None:
    result = small()
    assert (len(small.runner.started), len(set(small.runner.started))) == (7, 7)
    assert len(small.evaluator.generated) == len(set(small.evaluator.generated)) == 7
    assert {arm.state for arm in result.results.arms.values()} == {"done"}
    before, charged = content(small.folder), result.ledger.charged_s
    small.machine.now += 5_000  # the study has ended: this is not charged
    again = small()
    assert small.runner.started == small.evaluator.generated == small.evaluator.scored == []
    assert content(small.folder) == before
    assert again.ledger.charged_s == charged


@pytest.mark.parametrize(
    ("scores", "first", "second"),
    [
        (["language"], "arm state eval loss language.accuracy en language.accuracy fi", ""),
        (["language", "spelling", "relevance"], "arm state eval loss", "metric whole tenth masked dpo-both dpo-en"),
    ],
)
def test_results_with_many_figures_are_shown_by_metric(
    scores: list[str], first: str, second: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(study_of(SMALL, tmp_path, {"suites.crosslingual.scores": scores}), tmp_path / "run")
    show_results(run(), Console())
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == first
    assert ("figures of the arms" in lines) == bool(second)
    assert not second or lines[lines.index("figures of the arms") + 1] == second


def test_the_sweep_comes_before_those_who_take_its_choice(small: Run) -> None:
    best = "beta=0.1"
    small.evaluator.metric = lambda metric, g: float(g.training in winners)
    context = context_of(small.study, small.folder)
    from studies.graph import build_graph

    graph = build_graph(small.study, context.arms, context.known, {})
    winners = {t.identity for t in graph.trainings.values() if t.swept == best}
    result = small()
    assert result.results.selections["dpo-both"].value == 0.1
    (taker,) = [i for i in small.runner.started if i not in graph.trainings]
    candidates = graph.groups["dpo-both"].candidates.values()
    assert small.runner.started.index(taker) > max(map(small.runner.started.index, candidates))
    record = json.loads((small.folder / "trainings" / taker[:SHORT] / "trained.json").read_text())
    assert "'beta': 0.1" in (small.folder / record["weights"] / "weights.txt").read_text()


def test_a_stage_starts_from_the_weights_of_its_parent(small: Run) -> None:
    small()
    records = [json.loads(path.read_text()) for path in small.folder.glob("trainings/*/trained.json")]
    parents = {record["sha256"] for record in records if not record["parent"]}
    children = [record["parent"] for record in records if record["parent"]]
    assert len(children) == 4
    assert set(children) <= parents


def test_a_flipped_byte_of_a_parent_is_refused(small: Run) -> None:
    small.machine.kill_at = 7  # the first SFT is done
    with pytest.raises(Killed):
        small()
    (weights,) = small.folder.glob("trainings/*/08_pick/weights.txt")
    weights.write_text(weights.read_text().replace("b", "c", 1))
    small.machine.kill_at = None
    result = small()
    assert any("changed since it was trained" in why for why in result.failed.values())
    assert issubclass(LinkError, StudyError)


def test_renaming_an_arm_trains_nothing_and_a_changed_row_exactly_what_rests_on_it(small: Run, tmp_path: Path) -> None:
    small.evaluator.metric = lambda metric, generation: 0.5  # so that the choice stays the same
    small()
    renamed = study_of(SMALL.replace("masked", "unmasked"), tmp_path)
    small(renamed)
    assert small.runner.started == []
    small(rows={"pairs-fi": "v2"})
    assert len(small.runner.started) == 3, "the candidates read both files, dpo-en only the other"


def test_a_new_arm_trains_only_what_is_new(small: Run, tmp_path: Path) -> None:
    small()
    more = study_of(SMALL, tmp_path, {"arms.half": {"skip": ["dpo"], "changes": {"sft.data.percent": 50}}})
    small(more)
    assert len(small.runner.started) == 1


def under_pressure(seed: int, folder: Path) -> Run:
    """A study whose real costs are anything, in a budget that may hold a half of it or all."""
    minutes = (20, 30, 45, 60, 90)[seed % 5]
    study = study_of(SMALL if seed % 2 else SWEPT, folder, {"budget": f"{minutes}m"})
    trains_s, asks_s = random_costs(study, seed, hangs=0.1)
    return Run(study, folder / "run", trains_s=trains_s, asks_s=asks_s)


@pytest.fixture(scope="module")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Run, StudyResult]]:
    runs = [under_pressure(seed, tmp_path_factory.mktemp(f"seed-{seed}")) for seed in range(20)]
    return [(run, run()) for run in runs]


def test_no_study_ends_after_its_budget_whatever_things_cost(twenty: list[tuple[Run, StudyResult]]) -> None:
    for run, result in twenty:
        report = result.ledger
        assert report.overshoot_s == 0
        assert report.charged_s <= report.budget_s
        assert sum(report.by_phase.values()) == pytest.approx(report.charged_s, abs=0.01)
        assert report.by_account is not None
        assert sum(report.by_account.values()) <= report.charged_s + 0.01
        assert "whole" not in result.dropped
        started = {identity[:SHORT] for identity in (*run.runner.started, *run.evaluator.generated)}
        assert set(report.by_account) <= started


def test_the_twenty_studies_are_under_pressure(twenty: list[tuple[Run, StudyResult]]) -> None:
    """The test above would pass if everything fitted."""
    results = [result for _, result in twenty]
    cut = sum(bool(record.stopped) for result in results for record in result.results.trainings.values())
    assert cut > 5
    assert sum(len(result.dropped) for result in results) > 5
    assert sum(len(result.failed) for result in results) > 5
    assert sum(result.ledger.charged_s > 0.9 * result.ledger.budget_s for result in results) > 5


def test_the_lowest_priority_leaves_first_when_things_cost_more_than_they_should(tmp_path: Path) -> None:
    study = study_of(SMALL, tmp_path, {"budget": "2h"})
    result = Run(study, tmp_path / "run", trains_s=lambda identity: 900.0)()
    states = {name: arm.state for name, arm in result.results.arms.items()}
    assert states["whole"] == "done"
    assert states["masked"] == "dropped"
    assert result.dropped[0] == "masked"


def test_what_fails_just_before_its_share_ends_is_tried_again_in_the_time_that_is_left(tmp_path: Path) -> None:
    run = Run(study_of(SMALL, tmp_path), tmp_path / "run")
    late: list[str] = []

    def generate(work: GenerationWork, account: Account) -> Responses:
        if not late:
            late.append(work.key)
            run.machine.now += account.left_s - 0.25  # a process is killed so long before the deadline
            raise StudyError("its time ended")
        return FakeEvaluator.generate(run.evaluator, work, account)

    run.evaluator.generate = generate  # type: ignore[method-assign]
    assert {arm.state for arm in run().results.arms.values()} == {"done"}
    assert late[0] in run.evaluator.generated


def test_an_arm_without_its_responses_is_incomplete(tmp_path: Path) -> None:
    run = Run(study_of(SMALL, tmp_path), tmp_path / "run", asks_s=lambda identity: math.inf)
    arms = run().results.arms
    assert arms["whole"].checkpoint
    assert arms["whole"].state.endswith("its time ended before all items were answered.")
    assert arms["whole"].state.startswith("incomplete: ")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], int]:
    folder = tmp_path_factory.mktemp("undisturbed")
    run = Run(study_of(SMALL, folder), folder / "run")
    run()
    return content(run.folder), run.machine.moments


@pytest.mark.parametrize("kill", range(20))
def test_a_kill_at_any_moment_changes_nothing_at_the_end(
    kill: int, tmp_path: Path, undisturbed: tuple[dict[str, str], int]
) -> None:
    expected, moments = undisturbed
    run = Run(study_of(SMALL, tmp_path), tmp_path / "run")
    run.machine.kill_at = 1 + kill * (moments - 1) // 19
    with pytest.raises(Killed):
        run()
    finished = set(run.runner.started[:-1])
    run.machine.now += 60.0
    run.machine.kill_at = None
    result = run()
    assert content(run.folder) == expected
    assert finished.isdisjoint(run.runner.started)
    assert result.ledger.overshoot_s == 0
    assert result.ledger.resumes == 1


def test_time_that_left_no_checkpoint_is_no_work_that_was_done(tmp_path: Path) -> None:
    """A training that is killed before its first checkpoint needs afterwards what it needed before."""
    study = study_of(SMALL, tmp_path, {"sft.num_epochs": 30})
    known = context_of(study, tmp_path / "run").known
    costs = estimate(study, build_graph(study, resolve_arms(study), known, {}), Speeds())
    budget_s = round(1.3 * sum(cost.seconds for cost in costs.values()))
    study = study_of(SMALL, tmp_path, {"sft.num_epochs": 30, "budget": f"{budget_s}s"})
    run = Run(study, tmp_path / "run", trains_s=lambda identity: costs[identity].seconds if identity in costs else 60.0)
    run.machine.kill_at = 2  # after the last step of the first training, before its checkpoint
    with pytest.raises(Killed):
        run()
    run.machine.now += 600.0
    result = run()
    assert result.ledger.by_phase["down"] == pytest.approx(600)
    assert {record.stopped for record in result.results.trainings.values()} == {""}


def test_a_training_that_its_share_cuts_is_marked_and_is_another_training(tmp_path: Path) -> None:
    study = study_of(SMALL, tmp_path, {"budget": "1h"})
    run = Run(study, tmp_path / "run", trains_s=lambda identity: 7_000.0)
    result = run()
    whole = result.results.arms["whole"]
    (record,) = [r for r in result.results.trainings.values() if r.identity == whole.checkpoint]
    assert record.stopped.startswith("cut at step ")
    assert record.identity != record.planned
    assert whole.stopped == record.stopped


def test_a_metric_that_never_ran_refuses_the_selection_and_the_rest_goes_on(small: Run) -> None:
    small.evaluator.metric = lambda metric, generation: None
    result = small()
    states = {name: arm.state for name, arm in result.results.arms.items()}
    refusal = r"failed: dpo-both: selection: none of language\.accuracy was computed for all candidates"
    assert re.match(refusal, states["dpo-both"])
    assert re.match(refusal, states["dpo-en"])
    assert [states[name] for name in ("whole", "tenth", "masked")] == ["done"] * 3


def test_every_arm_selects_its_own_value(tmp_path: Path) -> None:
    run = Run(study_of(SWEPT, tmp_path), tmp_path / "run")

    def metric(name: str, generation: Generation) -> float:
        return float(generation.training in best)

    context = context_of(run.study, run.folder)
    from studies.graph import build_graph

    groups = build_graph(run.study, context.arms, context.known, {}).groups
    best = {groups["whole"].candidates[1e-5], groups["other"].candidates[1e-4]}
    run.evaluator.metric = metric
    selections = run().results.selections
    assert {arm: choice.value for arm, choice in selections.items()} == {"whole": 1e-5, "other": 1e-4}


def test_a_later_stage_starts_from_the_selected_candidate_and_not_from_the_best_loss(tmp_path: Path) -> None:
    """The sweep is of the first stage; the preferences stand on its choice."""
    sweep = {"stage": "sft", "key": "learning_rate", "values": [1e-6, 1e-5, 1e-4], "arm": "whole"}
    study = study_of(SMALL, tmp_path, {"sweep": sweep})
    run = Run(study, tmp_path / "run")
    run.runner.losses = {"learning_rate=0.0001": 0.1}  # the lowest loss, which does not select
    context = context_of(study, run.folder)
    from studies.graph import build_graph

    candidates = build_graph(study, context.arms, context.known, {}).groups["whole"].candidates
    run.evaluator.metric = lambda metric, g: float(g.training == candidates[1e-5])
    results = run().results
    assert results.selections["whole"].value == 1e-5
    (dpo,) = [r for r in results.trainings.values() if r.identity == results.arms["dpo-both"].checkpoint]
    assert dpo.parent == results.trainings[candidates[1e-5]].sha256


def test_halving_stops_what_is_clearly_worse_and_goes_on_with_the_rest(tmp_path: Path) -> None:
    study = study_of(SWEPT, tmp_path, {"sweep.halving": True, "selection.metrics": ["eval_loss"]})
    run = Run(study, tmp_path / "run")
    run.runner.losses = {"learning_rate=1e-06": 3.0, "learning_rate=1e-05": 1.0, "learning_rate=0.0001": 1.2}
    result = run()
    stopped = [r for r in result.results.trainings.values() if r.stopped]
    assert [record.step for record in stopped] == [50, 50]
    assert all("worse by 2.00" in record.stopped for record in stopped)
    assert sorted(map(run.runner.started.count, set(run.runner.started))) == [1, 1, 2, 2, 2, 2]
    choice = result.results.selections["whole"]
    assert choice.value == 1e-5
    assert any("stopped at step 50" in note for note in choice.notes)
    assert len(run.evaluator.generated) == 4, "a stopped candidate is not asked"


def test_candidates_are_raced_for_those_who_take_the_choice_of_an_arm_that_is_dropped(tmp_path: Path) -> None:
    arms = {"whole": {"priority": 100}, "noisy": {"priority": 50, "changes": {"sft.neftune_noise_alpha": 5}}}
    arms["tuner"] = {"priority": 10, "changes": {"sft.lora_r": 8}}
    sweep = {"sweep.arm": "tuner", "sweep.halving": True, "selection.metrics": ["eval_loss"]}
    study = study_of(SWEPT, tmp_path, {"arms": arms, **sweep, "suites.crosslingual.use": ["report"]})
    context = context_of(study, tmp_path / "run")
    total_s = sum(cost.seconds for cost in take_survey(context, failed={}, left_s=1e9).costs.values())
    survey = take_survey(context, failed={}, left_s=total_s - 20)
    candidates = frozenset(survey.graph.groups["tuner"].candidates.values())
    assert (survey.fitted.dropped, candidates <= survey.fitted.work) == (("tuner",), True)
    waiting = replace(survey, paused=candidates)
    assert waiting.next_race() == survey.graph.groups["tuner"]
    assert replace(waiting, running=frozenset({race_key("tuner")})).next_race() is None


def test_a_kill_during_halving_changes_nothing_at_the_end(tmp_path: Path) -> None:
    changes = {"sweep.halving": True, "selection.metrics": ["eval_loss"]}
    losses = {"learning_rate=1e-06": 3.0, "learning_rate=1e-05": 1.0, "learning_rate=0.0001": 1.2}
    whole = Run(study_of(SWEPT, tmp_path, changes), tmp_path / "whole")
    whole.runner.losses = losses
    whole()
    for kill in range(2, whole.machine.moments, 7):
        run = Run(whole.study, tmp_path / f"run-{kill}")
        run.runner.losses, run.machine.kill_at = losses, kill
        with pytest.raises(Killed):
            run()
        run.machine.kill_at = None
        run()
        assert content(run.folder) == content(whole.folder)
        shutil.rmtree(run.folder)


def test_a_folder_of_another_study_is_refused_and_its_ledger_stays(small: Run, tmp_path: Path) -> None:
    small()
    ledger = (small.folder / "ledger.jsonl").read_bytes()
    other = study_of(SMALL.replace("study: small", "study: large"), tmp_path)
    with pytest.raises(StudyError, match="holds the study small"):
        small(other)
    assert (small.folder / "ledger.jsonl").read_bytes() == ledger


def test_a_larger_budget_goes_on_with_what_was_dropped(tmp_path: Path) -> None:
    run = Run(study_of(SMALL, tmp_path, {"budget": "25m"}), tmp_path / "run")
    first = run()
    assert first.dropped
    again = run(study_of(SMALL, tmp_path, {"budget": "10h"}))
    assert again.dropped == ()
    assert again.ledger.budget_s == 36_000
    assert Ledger.of_run(run.folder / "ledger.jsonl").report().charged_s < 36_000


def test_the_papers_figures_stand_beside_ours_and_vanish_with_their_file(tmp_path: Path) -> None:
    paper = {
        "file": "paper.json",
        "rows": {"whole": "baseline"},
        "columns": {"language.accuracy": "accuracy", "eval_loss": "loss"},
    }
    study = study_of(SMALL, tmp_path, {"paper": paper, "data_folder": str(tmp_path)})
    file = tmp_path / "paper.json"
    file.write_text('{"values": [{"row": "baseline", "column": "accuracy", "value": 39.97, "unit": "%"}]}')
    run = Run(study, tmp_path / "run")
    with_paper = run().results.arms
    figure = PaperFigure(value=39.97, unit="%")
    assert with_paper["whole"].paper == {"language.accuracy": figure, "eval_loss": None}
    assert with_paper["masked"].paper == {"language.accuracy": None, "eval_loss": None}
    write_study_report(run.folder, tmp_path / "with.html")
    file.unlink()
    without = run().results.arms
    assert {name: arm.paper for name, arm in without.items()} == {name: {} for name in study.arms}
    assert without == {name: replace(arm, paper={}) for name, arm in with_paper.items()}
    write_study_report(run.folder, tmp_path / "without.html")
    pages = [(tmp_path / f"{name}.html").read_text() for name in ("with", "without")]
    assert [">paper<" in page and "39.97 %" in page for page in pages] == [True, False]


def test_a_study_can_be_watched_while_it_runs_and_after_a_kill(small: Run) -> None:
    small.machine.kill_at = 12
    with pytest.raises(Killed):
        small()
    far = how_far(small.folder)
    assert is_study(small.folder)
    assert far.counts["done"] >= 2
    assert far.counts["waiting"] > 5
    assert "study small" in far.line
    write_study_report(small.folder, small.folder / "report.html")
    small.machine.kill_at = None
    small()
    assert how_far(small.folder).counts == {"done": 7 + 7}


def test_a_suite_that_cannot_be_run_is_not_generated(tmp_path: Path) -> None:
    from dataclasses import replace

    study = study_of(SMALL, tmp_path, {"selection.metrics": ["eval_loss"]})
    run = Run(study, tmp_path / "run")
    context = replace(context_of(study, run.folder), not_run={"crosslingual": "its items are not here"})
    result = run_study(context, runner=run.runner, evaluator=run.evaluator, clock=run.machine.clock())
    assert run.evaluator.generated == []
    assert result.results.not_run == {"crosslingual": "its items are not here"}
    assert result.results.arms["whole"].metrics == {}
    assert (run.folder / RESULTS).is_file()
