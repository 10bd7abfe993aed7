"""The description of a predictor: its name and options. It is picklable, so that a cluster's workers build their own.

    predictor = Engine(name="openai", url="http://127.0.0.1:8000/v1").build()

Where it sits: made by the command line. A predictor's library is imported when the predictor is built.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import PredictionError
from core.generation.request import Predictor
from core.model.quantisation import Precision, Quantisation

NAMES = ("transformers", "openai", "replay")
KEY = "OPENAI_API_KEY"
"""Environment variable that holds a server's key."""

RAY = "ray:"
"""Prefix of a predictor's name: runs it on every worker of a Ray cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """How the base model is asked."""

    name: str
    base: Path | None = None
    """`transformers`: the model's folder. `openai`: only its tokenizer is read, to count a prompt's tokens."""
    lora_adapter: Path | None = None
    """`transformers`: an adapter on `base`."""
    chat_template: str | None = None
    """`transformers`: renders messages in place of the tokenizer's own template."""
    predictions: tuple[Path, ...] = ()
    batch_size: int = 32
    precision: Precision | Quantisation | None = None
    url: str | None = None
    sends_key: bool = False
    """Whether the key in the environment is sent to `url`. True only if the user gave the URL on this command line; a
    manifest, which may come from another person, cannot set it."""
    model: str | None = None
    """The server's name for the base model; None: the only model it serves."""
    concurrency: int = 64
    chat: bool = False
    """`openai`: whether a prompt is sent as the message of a user."""
    json_mode: bool = False
    """`openai`, with `chat`: whether the server is asked for one JSON object."""
    ray_address: str | None = None
    """Address of a Ray cluster. None: start one on this machine. `auto`: the cluster that this machine belongs to."""
    ray_workers: int | None = None
    """Number of workers. None: one per GPU of the cluster, or one per machine if there is no GPU."""

    def build(self) -> Predictor:
        """Builds the predictor.

        Raises:
            PredictionError: unknown name, or the model, file or server that it needs is missing.
        """
        if self.name.startswith(RAY):
            from core.generation.ray import RayPredictor

            self.check_inner()
            inner = replace(self, name=self.name.removeprefix(RAY))
            return RayPredictor(inner, address=self.ray_address, workers=self.ray_workers)
        self.check()
        if self.name == "replay":
            from core.generation.replay import ReplayPredictor

            return ReplayPredictor(self.predictions)
        if self.name == "openai":
            from core.generation.openai import OpenAIPredictor

            assert self.url is not None
            key = os.environ.get(KEY) if self.sends_key else None
            return OpenAIPredictor(
                self.url, model=self.model, base=self.base, concurrency=self.concurrency, key=key,
                chat=self.chat, json_mode=self.json_mode,
            )  # fmt: skip
        from core.generation.transformers import TransformersPredictor

        assert self.base is not None
        return TransformersPredictor(
            self.base, lora_adapter=self.lora_adapter, batch_size=self.batch_size, precision=self.precision,
            chat_template=self.chat_template,
        )  # fmt: skip

    def check_inner(self) -> None:
        """Like `check`, for the predictor behind `ray:` too."""
        replace(self, name=self.name.removeprefix(RAY)).check()

    def check(self) -> None:
        """Raises `PredictionError` if an option that the engine needs is missing."""
        if self.name not in NAMES:
            known = ", ".join([*NAMES, *(f"{RAY}{n}" for n in NAMES)])
            raise PredictionError(f"`predictor={self.name}`: unknown. Use {known}.")
        if self.name == "replay" and not self.predictions:
            raise PredictionError("`predictor=replay` needs `predictions=FILE`, the stored predictions.")
        if self.name == "transformers" and self.base is None:
            raise PredictionError("`base=` is missing. Give the folder of the base model that answers the prompts.")
        if self.name == "openai" and self.url is None:
            raise PredictionError("`predictor=openai` needs `url=`, for example `url=http://127.0.0.1:8000/v1`.")


def close(predictor: Predictor) -> None:
    """Closes a predictor's connection or cluster, if it has one."""
    end = getattr(predictor, "close", None)
    if end is not None:
        end()
