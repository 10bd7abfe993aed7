"""The identity of a training: a hash of all that decides its weights, and of nothing else.

    known = Known(bases={"models/base": "ab12..."}, data={})
    identity(stage, seed=42, template="chatml", parent=known.base("models/base"), data=known.data_of(stage, study))

Equal identities are trained once and shared. Names of arms, paths and priorities are not part of it. Where base or data
are not at hand, their declared names stand in for their hashes, and the identity is another one.

Where it sits: below the graph.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from core.files import sha256
from core.manifest import versions
from studies.stage import Kind, Stage
from studies.study import Study, Suite

_NOT_TRAINERS = ("oneday", "python")
"""Of the versions on record, those that do not decide what a trainer computes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Hashes of what is at hand."""

    bases: Mapping[str, str] = field(default_factory=dict)
    """Base as the study writes it -> fingerprint of its weights and tokenizer."""
    data: Mapping[str, str] = field(default_factory=dict)
    """`data_key` -> hash of the rows in order."""
    items: Mapping[str, str] = field(default_factory=dict)
    """Suite of the study -> hash of the files of its items."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Versions of the trainer's libraries."""
    cut: Mapping[str, str] = field(default_factory=dict)
    """Identity of a training that ended early -> that of the weights which it left; children start from those."""

    def base(self, name: str) -> str:
        """The base's fingerprint, or its name."""
        return self.bases.get(name, f"declared:{name}")

    def asked(self, name: str, suite: Suite) -> str:
        """The hash of a suite's items, or where they are said to be."""
        return self.items.get(name, f"declared:{suite.items}")

    def rows(self, stage: Stage, study: Study, *, seed: int, template: str) -> str:
        """The hash of the stage's rows, or of what makes them."""
        key = data_key(stage, study, seed=seed, template=template)
        return self.data.get(key, f"declared:{key}")


def trainer_versions() -> dict[str, str]:
    """Versions that decide what a training computes."""
    return {name: version for name, version in versions().items() if name not in _NOT_TRAINERS}


def digest(value: Any) -> str:
    """A hash of a JSON value, independent of the order of keys."""
    return sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))


def data_key(stage: Stage, study: Study, *, seed: int, template: str) -> str:
    """Names the rows of a stage: the builder with its keys, the sources by name and declared size, what is trained."""
    settings = stage.settings()
    return digest(
        {
            "kind": "sft" if stage.kind is Kind.FEEDBACK else str(stage.kind),
            "data": stage.data.model_dump(mode="json"),
            "sources": {name: study.sources[name].rows for name in stage.data.names()},
            "loss": settings.get("loss"),
            "max_prompt_tokens": settings.get("max_prompt_tokens"),
            "template": template,
            "seed": seed,
        }
    )


def training_identity(
    stage: Stage, *, data: str, parent: str, template: str, seed: int, libraries: Mapping[str, str], value: Any = None
) -> str:
    """The identity.

    Args:
        parent: Identity of the training that it starts from, or fingerprint of the base.
        value: What stands for a swept key whose value is not selected yet.
    """
    settings = stage.settings()
    content = {"settings": settings, "data": data, "parent": parent, "template": template, "seed": seed}
    return digest({**content, "versions": dict(libraries), **({"waits": value} if value is not None else {})})


def cut_identity(identity: str, step: int) -> str:
    """Of a training that its share of the budget ended at a step: other weights, hence another identity."""
    return digest({"cut": identity, "step": step})
