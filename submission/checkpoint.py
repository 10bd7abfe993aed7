"""What can be served: a run folder, its picked adapter or model, any PEFT adapter, or a whole model.

served = find_served(Path("runs/demo"), base=None)
"""

from dataclasses import dataclass
from pathlib import Path

from core.encoding.rendering import CHAT_TEMPLATE
from core.errors import OnedayError
from core.files import read_as
from core.model.quantisation import Precision, Quantisation
from core.run_folder import PICK
from harness.base_model import find_model
from harness.checkpoint.pick import ADAPTER, PICKED
from harness.checkpoint.trained_base import QUANTISATION_UNKNOWN, check_same_base, find_trained_base
from submission.errors import ServeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A base model and, usually, an adapter on top of it."""

    base: Path
    lora_adapter: Path | None
    precision: Precision | Quantisation | None
    """The requested precision, else that of the adapter's training; None: the device's default."""
    warnings: tuple[str, ...] = ()
    """Assumptions that the user should know."""

    @property
    def chat_template(self) -> Path | None:
        """The chat template that lies beside the adapter, if it was trained with another than the base's."""
        found = self.lora_adapter / CHAT_TEMPLATE if self.lora_adapter else None
        return found if found and found.is_file() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """The fields of `picked.json` that are needed."""

    base_model: str
    precision: str
    adapter: str = ADAPTER


@dataclass(frozen=True, slots=True, kw_only=True)
class _Adapter:
    """The fields of PEFT's `adapter_config.json` that are needed."""

    base_model_name_or_path: str | None = None


def find_served(
    checkpoint: Path, *, base: Path | None, precision: Precision | None = None, base_changed: bool = False
) -> Served:
    """Finds the base model and the adapter of a folder.

    Args:
        checkpoint: A run folder or its `08_pick`; a PEFT adapter folder; or a model folder.
        base: Overrides the base model that the folder names.
        precision: Overrides the precision of the base in training.
        base_changed: Allows a base other than the one in training.
    Raises:
        ServeError: the folder is none of these, or its base model is missing.
        ConfigError: the base is not the one in training.
        StageError: the file that describes the folder is damaged.
    """
    for folder in (checkpoint / PICK, checkpoint):
        if (folder / PICKED).is_file():
            picked = read_as(_Choice, folder / PICKED, mend=f"`oneday pick {folder.parent}` writes it anew.")
            found = _existing(base, picked.base_model, folder)
            if (folder / picked.adapter / "config.json").is_file():  # all weights were trained
                return Served(base=folder / picked.adapter, lora_adapter=None, precision=precision)
            # a pick made before the base was recorded says only this
            kept: Precision | None = "4bit" if picked.precision == "4bit" else None
            return _on_its_base(folder / picked.adapter, found, precision, base_changed, assumed=kept, is_told=True)
    if (checkpoint / "adapter_config.json").is_file():
        named = read_as(_Adapter, checkpoint / "adapter_config.json", mend="Save the adapter again.")
        found = _existing(base, named.base_model_name_or_path, checkpoint)
        return _on_its_base(checkpoint, found, precision, base_changed, assumed=None, is_told=False)
    if (checkpoint / "config.json").is_file():
        return Served(base=checkpoint, lora_adapter=None, precision=precision)
    if checkpoint.is_dir():
        raise ServeError(f"{checkpoint}: no picked checkpoint, no adapter and no model in it. Run `oneday pick` first.")
    raise ServeError(f"{checkpoint}: no such folder. `checkpoint=` takes a run, an adapter or a model folder.")


def _on_its_base(
    adapter: Path, base: Path, asked: Precision | None, base_changed: bool, *, assumed: Precision | None, is_told: bool
) -> Served:
    """The adapter on its base, in the precision of training unless another is requested."""
    trained = find_trained_base(adapter)
    check_same_base(trained, base, adapter, on_purpose=base_changed)
    precision = asked or (trained.quantisation if trained else assumed)
    untold = trained is None and not is_told and asked is None
    warning = (
        f"{QUANTISATION_UNKNOWN.format(folder=adapter)} `precision=4bit` serves it on a base in NF4, as QLoRA trains."
    )
    return Served(base=base, lora_adapter=adapter, precision=precision, warnings=(warning,) if untold else ())


def _existing(given: Path | None, named: str | None, folder: Path) -> Path:
    """The base as a local folder, or from the hub's cache on this machine."""
    if given is None and not named:
        raise ServeError(f"{folder}: it does not say which base model it belongs to. Pass `base=FOLDER`.")
    base = given or Path(str(named))
    if base.is_dir():
        return base
    try:
        return find_model(str(base))
    except OnedayError as e:
        raise ServeError(f"{folder}: its base model {base} is not a local folder. Pass `base=FOLDER`.") from e
