"""A study on a real Ray cluster of two nodes on this machine; one of them dies over a training."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.generation.cluster import Cluster, connect
from harness.ledger.account import Account
from harness.ledger.ledger import Ledger
from studies.errors import StudyError
from studies.running.ray import RaySlots, on_worker
from studies.running.run import run_study
from studies.running.spending import CLOCKS, spent
from studies.running.view import how_far
from tests.studies.fakes import FakeEvaluator, FakeRunner, Machine, context_of, number
from tests.studies.running.test_run import Run, content
from tests.studies.studies import SMALL, study_of

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'oneday-llm[ray]'")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings, at start and end


class RealTime(Machine):
    """Work takes real time, a hundredth of what it would."""

    def works(self, account: Account, seconds: float) -> bool:
        time.sleep(seconds / 100)
        account.beat()
        return True


AGENT_PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


def ports() -> dict[str, int]:
    """Free ports for a node's agents. Ray waits 15 s for ports that they choose, which is too short on busy cores."""
    with contextlib.ExitStack() as stack:
        sockets = {name: stack.enter_context(socket.socket()) for name in AGENT_PORTS}
        for one in sockets.values():
            one.bind(("127.0.0.1", 0))
        return {name: one.getsockname()[1] for name, one in sockets.items()}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from ray.cluster_utils import Cluster as Nodes

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))  # workers import the fakes
    found = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **ports()})
    found.second = found.add_node(num_cpus=1, **ports())
    yield found
    ray.shutdown()
    found.shutdown()


@pytest.fixture
def cluster(nodes: Any) -> Iterator[Cluster]:
    found = connect(nodes.address)
    yield found
    found.close()


def _fail(text: str) -> None:
    raise StudyError(text)


@pytest.mark.timeout(300)
def test_a_node_dies_over_a_training_and_the_results_are_those_of_one_machine(
    nodes: Any, cluster: Cluster, tmp_path: Path
) -> None:
    alone = Run(study_of(SMALL, tmp_path), tmp_path / "alone")
    alone()
    machine, folder = RealTime(), tmp_path / "run"
    runner = FakeRunner(machine, lambda identity: 100.0)
    evaluator = FakeEvaluator(machine, lambda identity: 10.0, lambda metric, g: number(g.identity))
    lines: list[str] = []
    killer = threading.Timer(0.4, nodes.remove_node, [nodes.second])

    def note(line: str) -> None:
        lines.append(line)
        starts = sum("at most" in said for said in lines)
        if starts - (len(lines) - starts) == 2 and not killer.ident:  # both nodes are at work
            killer.start()

    assert cluster.num_slots == 2
    result = run_study(
        context_of(alone.study, folder),
        runner=runner,
        evaluator=evaluator,
        open_slots=partial(RaySlots.open, cluster),
        on_event=note,
    )
    assert content(folder) == content(alone.folder)
    assert sum("its machine was lost" in line for line in lines) == 1
    assert sum("at most" in line for line in lines) == 7 + 7 + 1
    clocks = [Ledger.of_run(path) for path in sorted((folder / CLOCKS).glob("*.jsonl"))]
    assert [clock.budget_s for clock in clocks] == [5 * 3600, 5 * 3600]
    report = result.ledger
    assert report == spent(folder, budget_s=36_000)
    assert report.overshoot_s == 0
    assert report.charged_s == pytest.approx(sum(clock.report().charged_s for clock in clocks), abs=0.01)
    assert report.by_account is not None
    assert len(report.by_account) == 7 + 7
    assert how_far(folder).counts == {"done": 7 + 7}
    again = Run(alone.study, folder)
    left_s = again().ledger.budget_s - report.charged_s
    assert again.runner.started == [], "one machine goes on with what a cluster began"
    assert Ledger.of_run(folder / "ledger.jsonl").budget_s == pytest.approx(left_s, abs=0.01)


def test_what_a_worker_refuses_is_said_in_one_line(cluster: Cluster) -> None:
    with pytest.raises(StudyError, match=r"^no such base$"):
        on_worker(cluster, _fail, "no such base")
