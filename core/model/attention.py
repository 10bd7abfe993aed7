"""Attention of single new tokens without copies of the keys and values of shared heads.

Heads that share keys and values are treated as several queries of one head. transformers instead repeats the keys and
values for every head: with SmolLM2-135M, whose 9 heads share 3, and 32 rows of 1,000 tokens, that writes 4.5 GB for
each new token.

Where it sits: below language_model, which sets it after loading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NAME = "sdpa_grouped"
"""Name under which transformers knows it."""


def group_heads(model: Any) -> None:
    """Makes a model with transformers' `sdpa` attention use this one. Other models stay as they are."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if getattr(model.config, "_attn_implementation", None) != "sdpa":
        return
    AttentionInterface.register(NAME, grouped_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def grouped_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """As `sdpa_attention_forward` of transformers, whose arguments these are.

    Args:
        query: Shape [rows, heads, new tokens, size]; `key` and `value` have fewer heads.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    rows, heads, num_new, size = query.shape
    shared = key.shape[1]
    if num_new != 1 or heads == shared or options.get("position_bias") is not None:
        output: torch.Tensor = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )[0]
        return output, None
    grouped = query.view(rows, shared, heads // shared, size)
    attended = torch.nn.functional.scaled_dot_product_attention(
        grouped, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling
    )
    return attended.reshape(rows, 1, heads, value.shape[-1]), None
