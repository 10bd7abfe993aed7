"""What is served: a run folder, its picked adapter, any PEFT adapter, or a whole model.

served = find_served(Path("runs/demo"), base=None)
"""

from dataclasses import dataclass
from pathlib import Path

from curation.files import read_as
from curation.language_model import Precision
from harness.pick import ADAPTER, PICK, PICKED
from submission.errors import ServeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A base model and, usually, an adapter on top of it."""

    base: Path
    lora_adapter: Path | None
    precision: Precision | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """What of `picked.json` is needed."""

    base_model: str
    precision: str
    adapter: str = ADAPTER


@dataclass(frozen=True, slots=True, kw_only=True)
class _Adapter:
    """What of PEFT's `adapter_config.json` is needed."""

    base_model_name_or_path: str | None = None


def find_served(checkpoint: Path, *, base: Path | None) -> Served:
    """Reads what a folder is.

    Args:
        checkpoint: A run folder or its `08_pick`; a PEFT adapter folder; or a model folder.
        base: Overrides the base model that the folder names.
    Raises:
        ServeError: it is none of these, or its base model is not there.
        StageError: the file that says what it is, is damaged.
    """
    for folder in (checkpoint / PICK, checkpoint):
        if (folder / PICKED).is_file():
            picked = read_as(_Choice, folder / PICKED, mend=f"`oneday pick {folder.parent}` writes it anew.")
            four_bit = picked.precision == "4bit"
            return Served(
                base=_existing(base, picked.base_model, folder),
                lora_adapter=folder / picked.adapter,
                precision="4bit" if four_bit else None,
            )
    if (checkpoint / "adapter_config.json").is_file():
        named = read_as(_Adapter, checkpoint / "adapter_config.json", mend="Save the adapter again.")
        found = _existing(base, named.base_model_name_or_path, checkpoint)
        return Served(base=found, lora_adapter=checkpoint, precision=None)
    if (checkpoint / "config.json").is_file():
        return Served(base=checkpoint, lora_adapter=None, precision=None)
    if checkpoint.is_dir():
        raise ServeError(f"{checkpoint}: no picked checkpoint, no adapter and no model in it. Run `oneday pick` first.")
    raise ServeError(f"{checkpoint}: no such folder. --checkpoint takes a run, an adapter or a model folder.")


def _existing(given: Path | None, named: str | None, folder: Path) -> Path:
    if given is None and not named:
        raise ServeError(f"{folder}: it does not say which base model it belongs to. Pass --base FOLDER.")
    base = given or Path(str(named))
    if not base.is_dir():
        raise ServeError(f"{folder}: its base model {base} is not a local folder. Pass --base FOLDER.")
    return base
