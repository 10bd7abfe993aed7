"""A study's YAML: strict, and wrong in one line that names the place and the nearest key."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from core.errors import OnedayError
from studies.arm import resolve_arms
from studies.deviations import deviations
from studies.graph import build_graph
from studies.identity import Known
from studies.metrics import check_metrics
from studies.study import find_study, read_study
from tests.studies.studies import SMALL, SWEPT, study_of

WRONG = {
    "an unknown key": (SMALL.replace("about:", "abuot:"), {}, r"unknown key 'abuot' \(did you mean about\?\)"),
    "an unknown key of a stage": (SMALL, {"sft.learning_rat": 1e-5}, r"sft: unknown key 'learning_rat' \(did you mean"),
    "a key twice": (SMALL.replace("about: a", "study: a"), {}, r"key 'study' occurs twice"),
    "a truth value for a number": (SMALL, {"sft.num_epochs": True}, r"num_epochs: true is no number"),
    "no length": (SMALL, {"sft.num_epochs": None}, r"sft: give num_epochs or max_steps, one of both"),
    "two lengths": (SMALL, {"sft.max_steps": 10}, r"sft: give num_epochs or max_steps, one of both"),
    "NEFTune under DPO": (
        SMALL,
        {"dpo.neftune_noise_alpha": 5},
        r"neftune_noise_alpha does nothing under kind",
    ),
    "a rank without LoRA": (SMALL, {"sft.weights": "full", "sft.lora_r": 8}, r"sft\.lora_r has no effect with weights"),
    "a source that is not there": (
        SMALL,
        {"sft.data.nested": "fo"},
        r"sft\.data: 'fo' does not exist \(did you mean fi\?\)",
    ),
    "an unknown parent": (SMALL, {"dpo.parent": "sftt"}, r"dpo\.parent: 'sftt' does not exist \(did you mean sft\?\)"),
    "a cycle": (SMALL, {"sft.parent": "dpo"}, r"sft\.parent: a cycle: sft -> dpo -> sft"),
    "an anchor that is no arm": (SMALL, {"anchor": "hole"}, r"anchor: 'hole' does not exist \(did you mean whole\?\)"),
    "an arm that changes nothing": (SMALL, {"arms.same": {"skip": ["dpo"]}}, r"arms\.same: changes nothing"),
    "a change to the anchor's value": (
        SMALL,
        {"arms.masked.changes": {"sft.loss": "all"}},
        r"arms\.masked\.changes: 'sft\.loss' has this value in the anchor whole too",
    ),
    "a change to the stage's value, where the anchor skips it": (
        SMALL,
        {"arms.dpo-en.changes": {"dpo.data.sources": ["pairs-en", "pairs-fi"]}},
        r"'dpo\.data\.sources' has this value in the stage dpo too",
    ),
    "a change without effect": (
        SMALL.replace("weights: lora,\n     loss", "weights: full,\n     loss"),
        {"arms.masked.changes": {"sft.lora_r": 8}},
        r"'sft\.lora_r' has this value .* or no effect",
    ),
    "a change of a skipped stage": (
        SMALL,
        {"arms.masked.changes": {"dpo.learning_rate": 1e-6}},
        r"'dpo\.learning_rate': the arm skips dpo, so this changes nothing",
    ),
    "a change of no stage": (
        SMALL,
        {"arms.masked.changes": {"sff.loss": "last"}},
        r"'sff\.loss' begins with no stage \(did",
    ),
    "two equal arms": (
        SMALL,
        {"arms.again": {"skip": ["dpo"], "changes": {"sft.loss": "responses"}}},
        r"arms\.again: runs the same as masked",
    ),
    "a sweep without a selection": (
        SMALL.partition("selection:")[0],
        {},
        r"no selection says",
    ),
    "a sweep over an arm's own change": (
        SWEPT,
        {"arms.other.changes": {"base": "models/other", "sft.learning_rate": 1e-3}},
        r"arms\.other\.changes: sft\.learning_rate is swept",
    ),
    "a sweep of an arm that skips the stage": (SMALL, {"sweep.arm": "masked"}, r"sweep\.arm: masked skips dpo"),
    "equal values": (SMALL, {"sweep.values": [0.1, 0.1]}, r"sweep: two values of .* are equal"),
    "a metric that no suite gives": (
        SMALL,
        {"selection.metrics": ["language.acuracy"]},
        r"gives 'language\.acuracy' \(did",
    ),
    "a suite that is not used to select": (
        SMALL,
        {"selection.metrics": ["spelling.micro"]},
        r"no suite .* gives 'spelling",
    ),
    "a suite that does not exist": (
        SMALL,
        {"suites.crosslingual.scores": ["language", "langage"]},
        r"langage: unknown \(did you mean",
    ),
    "two suites whose figures have one name": (
        SMALL,
        {
            "suites.again": {
                "items": "b",
                "scores": ["language"],
                "languages": ["fi"],
                "num_items": 9,
                "generation": {"max_new_tokens": 8},
            }
        },
        r"suites\.again: crosslingual is scored by language in fi too",
    ),
    "a sweep over a key without effect": (
        SWEPT,
        {"sft.weights": "full", "sweep.key": "lora_r", "sweep.values": [8, 16]},
        r"sweep\.key: lora_r has no effect on whole",
    ),
    "halving over weights": (
        SWEPT,
        {"sweep": {"stage": "sft", "key": "weights", "values": ["lora", "qlora"], "halving": True}},
        r"weights decides what they mean",
    ),
    "pairs of several sources": (SMALL, {"dpo.data.pairs": "best-worst"}, r"pairs: best-worst takes one source"),
    "scores of given pairs": (SMALL, {"dpo.data.score": "helpfulness"}, r"score has no effect with pairs: given"),
    "a loss averaged with shares": (
        SMALL,
        {"selection.metrics": ["eval_loss", "language.accuracy"]},
        r"cannot be averaged",
    ),
    "a paper's key that is not there": (
        SMALL,
        {"paper": {"file": "p.json", "settings": {"sft.learning_rte": 1}}},
        r"paper\.settings: 'sft\.learning_rte': 'learning_rte' does not exist \(did you mean learning_rate\?\)",
    ),
}


def resolved(text: str, tmp_path: Path, changes: Mapping[str, Any]) -> None:
    study = study_of(text, tmp_path, changes)
    check_metrics(study)
    arms = resolve_arms(study)
    deviations(study, arms)
    build_graph(study, arms, Known(), {})


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_one_line(name: str, tmp_path: Path) -> None:
    text, changes, message = WRONG[name]
    with pytest.raises(OnedayError, match=message) as e:
        resolved(text, tmp_path, changes)
    assert "\n" not in str(e.value)


def test_the_studies_of_the_tests_are_right(tmp_path: Path) -> None:
    resolved(SMALL, tmp_path, {})
    resolved(SWEPT, tmp_path, {})


def test_a_preset_changes_keys_and_the_caller_may_change_them_again(tmp_path: Path) -> None:
    text = SMALL + "presets: {short: {about: a, changes: {sft.num_epochs: 1}}, long: {about: b}}"
    assert study_of(text, tmp_path).stage("sft").num_epochs == 1  # the first is the default
    assert study_of(text, tmp_path, preset="long").stage("sft").num_epochs == 3
    assert study_of(text, tmp_path, {"sft.num_epochs": 2}).stage("sft").num_epochs == 2
    with pytest.raises(OnedayError, match=r"no such preset \(did you mean long\?\)"):
        study_of(text, tmp_path, preset="lon")


def test_a_shipped_study_is_found_by_its_name_and_a_missing_one_names_the_nearest(tmp_path: Path) -> None:
    assert read_study(find_study(Path("finnish"))).study == "finnish"
    assert find_study(Path("studies/taiwan.yml")).name == "taiwan.yml"
    with pytest.raises(OnedayError, match=r"no such study \(did you mean finnish\?\)"):
        find_study(Path("finish"))
    with pytest.raises(OnedayError, match="cannot be read"):
        read_study(tmp_path / "gone.yml")


def test_a_swept_arm_needs_no_value_of_the_others(tmp_path: Path) -> None:
    """An arm may keep its own value where one named arm's choice is taken."""
    study = study_of(SMALL, tmp_path, {"arms.dpo-en.changes": {"dpo.data.sources": ["pairs-en"], "dpo.beta": 0.3}})
    graph = build_graph(study, resolve_arms(study), Known(), {})
    (training,) = [t for t in graph.trainings.values() if t.arms == ("dpo-en",)]
    assert (training.stage.beta, training.waits_for) == (0.3, "")
