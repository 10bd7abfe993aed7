"""Training steps of a model in this process: made batches, timed steps with gradients that are asserted to flow, peaks.

step = Stepper(model, learning_rate=2e-5)
step(batch).seconds
"""

import gc
import math
import random
import time
from dataclasses import dataclass

import torch

from benchmarks.gpu.model import Batch, Kernels, LoraModel
from benchmarks.gpu.setting import mean_context, sample_length

GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A micro-batch."""

    batch: Batch
    num_tokens: int
    context: float
    """Earlier tokens that a token attends to, in the mean."""


def packed(rng: random.Random, *, rows: int, sequence_len: int, vocab: int) -> Packed:
    """Full rows of samples of the mix's lengths; the last fifth of each sample bears loss."""
    lengths: list[int] = []
    for _ in range(rows):
        left = sequence_len
        while left:
            lengths.append(min(left, sample_length(rng)))
            left -= lengths[-1]
    return _batch(rng, lengths, rows=rows, vocab=vocab, prompt_share=0.8)


def whole_rows(rng: random.Random, *, rows: int, sequence_len: int, vocab: int) -> Packed:
    """One sample a row, loss on every token."""
    return _batch(rng, [sequence_len] * rows, rows=rows, vocab=vocab, prompt_share=0.0)


def _batch(rng: random.Random, lengths: list[int], *, rows: int, vocab: int, prompt_share: float) -> Packed:
    random_numbers = torch.Generator().manual_seed(rng.randrange(2**31))
    ids = torch.randint(3, vocab, (rows, sum(lengths) // rows), generator=random_numbers)
    position = torch.cat([torch.arange(n) for n in lengths]).view_as(ids)
    answers = torch.cat([torch.arange(n) >= int(n * prompt_share) for n in lengths]).view_as(ids)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = {"input_ids": ids, "position_ids": position, "labels": torch.where(answers, ids, -100)}
    return Packed(
        batch={name: value.to(device) for name, value in batch.items()},
        num_tokens=sum(lengths),
        context=mean_context(lengths),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a step showed."""

    seconds: float
    loss: float
    grad_norm: float
    peak_gib: float | None
    """Allocated at the worst moment; None on a CPU."""
    reserved_gib: float | None


class Stepper:
    """Forward, backward, clipping and Adam on one micro-batch."""

    def __init__(self, model: LoraModel, *, learning_rate: float = 2e-5) -> None:
        self.model = model
        self._adapters = list(model.adapters.values())
        fused = self._adapters[0].is_cuda
        self._adam = torch.optim.AdamW(self._adapters, lr=learning_rate, weight_decay=0.01, fused=fused)

    def __call__(self, made: Packed) -> Step:
        """Raises AssertionError if an adapter gets no gradient: such a step would be fast and worth nothing."""
        _wait()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        begun = time.perf_counter()
        loss = self.model.loss(made.batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._adapters, 0.3)
        self._adam.step()
        _wait()
        seconds = time.perf_counter() - begun
        self.check_gradients()
        self._adam.zero_grad(set_to_none=True)
        on_gpu = torch.cuda.is_available()
        return Step(
            seconds=seconds,
            loss=float(loss.detach()),
            grad_norm=float(norm),
            peak_gib=torch.cuda.max_memory_allocated() / GIB if on_gpu else None,
            reserved_gib=torch.cuda.max_memory_reserved() / GIB if on_gpu else None,
        )

    def check_gradients(self) -> None:
        """Every adapter has one, finite and not zero."""
        without = [name for name, parameter in self.model.adapters.items() if parameter.grad is None]
        assert not without, f"{len(without)} adapters without a gradient: {without[0]}"
        largest = torch.stack([p.grad.abs().amax().float() for p in self._adapters if p.grad is not None])
        dead = [name for name, top in zip(self.model.adapters, largest.tolist(), strict=True) if not 0 < top < math.inf]
        assert not dead, f"{len(dead)} adapters whose gradient is zero or not finite: {dead[0]}"

    def clear(self) -> None:
        """After a step that failed."""
        self._adam.zero_grad(set_to_none=True)
        self.model.attention.forget()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Of one forward and backward pass without dropout."""

    loss: float
    gradients: torch.Tensor
    """Of the first and the last layer's adapters, in one row."""


def outcome(model: LoraModel, kernels: Kernels, made: Packed) -> Outcome:
    """What a lever computes. Gradients are left cleared."""
    model.use(kernels)
    loss = model.loss(made.batch)
    loss.backward()
    ends = (".layers.0.", f".layers.{model.shape.layers - 1}.")
    chosen = [p.grad.flatten().float() for n, p in model.adapters.items() if p.grad is not None and _is_in(n, ends)]
    found = Outcome(loss=float(loss.detach()), gradients=torch.cat(chosen).clone())
    for parameter in model.adapters.values():
        parameter.grad = None
    return found


def _is_in(name: str, layers: tuple[str, ...]) -> bool:
    return any(layer in name for layer in layers)


def agreement(reference: Outcome, found: Outcome) -> dict[str, float | bool]:
    """How near a lever's loss and gradients are to the reference's. bf16 kernels differ in the third digit."""
    difference = abs(found.loss - reference.loss) / abs(reference.loss)
    cosine = float(torch.nn.functional.cosine_similarity(reference.gradients, found.gradients, dim=0))
    return {"loss_differs_by": difference, "gradient_cosine": cosine, "agrees": difference < 0.01 and cosine > 0.99}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
