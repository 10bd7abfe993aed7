"""The graph: what is shared, what waits, and what an identity depends on."""

from pathlib import Path

from studies.arm import resolve_arms
from studies.graph import Generation, Graph, Training, build_graph
from studies.identity import Known
from studies.running.folder import StudyFolder
from studies.study import Study
from tests.studies.fakes import context_of
from tests.studies.studies import SMALL, SWEPT, study_of


def graph_of(study: Study, tmp_path: Path, **rows: str) -> Graph:
    context = context_of(study, tmp_path, rows={name.replace("_", "-"): value for name, value in rows.items()})
    return build_graph(study, context.arms, context.known, {})


def of(graph: Graph, stage: str) -> list[Training]:
    return [training for training in graph.trainings.values() if training.stage.name == stage]


def test_equal_prefixes_are_one_training(tmp_path: Path) -> None:
    graph = graph_of(study_of(SMALL, tmp_path), tmp_path)
    shared = [training for training in of(graph, "sft") if len(training.arms) > 1]
    assert [set(training.arms) for training in shared] == [{"whole", "dpo-both", "dpo-en"}]
    assert {training.parent for training in of(graph, "dpo")} == {shared[0].identity}
    assert (len(of(graph, "sft")), len(of(graph, "dpo"))) == (3, 4)


def test_an_arm_that_takes_the_choice_waits_for_it_and_then_has_a_final_identity(tmp_path: Path) -> None:
    study = study_of(SMALL, tmp_path)
    arms = resolve_arms(study)
    graphs = [build_graph(study, arms, Known(), choices) for choices in ({}, {"dpo-both": 0.1})]
    before, after = (next(t for t in of(graph, "dpo") if t.arms == ("dpo-en",)) for graph in graphs)
    assert before.waits_for == "dpo-both"
    assert (after.waits_for, after.stage.beta) == ("", 0.1)
    assert before.identity != after.identity


def test_every_arm_of_a_sweep_over_each_has_its_own_candidates(tmp_path: Path) -> None:
    study = study_of(SWEPT, tmp_path, {"sweep.values_of": {"other": [1e-3, 1e-2]}})
    graph = build_graph(study, resolve_arms(study), Known(), {"whole": 1e-5})
    assert [*graph.groups["whole"].candidates] == [1e-6, 1e-5, 1e-4]
    assert [*graph.groups["other"].candidates] == [1e-3, 1e-2]
    assert graph.tips["whole"] == graph.groups["whole"].candidates[1e-5]
    assert graph.tips["other"] not in graph.trainings  # not selected yet
    assert len(graph.generations) == 5  # one for each candidate, the chosen ones not again


def test_an_identity_depends_on_settings_data_parent_seed_template_and_libraries(tmp_path: Path) -> None:
    first = {t.identity for t in graph_of(study_of(SMALL, tmp_path), tmp_path).trainings.values()}
    for changes in ({"seed": 7}, {"template": "chat"}, {"base": "models/other"}):
        others = graph_of(study_of(SMALL, tmp_path, changes), tmp_path)
        assert first.isdisjoint(others.trainings), changes
    changed = graph_of(study_of(SMALL, tmp_path, {"sft.weight_decay": 0.1}), tmp_path)
    assert first.isdisjoint(changed.trainings), "all stages stand on the first"
    libraries = Known(libraries={"torch": "9"})
    study = study_of(SMALL, tmp_path)
    assert first.isdisjoint(build_graph(study, resolve_arms(study), libraries, {}).trainings)


def test_names_paths_priorities_and_defaults_that_are_written_out_are_no_part_of_it(tmp_path: Path) -> None:
    first = graph_of(study_of(SMALL, tmp_path), tmp_path)
    for text, changes in (
        (SMALL.replace("dpo-en", "dpo-english"), {}),
        (SMALL.replace("priority: 90", "priority: 1"), {}),
        (SMALL.replace("path: en.jsonl", "path: elsewhere/en.jsonl"), {"data_folder": "/somewhere"}),
        (SMALL, {"sft.lr_scheduler": "cosine", "sft.sequence_len": 2048, "dpo.parent": "sft"}),
    ):
        again = graph_of(study_of(text, tmp_path, changes), tmp_path)
        assert [*again.trainings] == [*first.trainings]


def test_a_changed_row_changes_exactly_what_rests_on_it(tmp_path: Path) -> None:
    study = study_of(SMALL, tmp_path)
    first, other = graph_of(study, tmp_path), graph_of(study, tmp_path, pairs_fi="v2")
    changed = {t.arms for t in other.trainings.values() if t.identity not in first.trainings}
    # the candidates, and who takes their choice: its identity is not final yet
    assert changed == {("dpo-both",), ("dpo-en",)}
    chosen = [build_graph(study, resolve_arms(study), context_of(study, tmp_path, rows=rows).known, {"dpo-both": 0.1})
              for rows in ({}, {"pairs-fi": "v2"})]  # fmt: skip
    changed = {t.arms for t in chosen[1].trainings.values() if t.identity not in chosen[0].trainings}
    assert changed == {("dpo-both",)}, "dpo-en reads other pairs"


def test_a_skipped_stage_is_linked_around(tmp_path: Path) -> None:
    text = SMALL.replace("skip: [dpo], priority: 40, changes: {sft.loss: responses}", "skip: [sft], priority: 40")
    study = study_of(text, tmp_path)
    arm = resolve_arms(study)["masked"]
    assert arm.parents == {"dpo": None}
    training = next(t for t in graph_of(study, tmp_path).trainings.values() if t.arms == ("masked",))
    assert training.parent is None


def test_weights_that_were_cut_give_their_children_another_identity(tmp_path: Path) -> None:
    study = study_of(SMALL, tmp_path)
    arms = resolve_arms(study)
    first = build_graph(study, arms, Known(), {})
    (sft,) = [t.identity for t in of(first, "sft") if "whole" in t.arms]
    cut = build_graph(study, arms, Known(cut={sft: "cut at 7"}), {})
    assert sft in cut.trainings
    assert {t.identity for t in of(first, "dpo")}.isdisjoint(cut.trainings)
    assert not {g.identity for g in first.generations.values() if g.training == sft} & set(cut.generations)


def asked(study: Study, known: Known | None = None) -> Generation:
    graph = build_graph(study, resolve_arms(study), known or Known(), {})
    return next(generation for generation in graph.generations.values() if generation.arms == ("tenth",))


def test_responses_depend_on_items_and_on_what_asks_and_scores_on_what_scores(tmp_path: Path) -> None:
    before = asked(study_of(SMALL, tmp_path))
    key = "suites.crosslingual"
    for changes in ({f"{key}.items": "other"}, {f"{key}.settings": {"language": {"detector": "x"}}}):
        assert asked(study_of(SMALL, tmp_path, changes)).identity != before.identity
    items = Known(items={"crosslingual": "ab"}), Known(items={"crosslingual": "cd"})
    assert asked(study_of(SMALL, tmp_path), items[0]).identity != asked(study_of(SMALL, tmp_path), items[1]).identity
    rescored = asked(study_of(SMALL, tmp_path, {f"{key}.scores": ["language", "spelling"]}))
    assert rescored.identity == before.identity
    assert rescored.scoring != before.scoring
    folder = StudyFolder(path=tmp_path)
    folder.finish_scores(before, [])
    assert (folder.scores(before), folder.scores(rescored)) == ((), None)


def test_so_many_held_out_questions_are_asked_as_the_study_says(tmp_path: Path) -> None:
    held_out = {"suites.crosslingual.scores": ["held-out"], "selection.metrics": ["held-out.score"]}
    suites = [
        study_of(SMALL, tmp_path, {**held_out, "suites.crosslingual.num_items": num}).suites["crosslingual"]
        for num in (20, 500)
    ]
    assert [suite.settings_of("held-out") for suite in suites] == [{"questions": "20"}, {"questions": "500"}]


def test_the_base_is_asked_in_the_precision_of_the_anchor(tmp_path: Path) -> None:
    assert study_of(SMALL, tmp_path).base_precision is None
    assert study_of(SMALL, tmp_path, {"sft.weights": "qlora"}).base_precision == "4bit"
    assert study_of(SMALL, tmp_path, {"dpo.weights": "qlora"}).base_precision is None
