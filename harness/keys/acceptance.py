"""Whether a recipe can be trained, by its keys alone: without model, data, network or GPU.

    accepted = Acceptance.of(read_mapping(path))
    accepted.accepted, accepted.objective, accepted.weights, accepted.needs

Where it sits: recipe -> **acceptance** -> the dry run of `oneday train`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.errors import ConfigError
from harness.keys.needs import needs
from harness.keys.objective import objective_of
from harness.keys.table import KeyTable
from harness.keys.weights import weights_of
from harness.recipe import AxolotlConfig, recipe_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """The answer. Accepted means that objective, weights and trainer are known, and that every value is in range."""

    accepted: bool
    objective: str | None
    """None: it is none that the harness knows."""
    weights: str | None
    needs: tuple[str, ...] = ()
    """`gpu`, packages, kernels and code that a machine must have."""
    kept: tuple[str, ...] = ()
    overruled: Mapping[str, str] = field(default_factory=dict)
    """Why, by key."""
    unknown: Mapping[str, str | None] = field(default_factory=dict)
    """The known key that is spelt most alike, by key."""
    problem: str = ""
    """Why it is not accepted."""
    recipe: AxolotlConfig | None = None

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "Acceptance":
        """Looks at every key of a recipe."""
        try:
            table = KeyTable.of(raw)
        except ConfigError as e:
            return cls(accepted=False, objective=None, weights=None, problem=str(e))
        problem, recipe = "", None
        try:
            recipe = recipe_of(table)
        except ConfigError as e:
            problem = str(e)
        return cls(
            accepted=recipe is not None,
            objective=_known(objective_of, table),
            weights=_known(weights_of, table),
            needs=needs(table.values, table.plugins),
            kept=tuple(table.values),
            overruled=table.overruled,
            unknown=table.unknown,
            problem=problem,
            recipe=recipe,
        )


def _known(asks: Any, table: KeyTable) -> str | None:
    try:
        return str(asks(table.values))
    except ConfigError:
        return None
