"""01_tasks: reads every file, keeps and types tasks, draws the instances that are asked."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from core.errors import SelectionError
from core.example.licence import Licence, classify
from core.files import file_sha256, sha256
from core.generation.prediction import canonical_name
from core.run_folder import OWN, TASKS
from core.stage import Dropped, Stage, Summary
from curation.ni.select import SelectedTask, judge, own_name, select_task
from curation.ni.task import Task, read_task
from curation.preset import CurationParameters
from curation.stages.context import Curation


def select_stage(curation: Curation) -> Stage:
    """Raises `SelectionError` if no task is left."""
    parameters = curation.parameters
    print_of = parameters.fingerprint()
    stage = curation.stage(
        TASKS,
        {
            "tasks": sha256("\n".join(f"{name} {file_sha256(p)}" for name, p in curation.files.items()).encode()),
            "rules": print_of["rules"] if parameters.task_list is None else None,
            "task_list": print_of["task_list"],
            "kinds": print_of["kinds"],
            "reading": print_of["reading"],
            "typing": print_of["typing"],
            "instances_per_task": parameters.instances_per_task,
            "seed": parameters.seed,
        },
    )
    if stage.is_done:
        return stage
    counts: Counter[str] = Counter()
    origins = _Origins()
    evidence: dict[str, str] = {}
    kinds: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    contradictory: dict[str, int] = {}
    non_commercial: list[str] = []

    def selected() -> Iterator[SelectedTask]:
        for number, path in enumerate(curation.files.values(), start=1):
            record = _select(path, parameters, stage, counts, origins, evidence)
            curation.on_progress(TASKS, number, len(curation.files))
            if record is None:
                continue
            kinds[record.kind.value] += 1
            rules["overridden" if record.typed.overridden else record.typed.rule.value] += 1
            if record.num_contradictory:
                contradictory[record.name] = record.num_contradictory
            if classify(record.licences) is Licence.NON_COMMERCIAL:
                non_commercial.append(record.name)
            yield record

    kept = stage.write_rows("tasks.jsonl", selected())
    if not kept:
        stage.give_up()
        raise SelectionError(_why_none(curation, stage, origins, evidence))
    names = {canonical_name(path.stem) for path in curation.files.values()}
    tallies = {
        "task": stage.tally("task", read=len(curation.files), kept=kept),
        "instance": stage.tally("instance", read=counts["read"], kept=counts["asked"]),
    }
    details = {
        "kinds": dict(sorted(kinds.items())),
        "kinds_by_rule": dict(sorted(rules.items())),
        "contradictory_groups": contradictory,
        "listed_without_file": sorted(set(parameters.task_list or ()) - names),
        "overrides_without_file": sorted(set(parameters.kinds) - names),
        "non_commercial": non_commercial,
        "ni_files": origins.ni_files,
        "own_rows": dict(sorted(origins.rows.items())),
        "own_lost": {name: dict(sorted(lost.items())) for name, lost in sorted(origins.lost.items())},
    }
    stage.finish(Summary(tallies=tallies, details=details))
    return stage


_MENDS = {
    "not_listed": "Check `task_list=`",
    "language": "`rules.language=NAME` takes tasks of that language, with `policies.language=none`",
    "category": "`rules.categories=` takes a JSON list of others",
    "mmlu": "`rules.drop_mmlu=false` takes them",
    "math_qa": "`rules.drop_math_qa=false` takes them",
    "non_commercial": "`policies.licences=all` takes them",
    "unknown_licence": "`policies.licences=commercial` takes them",
    "no_usable_instance": "`oneday check` lists what is wrong with them",
}
"""Of the rule that dropped most tasks."""


def _why_none(curation: Curation, stage: Stage, origins: "_Origins", evidence: Mapping[str, str]) -> str:
    """Which rule dropped how many tasks, on what evidence, and what mends most of it."""
    dropped = [(reason, n) for (_, reason), n in stage.num_dropped.most_common()]
    told = ", ".join(f"{n} by {reason}" for reason, n in dropped)
    most = dropped[0][0] if dropped else ""
    told += f"; {most.replace('_', ' ')}: {evidence[most][:80]}" if evidence.get(most) else ""
    own = [f"{n:,} rows of {name}" for name, n in origins.rows.items()]
    where = ", ".join([*(str(path) for path in curation.tasks if OWN not in path.parts), *own])
    mend = _MENDS.get(most, "Check the selection rules")
    return f"{where}: no task is left ({told}). {mend}."


class _Origins:
    """How many files are NI's, and what became of the user's own rows, by the name of their file."""

    def __init__(self) -> None:
        self.ni_files = 0
        self.rows: Counter[str] = Counter()
        self.lost: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, task: Task, reason: str) -> None:
        """A task's rows, with those that its prompt shows as examples; `reason` says why all are left out."""
        name = own_name(task.categories)
        if name is None:
            self.ni_files += 1
            return
        self.rows[name] += len(task.instances) + len(task.positive_examples)
        if reason != "kept":
            self.lost[name][reason] += len(task.instances) + len(task.positive_examples)
        elif task.positive_examples:
            self.lost[name]["used_as_example"] += len(task.positive_examples)


def _select(
    path: Path,
    parameters: CurationParameters,
    stage: Stage,
    counts: Counter[str],
    origins: _Origins,
    evidence_of: dict[str, str],
) -> SelectedTask | None:
    """One file's record; what it does not keep is dropped with its reason."""
    task_file = read_task(path, parameters.reading)
    task = task_file.task
    reason, evidence = _verdict(task, parameters)
    origins.add(task, reason)
    evidence_of.setdefault(reason, evidence)
    if reason != "kept":
        stage.drop(Dropped(unit="task", id=path.stem, reason=reason, detail=evidence))
        return None
    if not task.instances:
        stage.drop(Dropped(unit="task", id=path.stem, reason="no_usable_instance"))
        return None
    record = select_task(
        path.name,
        task,
        evidence=evidence,
        kinds=parameters.kinds,
        typing=parameters.typing,
        reading=parameters.reading,
        instances_per_task=None if own_name(task.categories) else parameters.instances_per_task,
        seed=parameters.seed,
    )
    counts["read"] += task_file.num_read
    counts["asked"] += len(record.asked)
    for dropped in task_file.dropped:
        stage.drop(dropped)
    asked = set(record.asked)
    for instance in task.instances:
        if instance.id not in asked:
            stage.drop(Dropped(unit="instance", id=instance.id, reason="not_asked", source=path.stem))
    return record


def _verdict(task: Task, parameters: CurationParameters) -> tuple[str, str]:
    if parameters.task_list is None:
        verdict = judge(task, parameters.rules)
        return verdict.reason, verdict.evidence
    listed = canonical_name(task.name) in parameters.task_list or own_name(task.categories) is not None
    return ("kept", "on the task list") if listed else ("not_listed", "")
