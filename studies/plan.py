"""The plan of a study: every training and generation with its hours, what is shared, what leaves, every deviation.

    plan = plan_study(study, known=Known(), speeds=Speeds())
    plan.as_json()["trainings"]

Where it sits: all of the above -> **plan** -> `oneday study`, before it starts. The run plans anew as it learns.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from harness.budget.duration import seconds
from studies.arm import ResolvedArm, resolve_arms
from studies.budget import Fitted, fit
from studies.deviations import deviations
from studies.estimate import Cost, Speeds, estimate
from studies.graph import Choices, Generation, Graph, Training, build_graph
from studies.identity import Known
from studies.recipe import check_keys
from studies.study import Deviation, Study

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """What a study will do."""

    study: Study
    arms: Mapping[str, ResolvedArm]
    graph: Graph
    costs: Mapping[str, Cost]
    fitted: Fitted
    deviations: tuple[Deviation, ...]

    @property
    def hours(self) -> float:
        """Of everything that remains."""
        return self.fitted.seconds / HOUR_S

    def is_dropped(self, work: Training | Generation) -> bool:
        """Whether the budget leaves it out."""
        return work.identity not in self.fitted.work

    def shared(self) -> list[Training]:
        """Trainings on which several arms rest."""
        return [training for training in self.graph.trainings.values() if len(training.arms) > 1]

    def as_json(self) -> dict[str, object]:
        """For a program; hours are estimates."""
        return {
            "study": self.study.study,
            "trainings": [self._training(training) for training in self.graph.trainings.values()],
            "generations": [self._generation(generation) for generation in self.graph.generations.values()],
            "dropped": list(self.fitted.dropped),
            "hours": round(self.hours, 2),
            "budget_hours": round(seconds(self.study.budget) / HOUR_S, 2),
            "deviations": [line.model_dump(mode="json") for line in self.deviations],
            "arms": {
                name: {"priority": arm.priority, "differs": [asdict(change) for change in arm.difference]}
                for name, arm in self.arms.items()
            },
        }

    def _training(self, training: Training) -> dict[str, object]:
        cost = self.costs[training.identity]
        return {
            "identity": training.identity,
            "stage": training.stage.name,
            "kind": str(training.stage.kind),
            "base": training.base,
            "parent": training.parent,
            "arms": list(training.arms),
            "swept": training.swept,
            "waits_for": training.waits_for,
            "hours": round(cost.seconds / HOUR_S, 3),
            "steps": cost.steps,
            "tokens": cost.tokens,
            "measured": cost.measured,
            "dropped": self.is_dropped(training),
        }

    def _generation(self, generation: Generation) -> dict[str, object]:
        cost = self.costs[generation.identity]
        return {
            "identity": generation.identity,
            "training": generation.training,
            "suite": generation.suite,
            "languages": list(generation.languages),
            "num_items": generation.num_items,
            "arms": list(generation.arms),
            "waits_for": generation.waits_for,
            "hours": round(cost.seconds / HOUR_S, 3),
            "measured": cost.measured,
            "dropped": self.is_dropped(generation),
        }


def plan_study(
    study: Study,
    *,
    known: Known,
    speeds: Speeds,
    choices: Choices | None = None,
) -> StudyPlan:
    """The plan before anything has run.

    Raises:
        StudyError: the study cannot be resolved, or its budget does not even hold the anchor.
    """
    arms = resolve_arms(study)
    for arm in arms.values():
        for stage in arm.stages.values():
            check_keys(stage)
    lines = deviations(study, arms)
    graph = build_graph(study, arms, known, choices or {})
    costs = estimate(study, graph, speeds)
    fitted = fit(study, graph, {i: cost.seconds for i, cost in costs.items()}, budget_s=seconds(study.budget))
    return StudyPlan(
        study=study, arms=arms, graph=graph, costs=costs, fitted=fitted, deviations=tuple(lines)
    )  # fmt: skip
