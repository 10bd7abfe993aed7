"""NEFTune noise on the embeddings, scaled by the length of each sample instead of the length of the packed row.

    noise = PerSampleNoise(alpha=5)
    model.get_input_embeddings().register_forward_hook(noise.hook)
    noise.lengths = lengths_of_samples(inputs)      # before each training forward

The paper (Jain et al. 2023) adds uniform noise of at most alpha / sqrt(L d), where L is the sample's length. Axolotl
uses the row's length: with 300-token samples packed to 8,192, its noise is 5 times too weak. The 2023 winner's recipe
trained that way, so `neftune_mode: birbal` leaves the noise to Axolotl.

Where it sits: the plugin registers the hook on the model.
"""

from collections.abc import Mapping
from typing import Any

import torch


class PerSampleNoise:
    """A forward hook for an embedding layer. It adds noise in training mode if `lengths` is set."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.lengths: torch.Tensor | None = None

    def hook(self, module: torch.nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        """`output` (batch, tokens, width) with noise of at most alpha / sqrt(length of the token's sample * width)."""
        if not module.training or self.lengths is None:
            return output
        bound = self.alpha / torch.sqrt(self.lengths * output.size(-1))
        noise = torch.empty_like(output).uniform_(-1, 1)
        return output + noise * bound.to(output.dtype).unsqueeze(-1)


def lengths_of_samples(inputs: Mapping[str, Any]) -> torch.Tensor:
    """The number of tokens in the sample of each token of a batch, (batch, tokens).

    In a packed row, `position_ids` shows where samples begin. In a row with one sample, `attention_mask` shows where
    the padding begins.
    """
    positions = inputs.get("position_ids")
    if positions is not None:
        return sample_lengths(positions)
    ids: torch.Tensor = inputs["input_ids"]
    mask: torch.Tensor = inputs.get("attention_mask", torch.ones_like(ids))
    return (mask != 0).sum(dim=-1, keepdim=True).float().expand_as(ids)


def sample_lengths(position_ids: torch.Tensor) -> torch.Tensor:
    """The number of tokens in the sample of each token, (batch, tokens). A sample begins where the position is 0."""
    sample = (position_ids == 0).long().cumsum(dim=-1)
    counts = torch.zeros(
        sample.size(0), int(sample.max()) + 1, dtype=torch.float32, device=position_ids.device
    ).scatter_add_(1, sample, torch.ones_like(sample, dtype=torch.float32))
    return counts.gather(1, sample)
