"""Real trainings of a study on a Ray cluster of two nodes, one of which is killed, and the same study on one machine.

    python -m tests.studies.on_ray --folder /tmp/on-ray

Both studies train the demo's base on the CPU. The second node is killed when both nodes have written a checkpoint. The
last line says whether weights, losses and results have equal hashes.
"""

import argparse
import json
import logging
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from core.generation.cluster import connect
from harness.budget.gpu_profile import get_gpu_profile
from harness.ledger.ledger import Ledger
from oneday.demo.demo import DEMO_BASE
from studies.running.harness_runner import HarnessRunner
from studies.running.prepare import prepare
from studies.running.ray import RaySlots, RehearsedThere
from studies.running.run import StudyResult, run_study
from studies.running.spending import CLOCKS
from studies.study import Study
from tests.conftest import write_small_mix
from tests.studies.fakes import FakeEvaluator, Machine
from tests.studies.running.test_ray import ports
from tests.studies.running.test_run import content
from tests.studies.studies import study_of

logger = logging.getLogger("on_ray")

STUDY = """
study: on-ray
about: real trainings on two nodes
base: BASE
models: {BASE: {parameters: 6.0e5, tokens_per_s: 4000, new_tokens_per_s: 100, start_s: 5}}
card: cpu
budget: 6h
data_folder: FOLDER
sources:
  answers: {path: answers, rows: 60, tokens: 40}
stages:
  - {name: sft, kind: sft, data: {build: rows, source: answers}, weights: lora, lora_r: 8, learning_rate: 1.0e-3,
     max_steps: 8, micro_batch_size: 2, sequence_len: 256, eval_steps: 2}
anchor: plain
arms:
  plain: {priority: 100}
  noisy: {priority: 50, changes: {sft.neftune_noise_alpha: 5}}
"""


def on_one_machine(study: Study, folder: Path) -> StudyResult:
    """Runs it here."""
    runner = HarnessRunner(card=get_gpu_profile("cpu"), folder=folder)
    context = prepare(study, folder=folder, runner=runner, evaluator=_no_suites(), on_event=logger.info)
    return run_study(context, runner=runner, evaluator=_no_suites(), on_event=logger.info)


def on_two_nodes(study: Study, folder: Path, lines: list[str]) -> StudyResult:
    """Runs it on two nodes, and kills the second one."""
    from ray.cluster_utils import Cluster as Nodes

    nodes: Any = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **ports()})
    second = nodes.add_node(num_cpus=1, **ports())
    cluster = connect(nodes.address)
    there = RehearsedThere(HarnessRunner(card=get_gpu_profile("cpu"), folder=folder), cluster)

    def note(line: str) -> None:
        lines.append(line)
        logger.info(line)

    try:
        context = prepare(study, folder=folder, runner=there, evaluator=_no_suites(), on_event=note)
        threading.Thread(target=_kill, args=(nodes, second, folder), daemon=True).start()
        return run_study(
            context,
            runner=there.inner,
            evaluator=_no_suites(),
            open_slots=partial(RaySlots.open, cluster),
            on_event=note,
        )
    finally:
        cluster.close()
        nodes.shutdown()


def _kill(nodes: Any, second: Any, folder: Path) -> None:
    """Kills a node when two trainings have a checkpoint."""
    while len({path.parents[1] for path in folder.glob("trainings/*/07_train/output/checkpoint-*")}) < 2:
        time.sleep(0.2)
    logger.info("the second node is killed")
    nodes.remove_node(second)


def _no_suites() -> FakeEvaluator:
    return FakeEvaluator(Machine(), lambda identity: 0.0, lambda metric, generation: None)


def main() -> int:
    """Returns 0 if both studies have equal results and a node was lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the studies are kept; default: a temporary folder")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    home: Path = parser.parse_args().folder or Path(tempfile.mkdtemp(prefix="on-ray-"))
    home.mkdir(parents=True, exist_ok=True)
    write_small_mix(home / "answers", num_train=60, num_validation=20)
    study = study_of(STUDY.replace("BASE", str(DEMO_BASE)).replace("FOLDER", str(home)), home)
    lines: list[str] = []
    clustered = on_two_nodes(study, home / "two", lines)
    alone = on_one_machine(study, home / "one")
    clocks = sorted((home / "two" / CLOCKS).glob("*.jsonl"))
    found = {
        "equal": content(home / "one") == content(home / "two"),
        "weights": {arm: _sha256(alone, arm) == _sha256(clustered, arm) for arm in study.arms},
        "lost": sum("its machine was lost" in line for line in lines),
        "overshoot_s": clustered.ledger.overshoot_s,
        "charged_s": {path.stem: Ledger.of_run(path).charged_s for path in clocks},
        "alone_s": alone.ledger.charged_s,
    }
    print(json.dumps(found))
    return 0 if found["equal"] and found["lost"] else 1


def _sha256(result: StudyResult, arm: str) -> str:
    results = result.results
    checkpoint = results.arms[arm].checkpoint
    return next(record.sha256 for record in results.trainings.values() if record.identity == checkpoint)


if __name__ == "__main__":
    sys.exit(main())
