"""The run that another one starts from: its picked weights, merged, are the base of the new run.

    parent = Parent.of(Path("runs/sft"))
    base = parent.write_base(Path("runs/dpo"))        # runs/dpo/00_base/model

Everything else then holds as for any base: an adapter is trained on top of it, it is candidate 0 of the picker, and it
is the reference of a preference objective. The new run keeps its own copy, because a parent may be trained again; files
of a parent that trained all weights are linked.

Where it sits: 08_pick of a run -> **parent** -> the base of another run's job.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.errors import StageError
from core.files import file_sha256, make_folder, read_as, sync_directory, write_json
from core.model.folder import check_model_folder, model_fingerprint
from core.run_folder import PARENT, PICK
from harness.checkpoint.content import is_model, published
from harness.checkpoint.pick import link_or_copy, read_picked
from harness.checkpoint.trained_base import TrainedBase, check_same_base, find_trained_base
from harness.checkpoint.whole_model import copy, write_whole_model
from harness.errors import CheckpointError

MODEL, RECORD = "model", "parent.json"
CARDS = ("README.md", "MODEL_CARD.md")
"""Files of a base that tell its licence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """What a run starts from."""

    run: Path
    checkpoint: str
    """Name of the picked checkpoint."""
    weights: Path
    """Folder of the picked adapter or model."""
    base: Path
    """The parent's own base, which brings the tokenizer."""
    trained: TrainedBase | None
    """The base that the adapter was trained on; None: all weights were trained."""

    @classmethod
    def of(cls, run: Path) -> "Parent":
        """Reads the pick of a run.

        Raises:
            StageError: Nothing is picked in it, or its record is damaged.
            CheckpointError: The picked files or their base are not here, or the base is another one.
        """
        if not (run / PICK).is_dir():
            raise CheckpointError(f"`init_from={run}`: nothing is picked in it. Finish its training first.")
        picked = read_picked(run)
        weights, base = run / PICK / picked.adapter, Path(picked.base_model)
        if not weights.is_dir():
            raise CheckpointError(f"{weights}: the picked weights are not here. `oneday pick {run}` writes them again.")
        if not base.is_dir():
            raise CheckpointError(f"`init_from={run}`: its base {base} is not here. Put it back.")
        whole = is_model([path.name for path in weights.iterdir()])
        trained = None if whole else find_trained_base(weights)
        if not whole and trained is None:
            raise CheckpointError(f"{weights}: its base is not recorded. `oneday pick {run}` writes it again.")
        check_same_base(trained, base, weights)
        return cls(run=run, checkpoint=picked.checkpoint, weights=weights, base=base, trained=trained)

    @property
    def is_merged(self) -> bool:
        """Whether an adapter is merged into its base; else the parent trained all weights."""
        return self.trained is not None

    def described(self) -> dict[str, object]:
        """The parent by the hashes of its files, for records and as an input of the run."""
        return {
            "checkpoint": self.checkpoint,
            "weights": {name: file_sha256(self.weights / name) for name in sorted(published(self.weights))},
            "base": self.trained.fingerprint if self.trained else None,
            "how": "merged into its base" if self.is_merged else "all its weights",
        }

    def write_base(self, run: Path, *, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Path:
        """Writes the model folder that a run starts from, or finds the one that an earlier call wrote.

        Raises:
            MergeError: The adapter is not plain LoRA.
            StageError: The folder was changed since it was written, or has another parent.
        """
        folder, record = run / PARENT / MODEL, run / PARENT / RECORD
        described = self.described()
        if record.is_file() and folder.is_dir():
            stored = read_as(dict[str, object], record)
            stored.pop("run", None)
            if stored.pop("fingerprint", None) != model_fingerprint(check_model_folder(folder)):
                raise StageError(f"{folder}: changed since it was written. Remove {run / PARENT} to make it again.")
            if stored == described:
                return folder
            raise StageError(
                f"{run}: starts from other weights ({stored.get('checkpoint')}). Use another `run=` folder, or remove "
                f"{run / PARENT} to start again."
            )
        temporary = run / PARENT / f"{MODEL}.tmp"
        for stale in (temporary, folder):
            shutil.rmtree(stale, ignore_errors=True)
        make_folder(temporary)
        self._write(temporary, on_progress)
        temporary.rename(folder)
        sync_directory(run / PARENT)
        fingerprint = model_fingerprint(check_model_folder(folder))
        write_json(record, {**described, "run": self.run.resolve().name, "fingerprint": fingerprint})
        return folder

    def _write(self, out: Path, on_progress: Callable[[int, int], None]) -> None:
        kept = self.trained.quantisation if self.trained else None
        for name in CARDS:
            if (self.base / name).is_file():
                copy(self.base / name, out / name)
        write_whole_model(
            self.weights,
            self.base,
            out,
            quantisation=kept,
            dtype="bf16" if kept and kept.compute_dtype == "bfloat16" else "fp32",
            place=link_or_copy,
            on_progress=on_progress,
        )
