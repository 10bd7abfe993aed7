import random
from collections import Counter
from pathlib import Path

import pytest

from core.generation.request import Kind
from curation.ni.kind import kind_of
from curation.ni.select import SelectionRules, judge
from curation.ni.task import read_task, task_paths
from oneday.demo.tasks import DEMO_TASKS, DemoTask, draw_pairs, positive_examples, write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


def test_the_corpus_has_enough_tasks_of_both_kinds_with_enough_instances(corpus: Path) -> None:
    kinds: Counter[Kind] = Counter()
    for task_file in map(read_task, task_paths([corpus])):
        assert task_file.dropped == ()
        assert len(task_file.task.instances) >= 150
        assert len({i.input for i in task_file.task.instances}) == len(task_file.task.instances)
        assert len(task_file.task.positive_examples) == 3
        if judge(task_file.task, SelectionRules()).keep:
            kinds[kind_of(task_file.task).kind] += 1
    assert sum(kinds.values()) >= 24
    assert min(kinds.values()) >= 8


def test_unwanted_tasks_are_deselected_each_for_its_own_reason(corpus: Path) -> None:
    unwanted = {task.name for task in DEMO_TASKS if task.unwanted}
    verdicts = {f.task.name: judge(f.task, SelectionRules()) for f in map(read_task, task_paths([corpus]))}
    assert {name for name, v in verdicts.items() if not v.keep} == unwanted
    assert {v.reason for v in verdicts.values()} == {"kept", "language", "category", "mmlu", "non_commercial"}


def test_the_same_seed_gives_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    for path in write_corpus(tmp_path):
        assert path.read_bytes() == (corpus / path.name).read_bytes()


@pytest.mark.parametrize("task", DEMO_TASKS, ids=lambda t: t.name)
def test_every_task_has_instances_left_for_evaluation(task: DemoTask) -> None:
    first = draw_pairs(task, random.Random(1), 160, avoid=[i for i, _ in positive_examples(task)])
    fresh = draw_pairs(task, random.Random(2), 20, avoid=[i for i, _ in first])
    assert not {i for i, _ in first} & {i for i, _ in fresh}
