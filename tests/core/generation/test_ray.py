"""A real Ray cluster of two nodes on this machine; one of them dies."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.errors import PredictionError
from core.generation.answer_store import AnswerStore
from core.generation.ask import ask
from core.generation.engine import Engine
from core.generation.request import SHARD_SIZE, Kind, Request
from core.generation.transformers import TransformersPredictor
from curation.ni.few_shot import few_shot_prefix, few_shot_prompt
from curation.ni.task import Example
from oneday.demo.tasks import DEMO_TASKS, draw_pairs, positive_examples

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'oneday-llm[ray]'")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's own, at start and end
]


@pytest.fixture
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found.second = found.add_node(num_cpus=1)
    yield found
    ray.shutdown()
    found.shutdown()


def requests(num: int) -> list[Request]:
    import random

    found = []
    for task in DEMO_TASKS[:2]:
        shots = [Example(input=i, output=o) for i, o in positive_examples(task)]
        for number, (query, answer) in enumerate(draw_pairs(task, random.Random(7), num // 2)):
            found.append(
                Request(
                    task=task.name,
                    id=f"{task.name}-{number}",
                    kind=Kind.EXACT_MATCH,
                    prompt=few_shot_prompt(task.definition, shots, query),
                    num_shared=len(few_shot_prefix(task.definition, shots)),
                    num_shots=len(shots),
                    references=(answer,),
                    max_new_tokens=8,
                    stop=("\n\n",),
                )
            )
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("dies", ["before it has built its engine", "over a shard"])
def test_a_cluster_answers_as_one_machine_does_and_a_dead_worker_costs_nothing(
    cluster: Any, demo_base: Path, tmp_path: Path, dies: str
) -> None:
    from core.generation.ray import RayPredictor

    many = requests(5 * SHARD_SIZE)
    with AnswerStore(tmp_path / "one") as store:
        alone = list(ask(many, TransformersPredictor(demo_base), store))
    engine = Engine(name="transformers", base=demo_base)
    with closing(RayPredictor(engine, address=cluster.address, workers=2)) as predictor:
        assert predictor.in_flight == 2
        assert predictor.fits("short", 8)
        assert not predictor.fits("word " * 5_000, 8)
        if dies == "over a shard":
            wait_for(lambda: predictor._idle.qsize() == 2)
        killer = threading.Timer(0.3, cluster.remove_node, [cluster.second])
        with AnswerStore(tmp_path / "two") as store:
            killer.start()
            found = list(ask(many, predictor, store))
            assert len(store) == len({key for _, key, _ in alone})
        killer.join()
    assert found == alone


def wait_for(true: Callable[[], bool], longest_s: float = 60) -> None:
    end = time.monotonic() + longest_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_an_engine_that_cannot_be_built_says_why(cluster: Any, tmp_path: Path) -> None:
    from core.generation.ray import RayPredictor

    with pytest.raises(PredictionError, match="no such model folder"):
        RayPredictor(Engine(name="transformers", base=tmp_path / "none"), address=cluster.address, workers=1)


def test_an_unknown_inner_predictor_is_told_before_a_cluster_is_started() -> None:
    with pytest.raises(PredictionError, match="unknown"):
        Engine(name="ray:magic").build()
