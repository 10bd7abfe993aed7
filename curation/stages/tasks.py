"""01_tasks: reads every task file once, keeps and types tasks, and writes the instances that are asked."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from core.errors import SelectionError, TaskError
from core.example.licence import Licence, classify
from core.files import atomic_writer, file_sha256, sha256
from core.generation.prediction import canonical_name
from core.run_folder import OWN, TASKS
from core.stage import Dropped, Stage, Summary
from curation.ni.instances import INSTANCES, write_instances
from curation.ni.select import SelectedTask, draw_instances, judge, own_name, select_task
from curation.ni.task import Task, read_task
from curation.preset import CurationParameters
from curation.stages.context import Curation

FORMAT = 4
"""Version of the format of `tasks.jsonl` and `instances.jsonl`; a run folder of another version is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksDetails:
    """What the stage's `summary.json` says besides its tallies."""

    kinds: Mapping[str, int]
    """Tasks by kind."""
    kinds_by_rule: Mapping[str, int]
    contradictory_groups: Mapping[str, int]
    """Task -> groups of instances with equal inputs and different answers."""
    listed_without_file: tuple[str, ...]
    """Names of the task list that no task file has."""
    overrides_without_file: tuple[str, ...]
    non_commercial: tuple[str, ...]
    """Selected tasks whose licence bars commercial use."""
    ni_files: int
    """Task files that are not made of the user's own rows."""
    own_rows: Mapping[str, int]
    """Name of a file of own rows -> its rows."""
    own_lost: Mapping[str, Mapping[str, int]]
    """Name of a file of own rows -> reason -> rows that were left out here."""


def select_stage(curation: Curation) -> Stage:
    """Raises `SelectionError` if no task is left, `TaskError` if a task file cannot be used."""
    parameters = curation.parameters
    fingerprint = parameters.fingerprint()
    hashes = {name: file_sha256(path) for name, path in curation.files.items()}
    stage = curation.stage(
        TASKS,
        {
            "format": FORMAT,
            "tasks": sha256("\n".join(f"{name} {digest}" for name, digest in hashes.items()).encode()),
            "rules": fingerprint["rules"] if parameters.task_list is None else None,
            "task_list": fingerprint["task_list"],
            "kinds": fingerprint["kinds"],
            "reading": fingerprint["reading"],
            "typing": fingerprint["typing"],
            "instances_per_task": parameters.instances_per_task,
            "seed": parameters.seed,
        },
    )
    return stage if stage.is_done else _Selection(curation, stage, hashes).run()


_MENDS = {
    "not_listed": "Check `task_list=`",
    "language": "`language=CODE` takes tasks of that language",
    "category": "`rules.categories=` takes a JSON list of others",
    "mmlu": "`rules.drop_mmlu=false` takes them",
    "math_qa": "`rules.drop_math_qa=false` takes them",
    "non_commercial": "`policies.licences=all` takes them",
    "unknown_licence": "`policies.licences=commercial` takes them",
    "no_usable_instance": "`oneday check` lists what is wrong with them",
}
"""Rule -> how to correct it; used for the rule that dropped most tasks."""


class _Selection:
    """One run of the stage."""

    def __init__(self, curation: Curation, stage: Stage, hashes: Mapping[str, str]) -> None:
        self.curation, self.stage, self.hashes = curation, stage, hashes
        self.parameters = curation.parameters
        self.origins = _Origins()
        self.evidence: dict[str, str] = {}
        """Of the first task that each rule dropped."""
        self.num_read = self.num_drawn = 0
        self.kinds: Counter[str] = Counter()
        self.rules: Counter[str] = Counter()
        self.contradictory: dict[str, int] = {}
        self.non_commercial: list[str] = []

    def run(self) -> Stage:
        with atomic_writer(self.stage.path(INSTANCES)) as file:
            kept = self.stage.write_rows("tasks.jsonl", self._selected(file))
        if not kept:
            self.stage.give_up()
            raise SelectionError(self._why_none())
        tallies = {
            "task": self.stage.tally("task", read=len(self.hashes), kept=kept),
            "instance": self.stage.tally("instance", read=self.num_read, kept=self.num_drawn),
        }
        self.stage.finish(Summary(tallies=tallies, details=self._details()))
        return self.stage

    def _details(self) -> TasksDetails:
        names = {canonical_name(path.stem) for path in self.curation.files.values()}
        return TasksDetails(
            kinds=dict(sorted(self.kinds.items())),
            kinds_by_rule=dict(sorted(self.rules.items())),
            contradictory_groups=self.contradictory,
            listed_without_file=tuple(sorted(set(self.parameters.task_list or ()) - names)),
            overrides_without_file=tuple(sorted(set(self.parameters.kinds) - names)),
            non_commercial=tuple(self.non_commercial),
            ni_files=self.origins.ni_files,
            own_rows=dict(sorted(self.origins.rows.items())),
            own_lost={name: dict(sorted(lost.items())) for name, lost in sorted(self.origins.lost.items())},
        )

    def _selected(self, instances: IO[bytes]) -> Iterator[SelectedTask]:
        """Every selected task; its instances go to the file."""
        for number, path in enumerate(self.curation.files.values(), start=1):
            record = self._select(path, instances)
            self.curation.on_progress(TASKS, number, len(self.hashes))
            if record is not None:
                self._count(record)
                yield record

    def _count(self, record: SelectedTask) -> None:
        self.kinds[record.kind.value] += 1
        self.rules["overridden" if record.typed.overridden else record.typed.rule.value] += 1
        if record.num_contradictory:
            self.contradictory[record.name] = record.num_contradictory
        if classify(record.licences) is Licence.NON_COMMERCIAL:
            self.non_commercial.append(record.name)

    def _select(self, path: Path, instances: IO[bytes]) -> SelectedTask | None:
        """The record of a file, or None. Tasks and instances that are not kept are dropped with their reason."""
        task_file = read_task(path, self.parameters.reading)
        task = task_file.task
        if task.sha256 != self.hashes[path.name]:
            raise TaskError(f"{path}: changed while it was read. Run the same command again.")
        reason, evidence = _verdict(task, self.parameters)
        self.origins.add(task, reason)
        self.evidence.setdefault(reason, evidence)
        if reason != "kept":
            self.stage.drop(Dropped(unit="task", id=path.stem, reason=reason, detail=evidence))
            return None
        if not task.instances:
            self.stage.drop(Dropped(unit="task", id=path.stem, reason="no_usable_instance"))
            return None
        limit = None if own_name(task.categories) else self.parameters.instances_per_task
        drawn = draw_instances(task, instances_per_task=limit, seed=self.parameters.seed)
        self.num_read += task_file.num_read
        self.num_drawn += len(drawn)
        for dropped in task_file.dropped:
            self.stage.drop(dropped)
        ids = {instance.id for instance in drawn}
        for instance in task.instances:
            if instance.id not in ids:
                self.stage.drop(Dropped(unit="instance", id=instance.id, reason="not_asked", source=path.stem))
        return select_task(
            path.name,
            task,
            write_instances(instances, drawn),
            evidence=evidence,
            kinds=self.parameters.kinds,
            typing=self.parameters.typing,
            reading=self.parameters.reading,
        )

    def _why_none(self) -> str:
        """How many tasks each rule dropped, the evidence, and how to correct the most frequent reason."""
        dropped = [(reason, n) for (_, reason), n in self.stage.num_dropped.most_common()]
        told = ", ".join(f"{n} by {reason}" for reason, n in dropped)
        most = dropped[0][0] if dropped else ""
        told += f"; {most.replace('_', ' ')}: {self.evidence[most][:80]}" if self.evidence.get(most) else ""
        own = [f"{n:,} rows of {name}" for name, n in self.origins.rows.items()]
        where = ", ".join([*(str(path) for path in self.curation.tasks if OWN not in path.parts), *own])
        mend = _MENDS.get(most, "Check the selection rules")
        return f"{where}: no task is left ({told}). {mend}."


class _Origins:
    """Counts NI files, own rows, and own rows that are left out, by the name of their file."""

    def __init__(self) -> None:
        self.ni_files = 0
        self.rows: Counter[str] = Counter()
        self.lost: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, task: Task, reason: str) -> None:
        """Counts a task's rows and the rows that its prompt shows as examples.

        Args:
            reason: `kept`, or why the whole task is left out.
        """
        name = own_name(task.categories)
        if name is None:
            self.ni_files += 1
            return
        self.rows[name] += len(task.instances) + len(task.positive_examples)
        if reason != "kept":
            self.lost[name][reason] += len(task.instances) + len(task.positive_examples)
        elif task.positive_examples:
            self.lost[name]["used_as_example"] += len(task.positive_examples)


def _verdict(task: Task, parameters: CurationParameters) -> tuple[str, str]:
    if parameters.task_list is None:
        verdict = judge(task, parameters.rules)
        return verdict.reason, verdict.evidence
    listed = canonical_name(task.name) in parameters.task_list or own_name(task.categories) is not None
    return ("kept", "on the task list") if listed else ("not_listed", "")
