"""Export: a run's picked adapter, merged weights, a GGUF file, or the model of a run that trained all weights.

    exported = export(Export(run=Path("runs/200k"), to="gguf"), command="oneday export 200k")
    exported.measured.top_1, exported.measured.num_same_answers

After it is written, another program loads the export and is compared with the run's server. The figures stand in the
model card.

Where it sits: picked checkpoint -> **09_export**.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from core.comparison import Comparison
from core.encoding.rendering import CHAT_TEMPLATE
from core.files import make_folder, naming, read_as, read_json, write_json, write_text
from core.manifest import MANIFEST, read_manifest
from core.model.folder import caps_attention
from core.model.libraries import quieten
from core.model.merge import TOKENIZER_FILES, Dtype, copy_those_there
from core.run_folder import EXPORT, TRAIN
from harness.base_model import licence_of, load_tokenizer
from harness.checkpoint.trained_base import write_trained_base
from harness.checkpoint.whole_model import write_whole_model
from harness.data.dataset import DESCRIPTION
from harness.supervise import DATA
from submission.errors import ExportError
from submission.export.agreement import Agreement, compare, logits
from submission.export.base_name import base_name
from submission.export.card_facts import CardFacts, Told
from submission.export.gguf import GgufType, check_architecture, write_gguf
from submission.export.llama_cpp.program import LLAMA_CPP, LlamaCpp
from submission.export.model_card import model_card
from submission.export.modelfile import ALPACA, chat_template, modelfile
from submission.export.other_program import (
    NUM_PROMPTS,
    ROUNDED,
    SAME_NUMBERS,
    Bound,
    Measured,
    OtherProgram,
    Transformers,
    bound_of,
    check,
    measure,
)
from submission.export.picked_model import PickedModel, picked_model, validation_prompts, validation_rows
from submission.export.publish import publish, without_paths

Target = Literal["adapter", "merged", "gguf", "ollama"]
MODELFILE = "Modelfile"
CHECKED_ROWS = 32
"""Of the validation set, on which merged weights are compared with base and adapter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is exported."""

    run: Path
    to: Target = "adapter"
    merge: Dtype = "bf16"
    """The type of merged weights."""
    gguf: GgufType = "f16"
    """The type of the weights in a GGUF file."""
    llama: Path = Path(".llama")
    """The environment of llama.cpp, which reads a GGUF file after it is written."""
    base: Path | None = None
    """Overrides the base model that the pick names."""
    base_changed: bool = False
    """The base may be another one than in training."""
    check: bool = True

    @property
    def is_gguf(self) -> bool:
        """A GGUF file is written."""
        return self.to in ("gguf", "ollama")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Where it lies."""

    folder: Path
    agreement: Agreement | None
    measured: Measured | None = None
    """The written folder, loaded by another program, against the run's server."""
    program: str = ""
    """The other program."""
    notes: tuple[str, ...] = ()
    """What the user should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """The files of an export, before its model card."""

    weights: str
    """What the weights are, for the model card: `lora_adapter`, `trained`, or their type."""
    agreement: Agreement | None = None
    gguf: str | None = None
    """Name of the GGUF file."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    """The field of the training's `dataset.json` that is needed."""

    chat_template: str = ""


OnProgress = Callable[[int, int], None]


def export(wanted: Export, *, command: str, on_progress: OnProgress = lambda done, total: None) -> Exported:
    """Writes a folder below `09_export`; what was there before is removed when the new one is whole.

    Args:
        command: Stands in the model card.
    Raises:
        ExportError: nothing is picked, it cannot be written in this form, or another program loads another model.
        ConfigError: the base is another one than in training.
    """
    model = picked_model(wanted.run, base=wanted.base, base_changed=wanted.base_changed)
    manifest = _manifest(wanted.run)
    scores = _scores(wanted.run)
    if wanted.to == "merged" and model.is_whole:
        raise ExportError(f"{wanted.run}: trained all weights, so there is nothing to merge. Leave `merge=` out.")
    if wanted.is_gguf:
        check_architecture(model.folder if model.is_whole else model.base)
        if wanted.check:
            _check_comparable(wanted, model)
    name = "model" if wanted.to == "adapter" and model.is_whole else wanted.to
    folder = wanted.run / EXPORT / name
    temporary = folder.with_name(f"{name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    make_folder(temporary)
    written = _write(wanted, model, temporary, on_progress)
    other, bound = _other_program(wanted, model, temporary, written)
    measured, more_notes = _measure(wanted, model, other, bound) if wanted.check and other else (None, ())
    facts = CardFacts(
        manifest=manifest,
        picked=asdict(model.picked),
        name=wanted.run.resolve().name,
        base=base_name(model, is_changed=wanted.to != "adapter" and model.is_changed),
        base_licence=licence_of(model.own if wanted.to == "adapter" else model.base),
        quantisation=model.trained.quantisation,
        weights=written.weights,
        gguf=written.gguf,
        has_modelfile=wanted.to == "ollama",
        is_eager=caps_attention(model.base),
        is_changed=model.is_changed and wanted.to != "adapter",
        prompts=_prompts_told(wanted.run),
        agreement=asdict(written.agreement) if written.agreement else None,
        measured=measured,
        program=other.name if other else "",
        scores=scores,
        command=command,
    )
    write_text(temporary / "README.md", model_card(facts))
    write_json(temporary / "manifest.json", without_paths(manifest))
    publish(temporary, folder)
    return Exported(
        folder=folder,
        agreement=written.agreement,
        measured=measured,
        program=facts.program,
        notes=(*written.notes, *more_notes),
    )


def _write(wanted: Export, model: PickedModel, out: Path, on_progress: OnProgress) -> _Written:
    if wanted.is_gguf:
        return _write_gguf(wanted, model, out, on_progress)
    if wanted.to == "merged":
        agreement, notes = _merge(wanted, model, out, on_progress)
        return _Written(weights=wanted.merge, agreement=agreement, notes=notes)
    _copy(model, out)
    return _Written(weights="trained" if model.is_whole else "lora_adapter")


def _other_program(
    wanted: Export, model: PickedModel, folder: Path, written: _Written
) -> tuple[OtherProgram | None, Bound]:
    """The program that loads the export, and how much it may differ; None: the export is a copy of the run's files."""
    kept = model.trained.quantisation
    if written.gguf:
        is_exact = wanted.gguf == "f32" and kept.compute_dtype == "float32"
        other = LlamaCpp(environment=wanted.llama, gguf=folder / written.gguf)
        return other, SAME_NUMBERS if is_exact else ROUNDED
    if model.is_whole:
        return None, ROUNDED
    is_merged = wanted.to == "merged"
    whole = Transformers(exported=folder, base=None if is_merged else model.reference, quantisation=kept)
    return whole, bound_of(kept, wanted.merge if is_merged else None)


def _check_comparable(wanted: Export, model: PickedModel) -> None:
    """Refuses a GGUF file that could not be compared, before minutes are spent on writing it.

    Raises:
        ExportError: the base in training is not here, or the run has no validation rows with prompts.
    """
    lacks = "the base in training is not here" if model.reference is None and not model.is_whole else ""
    if not lacks and not validation_prompts(wanted.run, NUM_PROMPTS):
        lacks = "the run has no validation rows with prompts"
    if lacks:
        raise ExportError(
            f"{wanted.run}: the GGUF file cannot be compared with the run's server: {lacks}. `check=false` writes it "
            "without a comparison."
        )


def _measure(
    wanted: Export, model: PickedModel, other: OtherProgram, bound: Bound
) -> tuple[Measured | None, tuple[str, ...]]:
    """Loads the written folder by another program, and compares it with the run's server.

    Raises:
        ExportError: it is another model. Weights that were merged onto another base on purpose may be.
    """
    if model.reference is None and not model.is_whole:
        return None, () if wanted.to == "merged" else ("not measured after writing: the base in training is not here",)
    prompts = validation_prompts(wanted.run, NUM_PROMPTS)
    if not prompts:
        return None, ("not measured after writing: the run has no validation rows with prompts",)
    if isinstance(other, LlamaCpp):
        LLAMA_CPP.install(other.environment)
    measured = measure(
        prompts,
        base=model.folder if model.is_whole else model.own,
        lora_adapter=model.lora_adapter,
        quantisation=model.trained.quantisation,
        other=other,
    )
    if not (wanted.to != "adapter" and model.is_changed):
        check(measured, bound, wanted.run / EXPORT / wanted.to, other.name)
    return measured, ()


def _merge(
    wanted: Export, model: PickedModel, out: Path, on_progress: OnProgress
) -> tuple[Agreement | None, tuple[str, ...]]:
    """Merged weights, and how well they agree with the base in training and its adapter."""
    rows = validation_rows(wanted.run, CHECKED_ROWS) if wanted.check else []
    kept = model.trained.quantisation
    _write_merged(model, out, wanted.merge, on_progress)
    if not rows:
        return None, ()
    if model.reference is None:
        return None, ("not compared with base and adapter: the base in training is not at hand",)
    before = logits(model.reference, model.folder, kept, rows)
    return compare(before, logits(out, None, wanted.merge, rows)), ()


def _write_merged(model: PickedModel, out: Path, dtype: Dtype, on_progress: OnProgress) -> None:
    quieten()
    kept = model.trained.quantisation
    write_whole_model(model.folder, model.base, out, quantisation=kept, dtype=dtype, on_progress=on_progress)


def _write_gguf(wanted: Export, model: PickedModel, out: Path, on_progress: OnProgress) -> _Written:
    """One GGUF file, and for Ollama a Modelfile. Merged weights lie beside it until it is written."""
    name = wanted.run.resolve().name
    file = out / f"{name}-{wanted.gguf}.gguf"
    text = _modelfile(wanted.run, model, file.name) if wanted.to == "ollama" else None
    whole = model.folder
    if not model.is_whole:
        whole = out / "weights"
        _write_merged(model, whole, "bf16" if wanted.gguf == "bf16" else "fp32", on_progress)
    write_gguf(whole, file, kind=wanted.gguf, name=name)
    if not model.is_whole:
        shutil.rmtree(whole)
    if text:
        write_text(out / MODELFILE, text)
    return _Written(weights=wanted.gguf, gguf=file.name)


def _modelfile(run: Path, model: PickedModel, file: str) -> str:
    """The Modelfile, with the template that the run trained on."""
    base = model.folder if model.is_whole else model.own
    tokenizer = load_tokenizer(base)
    own = model.folder / CHAT_TEMPLATE
    if not _trained_on_chats(run):
        return modelfile(file, ALPACA, stop=str(tokenizer.eos_token or ""))
    found, end = chat_template(tokenizer, template=own.read_text(encoding="utf-8") if own.is_file() else None)
    return modelfile(file, found.go(), stop=end)


def _trained_on_chats(run: Path) -> str:
    """A sentence about the chat template of the training; empty: the run trained on Alpaca prompts."""
    path = run / TRAIN / DATA / DESCRIPTION
    return read_as(_Trained, path).chat_template if path.is_file() else ""


def _prompts_told(run: Path) -> str:
    told = _trained_on_chats(run)
    if told:
        return f"Prompts follow a chat template ({told.removeprefix('chat template: ')})."
    return "Prompts follow the Alpaca template: `### Instruction:`, `### Input:`, `### Response:`."


def _copy(model: PickedModel, out: Path) -> None:
    """Copies the model, or adapter and tokenizer. The adapter's base is named by its hub name, or not at all."""
    if not model.is_whole:
        copy_those_there(TOKENIZER_FILES, model.own, out)
    for path in filter(Path.is_file, model.folder.iterdir()):  # a chat template beside the adapter replaces the base's
        with naming(out / path.name):
            shutil.copyfile(path, out / path.name)
    if model.is_whole:
        return
    trained = model.trained
    config = read_json(out / "adapter_config.json")
    config |= {"base_model_name_or_path": trained.name, "revision": trained.revision}
    write_text(out / "adapter_config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")
    write_trained_base(out, trained)


def _manifest(run: Path) -> dict[str, dict[str, Any]]:
    """The run's manifest, checked for what the model card needs."""
    manifest = read_manifest(run)
    read_as(Told, run / MANIFEST, mend=f"Restore it, or move it away and run `oneday pick {run}`.")
    return manifest


def _scores(run: Path) -> list[dict[str, Any]]:
    """The comparison of base and tuned, if it was measured."""
    path = run / "10_scores" / "comparison.json"
    mend = f"oneday compare {run} `redo=true` measures anew."
    return [asdict(c) for c in read_as(list[Comparison], path, mend=mend)] if path.is_file() else []
