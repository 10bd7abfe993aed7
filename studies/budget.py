"""One budget over everything: which arms fit, which leave, and the share of each training.

    fitted = fit(study, arms, graph, seconds, budget_s=86_400)
    fitted.dropped                         # ("neftune", "masked")

Shared work counts once. If the sum does not fit, whole arms leave, those with the lowest priority first, later ones in
the file before earlier ones. The anchor never leaves. A training leaves when no remaining arm needs it.

Where it sits: graph + estimates -> **budget** -> plan, run.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from harness.budget.duration import pretty
from studies.errors import StudyError
from studies.graph import Graph
from studies.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What the budget holds."""

    arms: tuple[str, ...]
    """In the order of the file."""
    dropped: tuple[str, ...]
    """In the order in which they left."""
    work: frozenset[str]
    """Identities of the trainings and generations that remain."""
    seconds: float


def fit(
    study: Study, graph: Graph, seconds: Mapping[str, float], *, budget_s: float, is_running: bool = False
) -> Fitted:
    """Drops arms until the rest fits.

    Args:
        seconds: Of each training and generation; 0 for what is done.
        is_running: The anchor is begun, and stays even if it turns out not to fit.

    Raises:
        StudyError: not even the anchor fits; the message has the least budget.
    """
    arms, dropped = list(study.arms), list[str]()
    while _sum(graph, arms, seconds) > budget_s:
        leaving = next((name for name in _leaving_order(study, arms) if _frees(graph, arms, name, seconds)), None)
        if leaving is None and is_running:
            break
        if leaving is None:
            least = _sum(graph, arms, seconds)
            raise StudyError(
                f"`budget={pretty(budget_s)}` is too small: the anchor {study.anchor} alone needs {pretty(least)} "
                "by estimate. Give at least that, or a shorter training."
            )
        arms.remove(leaving)
        dropped.append(leaving)
    return Fitted(
        arms=tuple(arms), dropped=tuple(dropped), work=_work(graph, arms), seconds=_sum(graph, arms, seconds)
    )  # fmt: skip


MOST_OVER = 3.0
"""Times its estimate that one training may take while others wait: an estimate errs, but what hangs must end."""


def share_of(identity: str, waiting: Collection[str], seconds: Mapping[str, float], *, left_s: float) -> float:
    """Seconds that one training or generation may take at most.

    The others keep what they are estimated to need. What is left over goes to whoever runs, up to `MOST_OVER` times its
    estimate, or its proportion of all that is left where that is more.

    Args:
        waiting: Everything that remains, `identity` included.
    """
    own, total = seconds[identity], sum(seconds[other] for other in waiting)
    if total <= 0 or left_s <= 0:
        return 0.0
    over = max(0.0, left_s - total)
    return max(left_s * own / total, min(own + over, MOST_OVER * own) if over > 0 else 0.0)


def priority_of(study: Study, graph: Graph, identity: str, arms: Collection[str]) -> int:
    """The highest priority of the arms that need it."""
    return max((study.arms[name].priority for name in arms if identity in graph.needs[name]), default=0)


def _leaving_order(study: Study, arms: Collection[str]) -> list[str]:
    order = {name: number for number, name in enumerate(study.arms)}
    others = [name for name in arms if name != study.anchor]
    return sorted(others, key=lambda name: (study.arms[name].priority, -order[name]))


def _work(graph: Graph, arms: Collection[str]) -> frozenset[str]:
    return frozenset().union(*(graph.needs[name] for name in arms))


def _sum(graph: Graph, arms: Collection[str], seconds: Mapping[str, float]) -> float:
    return sum(seconds[identity] for identity in sorted(_work(graph, arms)))


def _frees(graph: Graph, arms: Collection[str], name: str, seconds: Mapping[str, float]) -> bool:
    """Whether anything is saved if this arm leaves. One whose work all others need too may stay."""
    rest = _work(graph, [other for other in arms if other != name])
    return any(seconds[identity] > 0 for identity in graph.needs[name] - rest)
