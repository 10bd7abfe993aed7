"""The graph of a study: every training, generation and selection, shared where identities are equal.

    graph = build_graph(study, arms, known, choices={})
    len(graph.trainings)

What waits for a selection is in the graph from the beginning, under a provisional identity; once the selection has
happened the graph is built again with its choice, and the identity is final.

Where it sits: arms + identities -> **graph** -> budget, run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from studies.arm import ResolvedArm
from studies.document import stages_by_name, validated, with_changes
from studies.errors import StudyError
from studies.identity import Known, digest, training_identity
from studies.selection import Value
from studies.stage import Stage
from studies.study import Study, Suite

Choices = Mapping[str, Value]
"""Arm -> the value that was selected for it."""

SELECTED = "selected:"
"""Begins what stands for the identity of a checkpoint that is not selected yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training, whoever needs it."""

    identity: str
    stage: Stage
    base: str
    template: str
    seed: int
    parent: str | None
    """Identity of the training that it starts from; None: the base."""
    arms: tuple[str, ...]
    """Arms whose result rests on it."""
    swept: str = ""
    """Of a candidate of a sweep: the key and its value."""
    waits_for: str = ""
    """The arm whose selection it waits for; empty: its identity is final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """The responses of one checkpoint to one suite, in all its languages."""

    identity: str
    training: str | None
    """None: the base itself is asked."""
    base: str
    suite: str
    languages: tuple[str, ...]
    num_items: int
    """In all languages together."""
    arms: tuple[str, ...]
    waits_for: str = ""
    scoring: str = ""
    """Hash of what scores the responses, with its settings. It is no part of the identity: it asks nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The candidates of one selection."""

    arm: str
    candidates: Mapping[Value, str]
    """Value -> identity of the training."""
    generations: tuple[str, ...]
    """What the selection reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Everything that a study runs. Parents stand before their children."""

    trainings: Mapping[str, Training]
    generations: Mapping[str, Generation]
    groups: Mapping[str, Group]
    """By arm."""
    tips: Mapping[str, str | None]
    """Arm -> identity of its result; None: the base."""
    needs: Mapping[str, frozenset[str]]
    """Arm -> identities of all that must be done for it."""


@dataclass(slots=True)
class _Builder:
    study: Study
    known: Known
    choices: Choices
    trainings: dict[str, Training] = field(default_factory=dict)
    generations: dict[str, Generation] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    needs: dict[str, set[str]] = field(default_factory=dict)

    def add_arm(self, arm: ResolvedArm) -> str | None:
        """Adds what an arm runs; returns its result."""
        self.needs[arm.name] = set()
        done: dict[str, str] = {}
        for name, stage in arm.stages.items():
            parent = done.get(arm.parents[name] or "")
            done[name] = self._add_stage(arm, stage, parent)
        tip = done[arm.last.name] if arm.last else None
        for name, suite in self._suites("report", arm.name):
            if "select" not in suite.use or not (tip or "").startswith(SELECTED):  # its candidates are asked anyway
                self._generate(arm, tip, name, suite)
        return tip

    def _add_stage(self, arm: ResolvedArm, stage: Stage, parent: str | None) -> str:
        sweep = self.study.sweep
        if sweep is None or stage.name != sweep.stage or self._sets_its_own(arm):
            return self._train(arm, stage, parent)
        if sweep.arm in ("each", arm.name):
            return self._select(arm, stage, parent)
        self.needs[arm.name] |= self._needs_of(self.groups[sweep.arm])
        if sweep.arm in self.choices:
            return self._train(arm, self._with_value(stage, self.choices[sweep.arm]), parent)
        return self._train(arm, stage, parent, waits_for=sweep.arm)

    def _needs_of(self, group: Group) -> set[str]:
        """What must be done before the group's selection."""
        found = set(group.generations)
        waiting: list[str | None] = [*group.candidates.values()]
        while waiting:
            identity = waiting.pop()
            if identity in self.trainings:
                found.add(identity)
                waiting.append(self.trainings[identity].parent)
        return found

    def _sets_its_own(self, arm: ResolvedArm) -> bool:
        """Whether the arm gives the swept key a value of its own, so that it needs no selection."""
        sweep = self.study.sweep
        assert sweep is not None
        own = f"{sweep.stage}.{sweep.key}" in self.study.arms[arm.name].changes
        if own and sweep.arm in ("each", arm.name):
            raise StudyError(
                f"arms.{arm.name}.changes: {sweep.stage}.{sweep.key} is swept. Give the arm other candidates with "
                "sweep.values_of, or take the change away."
            )
        return own

    def _select(self, arm: ResolvedArm, stage: Stage, parent: str | None) -> str:
        """Trains every candidate; the result is the selected one, or waits."""
        sweep = self.study.sweep
        assert sweep is not None
        candidates: dict[Value, str] = {}
        generations: list[str] = []
        for value in sweep.values_for(arm.name):
            swept = f"{sweep.key}={value:g}" if isinstance(value, float) else f"{sweep.key}={value}"
            candidates[value] = self._train(arm, self._with_value(stage, value), parent, swept=swept)
            for name, suite in self._suites("select", arm.name):
                generations.append(self._generate(arm, candidates[value], name, suite))
        if len(set(candidates.values())) < len(candidates):
            raise StudyError(
                f"sweep.key: {sweep.key} has no effect on {arm.name}, for two of its values give the same training. "
                "Sweep another key, or another arm."
            )
        self.groups[arm.name] = Group(arm=arm.name, candidates=candidates, generations=tuple(generations))
        if arm.name in self.choices:
            return candidates[self.choices[arm.name]]
        return _selected(self.groups[arm.name])

    def _with_value(self, stage: Stage, value: Value) -> Stage:
        sweep = self.study.sweep
        assert sweep is not None
        where, key = f"sweep.values: {value}", f"{sweep.stage}.{sweep.key}"
        raw = with_changes({"stages": [stage.model_dump(exclude_unset=True)]}, {key: value}, where=where)
        return validated(Stage, stages_by_name(raw)[stage.name], where)

    def _train(
        self, arm: ResolvedArm, stage: Stage, parent: str | None, *, swept: str = "", waits_for: str = ""
    ) -> str:
        identity = training_identity(
            stage,
            data=self.known.rows(stage, self.study, seed=arm.seed, template=arm.template),
            parent=self._of_weights(parent, arm),
            template=arm.template,
            seed=arm.seed,
            libraries=self.known.libraries,
            value=_selected(self.groups[waits_for]) if waits_for else None,
        )
        waits_for = waits_for or self._waits(parent, arm)
        training = self.trainings.get(identity) or Training(
            identity=identity, stage=stage, base=arm.base, template=arm.template, seed=arm.seed, parent=parent,
            arms=(), swept=swept, waits_for=waits_for,
        )  # fmt: skip
        self.trainings[identity] = replace(training, arms=_with(training.arms, arm.name))
        self.needs[arm.name].add(identity)
        return identity

    def _of_weights(self, training: str | None, arm: ResolvedArm) -> str:
        """The identity of a checkpoint; of a training that was cut, another than the planned one."""
        return self.known.cut.get(training, training) if training else self.known.base(arm.base)

    def _waits(self, parent: str | None, arm: ResolvedArm) -> str:
        """Whose selection must come before what starts from `parent`."""
        if parent is None:
            return ""
        return arm.name if parent.startswith(SELECTED) else self.trainings[parent].waits_for

    def _suites(self, use: str, arm: str) -> Iterator[tuple[str, Suite]]:
        for name, suite in self.study.suites.items():
            if use in suite.use and (not suite.arms or arm in suite.arms):
                yield name, suite

    def _generate(self, arm: ResolvedArm, training: str | None, name: str, suite: Suite) -> str:
        asks = suite.scores[0]
        what = {
            "suite": name, "languages": suite.languages, "generation": suite.generation.model_dump(mode="json"),
            "template": arm.template, "items": self.known.asked(name, suite), "asks": asks,
            "settings": suite.settings_of(asks),
            "precision": None if training else self.study.base_precision,
        }  # fmt: skip
        identity = digest({**what, "checkpoint": self._of_weights(training, arm)})
        generation = self.generations.get(identity) or Generation(
            identity=identity, training=training, base=arm.base, suite=name, languages=suite.languages,
            num_items=suite.num_items * len(suite.languages), arms=(), waits_for=self._waits(training, arm),
            scoring=digest({score: suite.settings_of(score) for score in suite.scores}),
        )  # fmt: skip
        self.generations[identity] = replace(generation, arms=_with(generation.arms, arm.name))
        self.needs[arm.name].add(identity)
        return identity


def _selected(group: Group) -> str:
    """Stands for the identity of the candidate that will be selected."""
    return f"{SELECTED}{digest(sorted(group.candidates.values()))}"


def _with(arms: tuple[str, ...], arm: str) -> tuple[str, ...]:
    return arms if arm in arms else (*arms, arm)


def build_graph(study: Study, arms: Mapping[str, ResolvedArm], known: Known, choices: Choices) -> Graph:
    """The graph, as far as the selections made so far decide it.

    Raises:
        StudyError: the sweep does not fit an arm.
    """
    sweep = study.sweep
    if sweep is not None and sweep.arm != "each" and sweep.stage not in arms[sweep.arm].stages:
        raise StudyError(f"sweep.arm: {sweep.arm} skips {sweep.stage}. Name an arm that runs it.")
    builder = _Builder(study, known, choices)
    first = sorted(arms, key=lambda name: sweep is None or name != sweep.arm)  # whose choice others take
    tips = {name: builder.add_arm(arms[name]) for name in first}
    return Graph(
        trainings=builder.trainings,
        generations=builder.generations,
        groups=builder.groups,
        tips={name: tips[name] for name in arms},
        needs={name: frozenset(builder.needs[name]) for name in arms},
    )
