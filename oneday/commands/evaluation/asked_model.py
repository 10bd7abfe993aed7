"""The model that a command asks: a run's picked checkpoint, a folder, a name on the hub, or a server.

    asked = find_asked_model("runs/200k", base=None, precision=None)
    asked.engine.build()

Where it sits: below `generate` and `evaluate`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.files import read_jsonl
from core.generation.engine import Engine
from core.model.folder import model_fingerprint
from core.model.quantisation import Precision, Quantisation
from core.run_folder import PICK
from evaluation.suite import Template
from harness.base_model import find_model, load_tokenizer
from harness.checkpoint.trained_base import TRAINED_BASE
from harness.run import LEDGER
from oneday.commands.compare import mix_of
from oneday.commands.serve import chat_template_of
from submission.checkpoint import Served, find_served

DEFAULT = "default"
"""Precision of a model for which none is asked: bf16 on a GPU, fp32 on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedModel:
    """Who answers."""

    engine: Engine
    checkpoint: Mapping[str, object]
    """Name and hashes, as every response stores them."""
    precision: str
    """Of the weights; `default` where nothing says it."""
    template: Template
    """The one that this model is asked with, unless another is asked for."""
    run: Path | None = None
    """Its run folder, if that has a ledger."""
    served: Served | None = None
    """None: a server."""
    warnings: tuple[str, ...] = ()


def is_url(model: str) -> bool:
    """Whether a server is named."""
    return model.startswith(("http://", "https://"))


def find_asked_model(
    model: str,
    *,
    base: Path | None = None,
    precision: Precision | None = None,
    base_changed: bool = False,
    served_model: str | None = None,
    batch_size: int = 32,
    fetch: Callable[[str], None] | None = None,
) -> AskedModel:
    """Finds it without loading it.

    Args:
        model: As the user named it.
        base: Overrides the base model that a run or an adapter names.
        served_model: A server's name for the model.
        fetch: Called with a message before a model is downloaded from the hub; None: nothing is downloaded.

    Raises:
        OnedayError: no such model, or its base is missing or another one than in training.
    """
    if is_url(model):
        engine = Engine(name="openai", url=model, model=served_model, sends_key=True)
        named = {"name": served_model or model, "sha256": None}
        return AskedModel(engine=engine, checkpoint=named, precision="served", template=Template.CHAT)
    folder = Path(model)
    if not folder.is_dir():
        folder = find_model(model, fetch=fetch)
    served = find_served(folder, base=base, precision=precision, base_changed=base_changed)
    return AskedModel(
        engine=Engine(
            name="transformers", base=served.base, lora_adapter=served.lora_adapter, precision=served.precision,
            batch_size=batch_size, chat_template=chat_template_of(None, served),
        ),
        checkpoint={"name": model.rstrip("/"), **_hashes(served)},
        precision=_name(served.precision),
        template=_template(folder, served),
        run=folder if (folder / LEDGER).is_file() else None,
        served=served,
        warnings=served.warnings,
    )  # fmt: skip


def _hashes(served: Served) -> dict[str, object]:
    base = model_fingerprint(served.base)
    if served.lora_adapter is None:
        return {"sha256": base}
    return {"sha256": None, "base_sha256": base, "adapter_sha256": model_fingerprint(served.lora_adapter)}


def _name(precision: Precision | Quantisation | None) -> str:
    return precision.describe() if isinstance(precision, Quantisation) else precision or DEFAULT


def _first_row(folder: Path) -> Mapping[str, object]:
    """Of the mix of a run."""
    rows = mix_of(folder) / "train.jsonl"
    return next(read_jsonl(rows), {}) if rows.is_file() else {}


def template_of_run(folder: Path) -> Template | None:
    """How the rows of a run were rendered; None: they are texts, or they are not here."""
    row = _first_row(folder)
    if {"messages", "chosen"} & row.keys():
        return Template.CHAT
    return Template.ALPACA if "instruction" in row else None


def _template(folder: Path, served: Served) -> Template:
    """That of the training, if `oneday train` trained an adapter or all weights on answers; else the base's."""
    adapter = served.lora_adapter
    is_ours = (folder / PICK).is_dir() or (
        adapter is not None and (adapter != folder or (adapter / TRAINED_BASE).is_file())
    )
    if is_ours and (trained := template_of_run(folder)) is not None:
        return trained
    return Template.CHAT if isinstance(load_tokenizer(served.base).chat_template, str) else Template.PLAIN
