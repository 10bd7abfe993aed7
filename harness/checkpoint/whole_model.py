"""Checkpoint and base as one model folder that transformers loads without PEFT.

    write_whole_model(picked, base, out, quantisation=trained.quantisation, dtype="bf16")

An adapter is merged into its base; a model whose weights were all trained lacks only the base's tokenizer.

Where it sits: checkpoint -> **whole model** -> the base of another run, exports, the final model of a contest.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from core.encoding.rendering import CHAT_TEMPLATE
from core.files import naming
from core.model.quantisation import Quantisation
from harness.checkpoint.content import is_model, published

if TYPE_CHECKING:
    from core.model.merge import Dtype


def copy(source: Path, target: Path) -> None:
    """Copies one file."""
    with naming(target):
        shutil.copyfile(source, target)


def write_whole_model(
    checkpoint: Path,
    base: Path,
    out: Path,
    *,
    quantisation: Quantisation | None,
    dtype: "Dtype",
    place: Callable[[Path, Path], None] = copy,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Writes into the folder `out`, which is there.

    Args:
        checkpoint: Folder of an adapter or of a whole model.
        quantisation: Of the base in training; None for a model whose weights were all trained.
        dtype: Of merged weights; a whole model keeps its own.
        place: Puts a file of a whole model into the folder.
        on_progress: Called with (weights merged, total weights).
    Raises:
        MergeError: The adapter is not plain LoRA, or does not fit the base.
    """
    from core.model.merge import TOKENIZER_FILES, copy_those_there, merge

    if is_model([path.name for path in checkpoint.iterdir()]):
        copy_those_there(TOKENIZER_FILES, base, out)
        for name in published(checkpoint):
            place(checkpoint / name, out / name)
        return
    assert quantisation is not None, "an adapter has a base"
    merge(base, checkpoint, out, quantisation=quantisation, dtype=dtype, on_progress=on_progress)
    copy_those_there((CHAT_TEMPLATE,), checkpoint, out)  # the one of the training replaces the base's
