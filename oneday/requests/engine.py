"""The options of a command that asks a base model: which model, and which engine answers for it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from core.model.quantisation import Precision
from oneday.requests.request import Option, Redoing

MODEL = "Base model"
"""A panel."""


@dataclass(frozen=True, kw_only=True)
class WithEngine(Redoing):
    """Of a command that asks a base model."""

    base: Annotated[Path | None, Option(panel=MODEL)] = None
    """Folder of the base model."""
    predictor: Annotated[str, Option(panel=MODEL, suggests="core.generation.engine:NAMES")] = "transformers"
    """transformers, openai or replay; ray: before one of them."""
    predictions: Annotated[tuple[Path, ...], Option(panel=MODEL, is_rare=True)] = ()
    """Stored predictions, with replay."""
    url: Annotated[str | None, Option(panel=MODEL, is_rare=True)] = None
    """With openai: http://HOST:PORT/v1."""
    model: Annotated[str | None, Option(panel=MODEL, is_rare=True)] = None
    """With openai: the model's name there."""
    concurrency: Annotated[int, Option(panel=MODEL, is_rare=True, low=1, high=65_536)] = 64
    """With openai: largest number of requests in flight."""
    ray_address: Annotated[str | None, Option(panel=MODEL, is_rare=True)] = None
    """With ray: auto, or HOST:PORT. Default: this machine."""
    ray_workers: Annotated[int | None, Option(panel=MODEL, is_rare=True, low=1, high=65_536)] = None
    """With ray. Default: one per GPU or machine."""
    batch_size: Annotated[int, Option(panel=MODEL, is_rare=True, low=1, high=65_536)] = 32
    """Prompts per forward pass."""
    precision: Annotated[Precision | None, Option(panel=MODEL, is_rare=True)] = None
    """Precision of the base. Default: bf16 on a GPU."""
