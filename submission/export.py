"""Export: a run's picked adapter, or merged weights, with a model card; ready for a hub, or for another server.

    exported = export(Export(run=Path("runs/200k"), merge="bf16"))
    exported.agreement.top_1

Where it sits: picked checkpoint -> **09_export**.
"""

import itertools
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from curation.errors import StageError
from curation.files import read_as, read_jsonl, sync_directory, write_json
from curation.language_model import LanguageModel, Precision
from curation.libraries import quieten
from curation.model_folder import check_model_folder
from harness.base_model import licence_of
from harness.compare import Comparison
from harness.manifest import MANIFEST, read_manifest
from harness.pick import PICK, PICKED, Picked, read_picked
from submission.errors import ExportError
from submission.merge import Dtype, merge, opened
from submission.model_card import Told, model_card

EXPORT = "09_export"
ADAPTER_FOLDER, MERGED_FOLDER = "adapter", "merged"
CHECKED_ROWS = 32
"""Of the validation set, on which merged weights are compared with base and adapter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is exported."""

    run: Path
    merge: Dtype | None = None
    """None: the adapter."""
    base: Path | None = None
    """Overrides the base model that the pick names."""
    check: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Merged weights against base and adapter, over all positions of some validation rows."""

    num_positions: int
    largest_difference: float
    """Of a logit."""
    top_1: float
    """Share of positions at which both find the same token most likely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Where it lies."""

    folder: Path
    agreement: Agreement | None


def export(
    wanted: Export, *, command: str, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Exported:
    """Writes `09_export/adapter` or `09_export/merged`; what was there before goes when the new one is whole.

    Args:
        command: Stands in the model card.
    Raises:
        ExportError: nothing picked, or it cannot be merged.
    """
    picked, adapter, base = _found(wanted)
    manifest = _manifest(wanted.run)
    scores = _scores(wanted.run)
    rows = _validation(wanted.run) if wanted.merge and wanted.check else []
    four_bit = picked.precision == "4bit"
    name = MERGED_FOLDER if wanted.merge else ADAPTER_FOLDER
    folder = wanted.run / EXPORT / name
    temporary = folder.with_name(f"{name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    agreement = None
    if wanted.merge:
        quieten()
        merge(base, adapter, temporary, four_bit=four_bit, dtype=wanted.merge, on_progress=on_progress)
        if rows:
            before = _logits(base, adapter, "4bit" if four_bit else None, rows)
            agreement = compare(before, _logits(temporary, None, "bf16" if wanted.merge == "bf16" else "fp32", rows))
    else:
        for path in filter(Path.is_file, adapter.iterdir()):
            shutil.copyfile(path, temporary / path.name)
    card = model_card(
        manifest,
        asdict(picked),
        name=wanted.run.resolve().name,
        base_name=_base_name(manifest, base),
        base_licence=licence_of(base),
        merged=wanted.merge,
        agreement=asdict(agreement) if agreement else None,
        scores=scores,
        command=command,
    )
    (temporary / "README.md").write_text(card, encoding="utf-8")
    write_json(temporary / "manifest.json", _without_paths(manifest))
    _publish(temporary, folder)
    return Exported(folder=folder, agreement=agreement)


def _found(wanted: Export) -> tuple[Picked, Path, Path]:
    """The pick, its adapter and the base."""
    folder = wanted.run / PICK
    if not (folder / PICKED).is_file() or not (wanted.run / MANIFEST).is_file():
        raise ExportError(f"{wanted.run}: nothing picked in it. Run `oneday train`, or `oneday pick {wanted.run}`.")
    picked = read_picked(wanted.run)
    base = wanted.base or Path(picked.base_model)
    if wanted.merge and not base.is_dir():
        raise ExportError(f"{wanted.run}: its base model {base} is not here. Pass --base FOLDER.")
    if wanted.merge:
        check_model_folder(base)
    adapter = folder / picked.adapter
    try:
        read_as(dict[str, Any], adapter / "adapter_config.json", mend="")
        with opened(adapter / "adapter_model.safetensors"):
            pass
    except (StageError, ExportError) as e:
        raise ExportError(f"{adapter}: not whole ({e}) `oneday pick {wanted.run}` writes it anew.") from e
    return picked, adapter, base


def _manifest(run: Path) -> dict[str, dict[str, Any]]:
    """The run's, with what the model card tells in order."""
    manifest = read_manifest(run)
    read_as(Told, run / MANIFEST, mend=f"Restore it, or move it away and run `oneday pick {run}`.")
    return manifest


def _base_name(manifest: Mapping[str, Mapping[str, Any]], base: Path) -> str:
    """As the hub's cache or, if it is called like its folder, the recipe names it; else the folder's name alone."""
    folder = base.resolve()
    cached = next((p.name for p in (folder, *folder.parents) if p.name.startswith("models--")), None)
    if cached:
        return cached.removeprefix("models--").replace("--", "/", 1)
    named = str(manifest.get("train", {}).get("recipe", {}).get("base_model"))
    return named if named.rpartition("/")[2] == folder.name else folder.name


def _without_paths(value: Any) -> Any:
    """Folders of this machine are nobody's business; hashes say what was in them."""
    if isinstance(value, dict):
        return {k: _without_paths(v) for k, v in value.items() if k != "base_path"}
    if isinstance(value, list):
        return [_without_paths(v) for v in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _publish(temporary: Path, folder: Path) -> None:
    for path in temporary.iterdir():
        with path.open("rb") as f:
            os.fsync(f.fileno())
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    sync_directory(folder.parent)


def _validation(run: Path) -> list[str]:
    path = run / "07_train" / "data" / "validation.jsonl"
    rows = list(itertools.islice(read_jsonl(path), CHECKED_ROWS)) if path.is_file() else []
    for number, row in enumerate(rows, start=1):
        if not (isinstance(row.get("prompt"), str) and isinstance(row.get("answer"), str)):
            raise ExportError(f"{path}: row {number} lacks prompt or answer as text. Mend the row, or pass --no-check.")
    return [row["prompt"] + row["answer"] for row in rows]


def _scores(run: Path) -> list[dict[str, Any]]:
    """Base against tuned, if that was measured."""
    path = run / "10_scores" / "comparison.json"
    mend = f"`oneday compare {run} --redo` measures anew."
    return [asdict(c) for c in read_as(list[Comparison], path, mend=mend)] if path.is_file() else []


def _logits(base: Path, adapter: Path | None, precision: Precision | None, texts: Sequence[str]) -> list[torch.Tensor]:
    """Of each text, shape [positions, vocabulary]."""
    model = LanguageModel.load(base, lora_adapter=adapter, precision=precision)
    found = []
    with torch.inference_mode():
        for text in texts:
            ids = torch.tensor([model.encode(text)], device=model.device)
            found.append(model.model(input_ids=ids).logits[0].float().cpu())
    return found


def compare(before: Sequence[torch.Tensor], after: Sequence[torch.Tensor]) -> Agreement:
    """Logits of the same texts."""
    pairs = list(zip(before, after, strict=True))
    num = sum(len(a) for a, _ in pairs)
    same = sum(int((a.argmax(-1) == b.argmax(-1)).sum()) for a, b in pairs)
    largest = max(float((a - b).abs().max()) for a, b in pairs)
    return Agreement(num_positions=num, largest_difference=largest, top_1=same / num)
