"""An exponential moving average of an adapter's weights, kept in the training loop and sealed with every checkpoint.

    average = MovingAverage(model, decay=0.98, resume_from=None)
    average.update(step=1)
    average.save(folder)            # ema.safetensors, with the names of adapter_model.safetensors

The average is kept in fp32 beside the weights: 4 bytes for each weight that is trained. Its decay depends only on the
step, and its file is exact, so a run that was killed and resumed ends with the same bytes.

Where it sits: inside the child process, beside the trainer; harness/checkpoint/timed_pick.py measures it.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from harness.checkpoint.content import EMA_WEIGHTS


def decay_at(step: int, decay: float) -> float:
    """The decay of a step, which begins low, so that the initial weights are forgotten at once.

    Source: TensorFlow's ExponentialMovingAverage with `num_updates`.
    """
    return min(decay, (1 + step) / (10 + step))


class MovingAverage(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """The average, and the callback that updates it after each optimizer step.

    Args:
        model: A PEFT model.
        resume_from: Checkpoint that training continues from.
    """

    def __init__(self, model: Any, *, decay: float, resume_from: str | None) -> None:
        self._model, self._decay, self._resume_from = model, decay, resume_from
        self._means: dict[str, torch.Tensor] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begins with the weights that training begins with, or with the average of the checkpoint."""
        self._means = {name: weight.detach().float().clone() for name, weight in self._trained()}
        if self._resume_from:
            self._load(Path(self._resume_from))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Takes the weights of the step into the average."""
        self.update(state.global_step)

    def update(self, step: int) -> None:
        """Moves the average towards the weights after this step."""
        share = 1 - decay_at(step, self._decay)
        with torch.no_grad():
            for name, weight in self._trained():
                self._means[name].lerp_(weight.detach().float(), share)

    def save(self, folder: Path) -> None:
        """Writes the average beside a checkpoint's own weights."""
        from safetensors.torch import save_file

        tensors = {name: tensor.contiguous() for name, tensor in self._as_saved().items()}
        save_file(tensors, folder / EMA_WEIGHTS, metadata={"format": "pt"})

    def _load(self, checkpoint: Path) -> None:
        from safetensors.torch import load_file

        saved = load_file(checkpoint / EMA_WEIGHTS)
        for name, mean in self._as_saved().items():
            mean.copy_(saved[name])

    def _as_saved(self) -> dict[str, torch.Tensor]:
        """The average under the names that PEFT gives the weights in a file."""
        from peft import get_peft_model_state_dict

        ours = {id(mean) for mean in self._means.values()}
        saved = get_peft_model_state_dict(self._model, state_dict={**self._model.state_dict(), **self._means})
        named = {name: tensor for name, tensor in saved.items() if id(tensor) in ours}
        assert len(named) == len(self._means), "PEFT saves what is trained"
        return named

    def _trained(self) -> list[tuple[str, torch.Tensor]]:
        return [(name, weight) for name, weight in self._model.named_parameters() if weight.requires_grad]
