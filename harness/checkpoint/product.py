"""The mean of the products B A of LoRA adapters, as an adapter of the same rank.

    average_products([a, b, c], (1 / 3, 1 / 3, 1 / 3), out)     # 0.998: the share of the mean that the rank holds

The mean of A times the mean of B is not the mean of B A. The mean of N products has a rank of up to N times the
adapter's. It is cut to the adapter's own rank by a singular value decomposition, which no other matrix of that rank
approximates better (Eckart and Young 1936): an adapter of N times the rank would cost N times the memory and computing
of every answer, and servers limit the rank. The decomposition is that of the small triangular factors of all A and all
B, so no matrix of the size of a layer is formed.

Where it sits: below average.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.files import make_folder, naming, read_json
from harness.checkpoint.adapter import CONFIG, WEIGHTS, check_alike, weighted_mean
from harness.errors import CheckpointError

if TYPE_CHECKING:
    import torch

FIRST_FACTORS = {".lora_A.weight": ".lora_B.weight", ".lora_embedding_A": ".lora_embedding_B"}
"""How the names of A end, and those of their B."""


def average_products(adapters: Sequence[Path], weights: Sequence[float], out: Path) -> float:
    """Writes the adapter into `out`; returns the share of the mean's squared norm that it holds.

    Weights that are no factors, such as those of trained modules, are averaged tensor by tensor.

    Raises:
        CheckpointError: The adapters differ in shape or scale, or their effect is not B A.
    """
    from safetensors.torch import load_file, save_file

    config = read_json(adapters[0] / CONFIG)
    if found := [key for key in ("use_dora", "target_parameters") if config.get(key)]:
        raise CheckpointError(f"{adapters[0]}: with {found[0]} an adapter is more than B A; its products have no mean.")
    loaded = [load_file(adapter / WEIGHTS) for adapter in adapters]
    check_alike(adapters, loaded)
    merged, held, total = dict[str, "torch.Tensor"](), 0.0, 0.0
    for name, first in loaded[0].items():
        if second := _second_factor(name):
            pairs = [(tensors[name], tensors[second]) for tensors in loaded]
            factors, kept, whole = mean_product(pairs, weights)
            merged |= {key: part.to(first.dtype) for key, part in zip((name, second), factors, strict=True)}
            held, total = held + kept, total + whole
        elif name not in merged and not any(name.endswith(end) for end in FIRST_FACTORS.values()):
            merged[name] = weighted_mean([tensors[name] for tensors in loaded], weights)
    make_folder(out)
    with naming(out / WEIGHTS):
        save_file({name: merged[name].contiguous() for name in loaded[0]}, out / WEIGHTS, metadata={"format": "pt"})
    with naming(out / CONFIG):
        shutil.copy(adapters[0] / CONFIG, out / CONFIG)
    return held / total if total else 1.0


def _second_factor(name: str) -> str:
    """The name of the B that belongs to this A; empty: the tensor is no A."""
    return next((name.removesuffix(a) + b for a, b in FIRST_FACTORS.items() if name.endswith(a)), "")


def mean_product(
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]], weights: Sequence[float]
) -> tuple[tuple[torch.Tensor, torch.Tensor], float, float]:
    """A and B whose product is the best approximation of the weighted mean of products, at the rank of the pairs.

    Args:
        pairs: (A [rank, inputs], B [outputs, rank]).
    Returns:
        (A, B), the squared norm of their product, and that of the mean.
    """
    import torch

    rank = len(pairs[0][0])
    left = torch.cat([weight * b.double() for (_, b), weight in zip(pairs, weights, strict=True)], dim=1)
    right = torch.cat([a.double() for a, _ in pairs], dim=0)
    q_left, r_left = torch.linalg.qr(left)
    q_right, r_right = torch.linalg.qr(right.T)
    u, values, v = torch.linalg.svd(r_left @ r_right.T, full_matrices=False)
    num = min(rank, len(values))
    root = values[:num].sqrt()
    a, b = torch.zeros(rank, right.shape[1]).double(), torch.zeros(len(left), rank).double()
    a[:num] = root[:, None] * (v[:num] @ q_right.T)
    b[:, :num] = (q_left @ u[:, :num]) * root
    squares = values.square()
    return (a, b), float(squares[:num].sum()), float(squares.sum())
