"""A loaded base that takes the weights of one checkpoint after another: an adapter's, or all of them.

    weights = Exchange(model)
    weights.use(Path("07_train/output/checkpoint-40"))
    with weights.of_base():
        ...

Where it sits: language model -> **exchange** -> losses of checkpoints.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from core.model.language_model import LanguageModel
from core.model.weights import exchange_weights
from harness.checkpoint.content import is_model


class Exchange:
    """The model, and whose weights it has. Weights of a whole model are copied in place, so one is in memory."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._whole: Path | None = model.path
        """The folder whose weights stand in the place of the base's; None: an exchange failed half-way."""

    def use(self, checkpoint: Path) -> None:
        """Gives the model the weights of a checkpoint.

        Raises:
            PredictionError: It cannot be read, or does not fit the base.
        """
        if is_model([path.name for path in checkpoint.iterdir()]):
            self._replace(checkpoint)
        elif self._model.lora_adapter != checkpoint:
            self._model.load_adapter(checkpoint)

    @contextlib.contextmanager
    def of_base(self) -> Iterator[None]:
        """The base's own weights inside the block; a checkpoint has to be used again after it."""
        self._replace(self._model.path)
        with self._model.without_adapter():
            yield

    def _replace(self, folder: Path) -> None:
        if self._whole != folder:
            self._whole = None
            exchange_weights(self._model.model, folder)
            self._whole = folder
