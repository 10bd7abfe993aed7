"""The arms of a study, resolved: the stages that each runs, and its difference from the anchor.

    arms = resolve_arms(study)
    arms["masked"].difference             # (Change(key="sft.loss", anchor="all", here="responses"),)

Where it sits: study -> **arms** -> graph.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from studies.document import nearest, stages_by_name, validated, with_changes
from studies.errors import StudyError
from studies.stage import Stage
from studies.study import Study, parents_of

HEAD = ("base", "template", "seed")
"""Keys of the study that an arm may change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One key in which an arm differs from the anchor."""

    key: str
    """Dotted; the bare name of a stage means the stage itself."""
    anchor: Any
    here: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedArm:
    """What an arm runs."""

    name: str
    priority: int
    base: str
    template: str
    seed: int
    stages: Mapping[str, Stage]
    """By name, parents first; without those that it skips."""
    parents: Mapping[str, str | None]
    """Stage -> the stage whose weights it starts from, skipped ones passed over; None: the base."""
    difference: tuple[Change, ...] = ()

    @property
    def last(self) -> Stage | None:
        """The stage whose weights are the arm's result; None: the base itself is."""
        return list(self.stages.values())[-1] if self.stages else None


def resolve_arms(study: Study) -> dict[str, ResolvedArm]:
    """All arms, in the order of the file.

    Raises:
        StudyError: a change of an unknown key or to the anchor's value, an arm that changes nothing, two equal arms.
    """
    anchor = _resolved(study, study.anchor)
    found: dict[str, ResolvedArm] = {}
    for name in study.arms:
        arm = anchor if name == study.anchor else _resolved(study, name)
        found[name] = _with_difference(study, arm, anchor)
    _check_distinct(study, found)
    return found


def _resolved(study: Study, name: str) -> ResolvedArm:
    arm = study.arms[name]
    stages = {stage.name: stage for stage in study.stages}
    head = {key: getattr(study, key) for key in HEAD}
    for key, value in arm.changes.items():
        where = f"arms.{name}.changes"
        first, _, rest = key.partition(".")
        if first in HEAD and not rest:
            head[key] = value
        elif first not in stages:
            raise StudyError(f"{where}: '{key}' begins with no stage{nearest(first, [*stages, *HEAD])}.")
        elif not rest:
            raise StudyError(f"{where}: '{key}' is a whole stage. Name the key that differs: {key}.learning_rate.")
        elif first in arm.skip:
            raise StudyError(f"{where}: '{key}': the arm skips {first}, so this changes nothing. Take it away.")
        else:
            stages[first] = _changed(stages[first], key, value, where)
    validated(type(study), {**study.model_dump(exclude_unset=True), **head}, f"arms.{name}")
    _check_sources(study, stages, name)
    ordered = _in_order(parents_of(tuple(stages.values())))
    kept = {stage: stages[stage] for stage in ordered if stage not in arm.skip}
    return ResolvedArm(
        name=name, priority=arm.priority, stages=kept, parents=_linked(study, stages, kept), **head
    )  # fmt: skip


def _changed(stage: Stage, key: str, value: Any, where: str) -> Stage:
    raw = with_changes({"stages": [stage.model_dump(exclude_unset=True)]}, {key: value}, where=where)
    return validated(Stage, stages_by_name(raw)[stage.name], f"{where}: '{key}'")


def _check_sources(study: Study, stages: Mapping[str, Stage], arm: str) -> None:
    for stage in stages.values():
        for source in stage.data.names():
            if source not in study.sources:
                hint = nearest(source, study.sources)
                raise StudyError(f"arms.{arm}.changes: {stage.name}.data: '{source}' does not exist{hint}.")


def _in_order(parents: Mapping[str, str | None]) -> list[str]:
    """Parents before their children, else in the order of the file. The study has checked that there is no cycle."""
    ordered: list[str] = []

    def add(name: str) -> None:
        parent = parents[name]
        if parent is not None:
            add(parent)
        if name not in ordered:
            ordered.append(name)

    for name in parents:
        add(name)
    return ordered


def _linked(study: Study, stages: Mapping[str, Stage], kept: Mapping[str, Stage]) -> dict[str, str | None]:
    """The parent of every kept stage: where the declared one is skipped, the one before that."""
    declared = parents_of(tuple(stages.values()))
    linked: dict[str, str | None] = {}
    for name in kept:
        parent = declared[name]
        while parent is not None and parent not in kept:
            parent = declared[parent]
        linked[name] = parent
    return linked


def _with_difference(study: Study, arm: ResolvedArm, anchor: ResolvedArm) -> ResolvedArm:
    """The arm with its difference, which must be what it declares."""
    whole = {stage.name: stage for stage in study.stages}
    changes = [
        Change(key=key, anchor=getattr(anchor, key), here=getattr(arm, key))
        for key in HEAD
        if getattr(anchor, key) != getattr(arm, key)
    ]
    for name in whole:
        here, there = arm.stages.get(name), anchor.stages.get(name)
        if (here is None) != (there is None):
            changes.append(Change(key=name, anchor=there is not None, here=here is not None))
        if here is not None:
            changes += _differences(name, there or whole[name], here, declared=study.arms[arm.name].changes)
    for key in study.arms[arm.name].changes:
        if not any(change.key == key or change.key.startswith(f"{key}.") for change in changes):
            raise StudyError(
                f"arms.{arm.name}.changes: '{key}' has this value in {_whose(study, key, anchor)} too, or no effect. "
                "Change the value, or take the key away."
            )
    if not changes and arm.name != study.anchor:
        raise StudyError(f"arms.{arm.name}: changes nothing. Give it changes, or stages to skip, or take it away.")
    return ResolvedArm(
        **{name: getattr(arm, name) for name in ResolvedArm.__slots__ if name != "difference"},
        difference=tuple(changes),
    )


def _whose(study: Study, key: str, anchor: ResolvedArm) -> str:
    stage = key.partition(".")[0]
    return f"the anchor {study.anchor}" if stage in anchor.stages or stage in HEAD else f"the stage {stage}"


def _differences(name: str, there: Stage, here: Stage, *, declared: Iterable[str]) -> list[Change]:
    """Settings, and data key by key.

    A setting that one of both does not have, such as a rank without LoRA, follows from another change: it counts only
    if the arm declares it.
    """
    flat = [
        {f"{name}.{key}": value for key, value in stage.settings().items()}
        | {f"{name}.data.{key}": value for key, value in stage.data.model_dump(mode="json").items()}
        | {f"{name}.parent": stage.parent}
        for stage in (there, here)
    ]
    keys = dict.fromkeys([*flat[0], *flat[1]])
    return [
        Change(key=key, anchor=flat[0].get(key), here=flat[1].get(key))
        for key in keys
        if flat[0].get(key) != flat[1].get(key)
        and ((key in flat[0] and key in flat[1]) or any(key == d or key.startswith(f"{d}.") for d in declared))
    ]


def _check_distinct(study: Study, arms: Mapping[str, ResolvedArm]) -> None:
    """No two arms run the same; what a sweep tries differs by the arm's values."""
    seen: dict[str, str] = {}
    for name, arm in arms.items():
        swept = study.sweep.values_for(name) if study.sweep and study.sweep.arm == "each" else ()
        runs = repr((arm.base, arm.template, arm.seed, dict(arm.parents), _content(arm), swept))
        if runs in seen:
            raise StudyError(f"arms.{name}: runs the same as {seen[runs]}. Change it, or take one of both away.")
        seen[runs] = name


def _content(arm: ResolvedArm) -> list[object]:
    return [(name, stage.settings(), stage.data.model_dump(mode="json")) for name, stage in arm.stages.items()]
