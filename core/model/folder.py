"""Checks a model's folder and computes its fingerprint, without loading the weights.

    model_fingerprint(check_model_folder(Path("models/base")))

Where it sits: below language_model; torch is not needed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import PredictionError, StageError
from core.files import read_as

_SAMPLE_BYTES = 1 << 20


_HASHED_WHOLE = 16 << 20


def model_fingerprint(directory: Path) -> str:
    """A hash of a model's files that does not read all of a 14 GB model.

    Files up to 16 MiB are hashed whole; of larger files the size, the first and the last MiB.
    """
    return _fingerprint(model_files(directory))


def tokenizer_fingerprint(directory: Path) -> str:
    """A hash of everything in a model's folder but its weights: it changes when the tokenizer does."""
    return _fingerprint(path for path in model_files(directory) if path.suffix not in _WEIGHTS)


_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")


def model_files(directory: Path) -> Iterator[Path]:
    """The files that make up a model, sorted by name: all but hidden files, cards and logs."""
    for path in sorted(directory.iterdir()):
        if path.is_file() and not path.name.startswith(".") and path.suffix not in (".md", ".jsonl"):
            yield path


def _fingerprint(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as f:
            if size <= _HASHED_WHOLE:
                digest.update(f.read())
            else:
                digest.update(f.read(_SAMPLE_BYTES))
                f.seek(-_SAMPLE_BYTES, os.SEEK_END)
                digest.update(f.read(_SAMPLE_BYTES))
    return digest.hexdigest()


WEIGHT_INDEX, PICKLED_INDEX = "model.safetensors.index.json", "pytorch_model.bin.index.json"
"""Say which file holds which weight, where there are several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    weight_map: Mapping[str, str]


def weight_files(directory: Path) -> list[Path]:
    """The files that transformers loads; a folder may also hold the weights in another layout (`consolidated.…`).

    Pickle files (`.bin`) are taken where there are no safetensors, as in transformers.

    Raises:
        StageError: the index is damaged.
    """
    if found := _indexed(directory, WEIGHT_INDEX):
        return found
    single = directory / "model.safetensors"
    safe = [single] if single.is_file() else sorted(directory.glob("*.safetensors"))
    return safe or _indexed(directory, PICKLED_INDEX) or sorted(directory.glob("pytorch_model*.bin"))


def _indexed(directory: Path, name: str) -> list[Path]:
    index = directory / name
    if not index.is_file():
        return []
    names = read_as(_Index, index, mend="Fetch the model again.").weight_map.values()
    return [directory / name for name in sorted(set(names))]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Caps:
    """The keys of a model's `config.json` that bound its attention logits."""

    attn_logit_softcapping: float | None = None
    text_config: _Caps | None = None


def caps_attention(directory: Path) -> bool:
    """Whether a model bounds the logits of its attention, as Gemma 2 does.

    Torch's `scaled_dot_product_attention` has no such bound, and transformers leaves it out there without a message.

    Raises:
        StageError: `config.json` is missing or damaged.
    """
    config = read_as(_Caps, directory / "config.json", mend="Fetch the model again.")
    return any(part is not None and part.attn_logit_softcapping for part in (config, config.text_config))


def check_model_folder(directory: Path) -> Path:
    """The folder itself.

    Raises:
        PredictionError: it is missing, or lacks a config, weights or a tokenizer.
    """
    if not directory.is_dir():
        raise PredictionError(f"{directory}: no such model folder. Give the folder that holds config.json.")
    if not (directory / "config.json").is_file():
        raise PredictionError(f"{directory}: no config.json in it. Give the folder of a transformers model.")
    try:
        read_as(dict[str, object], directory / "config.json", mend="Fetch the model again.")
    except StageError as e:
        raise PredictionError(str(e)) from e
    if not any(any(directory.glob(pattern)) for pattern in ("*.safetensors", "pytorch_model*.bin")):
        raise PredictionError(f"{directory}: no weights in it (*.safetensors or pytorch_model*.bin). Fetch them.")
    if not any((directory / n).is_file() for n in ("tokenizer.json", "tokenizer.model")):
        raise PredictionError(
            f"{directory}: a model without tokenizer. Put tokenizer.json (or tokenizer.model) beside its weights."
        )
    return directory
