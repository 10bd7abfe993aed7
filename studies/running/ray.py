"""A study on a Ray cluster: every GPU (without GPUs: every machine) is a slot that trains, generates and scores.

    cluster = connect("auto")
    runner = RehearsedThere(HarnessRunner(card=card, folder=folder), cluster)
    run_study(context, runner=runner.inner, evaluator=evaluator, open_slots=partial(RaySlots.open, cluster))

Ray finds the GPUs, starts a worker on each, and starts it again where there is room when its machine is lost. The
budget counts the hours of all GPUs: each has a clock of its own with an equal part of what is left, so that all end
together.
Results lie by identity in the study's folder, so folder, data and models must lie at the same path on every machine.

Where it sits: `oneday study` with `on=ray`; run.py gives it work, slot.py does it.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from core.errors import OnedayError
from core.generation.cluster import RESTARTS, Cluster, death_cause
from core.stage import is_locked
from harness.budget.clock import Clock, uptime
from harness.budget.duration import seconds
from harness.budget.profile_choice import choose_profile
from harness.ledger.day import Charging, LedgerReport
from harness.ledger.ledger import Ledger
from studies.errors import StudyError
from studies.estimate import Measured
from studies.graph import Training
from studies.running.folder import StudyFolder
from studies.running.harness_runner import HarnessRunner
from studies.running.runner import Evaluator, RaceWork, TrainingRunner, Work
from studies.running.slot import Ended, Slot
from studies.running.spending import CLOCKS, others_charged_s, spent
from studies.study import Study

LONGEST_WAIT_S = 600.0
"""For a worker, when there is none."""

ORPHAN_S = 60.0
"""For a trainer to end whose worker is gone: it saves its state first."""

STOP_S = 30.0
"""For a worker to stop its clock."""

Result = TypeVar("Result")


def on_worker(cluster: Cluster, function: Callable[..., Result], *arguments: object) -> Result:
    """Calls a function on a GPU of the cluster, in the folder of this process.

    Raises:
        OnedayError: the function raised it.
    """
    task = cluster.ray.remote(**_options(cluster), max_retries=RESTARTS)(_in_folder)
    result: Result = _get(cluster, task.remote(os.getcwd(), function, arguments))
    return result


def _options(cluster: Cluster) -> dict[str, object]:
    """One GPU, and as many threads as on one machine: Ray would set one thread for each CPU that a worker takes."""
    threads = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count() or 1)
    return {**cluster.resources(), "runtime_env": {"env_vars": {"OMP_NUM_THREADS": threads}}}


def _in_folder(folder: str, function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    _enter(folder)
    return function(*arguments)


def _enter(folder: str) -> None:
    """Relative paths mean the same as in the process that started the study."""
    try:
        os.chdir(folder)
    except OSError as e:
        raise StudyError(f"{folder}: not on every machine of the cluster ({e.strerror}). Start in a shared one.") from e


@dataclass(slots=True)
class RehearsedThere:
    """Rehearses on a GPU of the cluster."""

    inner: HarnessRunner
    cluster: Cluster

    def refusal(self, training: Training) -> str:
        """Why the harness cannot train this; empty: it can."""
        return self.inner.refusal(training)

    def race_refusal(self, training: Training) -> str:
        """Why a training cannot be raced against others half-way; empty: it can."""
        return self.inner.race_refusal(training)

    def prepare(self, training: Training, *, base: Path, mix: Path, tokens: int) -> Measured | None:
        """Rehearses, and keeps what was measured for the trainings."""
        measured, self.inner = on_worker(self.cluster, _rehearsed, self.inner, training, base, mix, tokens)
        return measured


def _rehearsed(
    runner: HarnessRunner, training: Training, base: Path, mix: Path, tokens: int
) -> tuple[Measured | None, HarnessRunner]:
    runner.device = choose_profile(runner.card.name).device
    return runner.prepare(training, base=base, mix=mix, tokens=tokens), runner


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a worker needs to open its slot."""

    cwd: str
    folder: StudyFolder
    runner: TrainingRunner
    evaluator: Evaluator
    clock: Path
    budget_s: float
    """Of this clock, with what it was charged before."""
    run_id: str
    charging: Charging


class _Worker:
    """What runs on a GPU."""

    def __init__(self, opening: Opening) -> None:
        _enter(opening.cwd)
        runner = opening.runner
        if isinstance(runner, HarnessRunner):
            runner = replace(runner, device=choose_profile(runner.card.name).device)
        ledger = Ledger.start(
            opening.clock, budget_s=opening.budget_s, run_id=opening.run_id, charging=opening.charging, reopens=True
        )  # fmt: skip
        ledger.rebudget(opening.budget_s)
        self._slot = Slot(folder=opening.folder, runner=runner, evaluator=opening.evaluator, ledger=ledger)

    def left_s(self) -> float:
        return self._slot.ledger.left_s

    def do(self, work: Work, share_s: float) -> tuple[Ended, float]:
        folders = [one.folder for one in (work.candidates.values() if isinstance(work, RaceWork) else [work])]
        until = uptime() + ORPHAN_S
        while any(map(is_locked, folders)) and uptime() < until:
            time.sleep(0.2)
        return self._slot.do(work, share_s), self.left_s()

    def stop(self) -> None:
        self._slot.ledger.stop()


@dataclass(slots=True)
class _Remote:
    """A slot as the starter knows it."""

    actor: Any
    left_s: float
    at: float
    """When that was known, on the uptime clock of the starter."""
    work: Work | None = None
    is_ready: bool = False
    is_lost: bool = False

    def note(self, left_s: float) -> None:
        self.left_s, self.at, self.work = left_s, uptime(), None
        self.is_ready, self.is_lost = True, False

    def left_now_s(self) -> float:
        return self.left_s - (uptime() - self.at)


@dataclass(slots=True)
class RaySlots:
    """All GPUs of a cluster."""

    cluster: Cluster
    folder: StudyFolder
    budget_s: float
    """Of the whole study, in seconds of GPUs."""
    remotes: list[_Remote] = field(default_factory=list)
    pending: dict[Any, _Remote] = field(default_factory=dict)
    """Call of a worker -> its slot."""

    @classmethod
    def open(
        cls,
        cluster: Cluster,
        study: Study,
        folder: StudyFolder,
        runner: TrainingRunner,
        evaluator: Evaluator,
        clock: Clock | None = None,
    ) -> "RaySlots":
        """Starts a worker on every GPU; its clock starts with it."""
        assert clock is None, "every machine has its own"
        budget_s, num = seconds(study.budget), cluster.num_slots
        part_s = max(1e-3, (budget_s - others_charged_s(folder.path)) / num)
        found = cls(cluster, folder, budget_s)
        actor = cluster.ray.remote(**_options(cluster), max_restarts=RESTARTS)(_Worker)
        for number in range(num):
            path = folder.path / CLOCKS / f"{number}.jsonl"
            charged_s = Ledger.of_run(path).charged_s if path.is_file() else 0.0
            opening = Opening(
                cwd=os.getcwd(), folder=folder, runner=runner, evaluator=evaluator, clock=path,
                budget_s=charged_s + part_s, run_id=study.study, charging=study.clock,
            )  # fmt: skip
            found.remotes.append(_Remote(actor.remote(opening), part_s, uptime()))
            found._await(found.remotes[-1])
        return found

    def _await(self, remote: _Remote) -> None:
        """Has a worker take work from when it stands, at first and after a death."""
        remote.is_ready, remote.work = False, None
        self.pending[remote.actor.left_s.options(max_task_retries=-1).remote()] = remote

    @property
    def left_s(self) -> float:
        """Seconds left of all GPUs but those whose machine is lost."""
        return sum(max(0.0, remote.left_now_s()) for remote in self.remotes if not remote.is_lost)

    @property
    def free_s(self) -> float | None:
        """Seconds left of the idle worker that has most of them; 0: none can come any more; None: none is idle."""
        idle = [remote.left_now_s() for remote in self.remotes if remote.is_ready and remote.work is None]
        coming = [remote for remote in self.pending.values() if remote.left_now_s() > 0]
        return max(idle) if idle else None if coming else 0.0

    def start(self, work: Work, share_s: float) -> None:
        """Gives work to the idle worker with the most time."""
        idle = [remote for remote in self.remotes if remote.is_ready and remote.work is None]
        remote = max(idle, key=_Remote.left_now_s)
        remote.work = work
        self.pending[remote.actor.do.remote(work, share_s)] = remote

    def wait(self) -> Ended | None:
        """Waits until something has ended, or (None) until a worker stands.

        Raises:
            OnedayError: what a worker did failed, or there is no worker any more.
        """
        none_works = not any(remote.is_ready for remote in self.remotes)
        ready, _ = self.cluster.ray.wait(
            list(self.pending), num_returns=1, timeout=LONGEST_WAIT_S if none_works else None
        )  # fmt: skip
        if not ready:
            raise StudyError(
                f"no worker of the cluster was ready within {LONGEST_WAIT_S:.0f} s: it has no free GPU (or CPU). `ray "
                "status` shows what is taken; the same command goes on."
            )
        remote = self.pending.pop(ready[0])
        work = remote.work
        try:
            answer: tuple[Ended, float] | float = _get(self.cluster, ready[0])
        except self.cluster.ray.exceptions.RayActorError as e:
            return self._lost(remote, work, e)
        ended, left_s = answer if isinstance(answer, tuple) else (None, answer)
        remote.note(left_s)
        return ended

    def _lost(self, remote: _Remote, work: Work | None, error: Exception) -> Ended | None:
        """A worker or its machine is gone: its work is given to another slot, and Ray starts the worker again."""
        if work is None:  # it could not be started, or not again
            self.remotes.remove(remote)
            if not self.remotes:
                raise StudyError(f"no worker of the cluster could be started: {death_cause(error)}") from error
            return None
        remote.is_lost = True
        self._await(remote)
        return Ended(key=work.key, line=f"{work.name}: its machine was lost; another one goes on", is_lost=True)

    def leave(self) -> None:
        """Ends all workers; what they did is on the disk."""
        for remote in self.remotes:
            self.cluster.ray.kill(remote.actor)

    def stop(self) -> LedgerReport:
        """Stops all clocks, and ends the workers."""
        stops = [remote.actor.stop.remote() for remote in self.remotes if remote.is_ready]
        self.cluster.ray.wait(stops, num_returns=len(stops), timeout=STOP_S) if stops else None
        self.leave()
        return spent(self.folder.path, budget_s=self.budget_s)


def _get(cluster: Cluster, reference: Any) -> Any:
    """What a call returned; an error of ours is raised as it was there."""
    try:
        return cluster.ray.get(reference)
    except cluster.ray.exceptions.RayTaskError as e:
        if isinstance(e.cause, OnedayError):
            raise e.cause from e
        raise
