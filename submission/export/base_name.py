"""How the model card calls the base of an export.

    base_name(model, is_changed=False)      # BaseName(text="mistralai/Mistral-7B-v0.1", on_hub=True)

A base without a known name on the hub has the name of its folder; one that `oneday base` made has its model's name, and
the picked weights of a parent run have the parent's name.

Where it sits: picked model -> **base name** -> model card.
"""

from dataclasses import dataclass
from pathlib import Path

from core.files import read_as
from core.model.packaged import origin_of
from harness.checkpoint.trained_base import hub_name
from harness.parent import MODEL, RECORD
from submission.export.picked_model import PickedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseName:
    """The name of a base."""

    text: str
    on_hub: bool = False
    """The text is the name of a repository of the hub."""
    told: str = ""
    """What the base is, as a sentence, where its name does not say it."""

    @property
    def as_argument(self) -> str:
        """What a reader passes to a program."""
        return self.text if self.on_hub else f"PATH/TO/{self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parent:
    """The fields of `parent.json` that name the parent."""

    checkpoint: str
    how: str
    run: str = "parent"


def base_name(model: PickedModel, *, is_changed: bool) -> BaseName:
    """The base in training; if the weights were merged into another one on purpose, that one."""
    folder = model.base if is_changed else model.own
    name = hub_name(folder, None)[0] if is_changed else model.trained.name
    return BaseName(text=name, on_hub=True) if name else name_of_folder(folder)


def name_of_folder(folder: Path) -> BaseName:
    """The name of a base that the hub does not have."""
    folder = folder.resolve()
    record = folder.parent / RECORD
    if folder.name == MODEL and record.is_file():
        parent = read_as(_Parent, record)
        told = (
            f"Its base is the model of another run, `{parent.run}`: {parent.checkpoint}, {parent.how}. "
            "An export of that run with whole weights is the base to load."
        )
        return BaseName(text=f"{parent.run}-{parent.checkpoint}", told=told)
    made = origin_of(folder)
    if made:
        return BaseName(text=made.name, told=f"`oneday base {made.name}` makes its base from published packages.")
    return BaseName(text=folder.name)
