"""Timed training steps of a model in this process, on synthetic batches, with checked gradients and peak memory.

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
class MicroBatch:
    """A micro-batch of packed samples."""

    batch: Batch
    num_tokens: int
    context: float
    """Mean number of earlier tokens that a token attends to."""


def packed(rng: random.Random, *, rows: int, sequence_len: int, vocab: int) -> MicroBatch:
    """Makes full rows of samples with the lengths of the mix; the last fifth of each sample counts for the loss."""
    lengths: list[int] = []
    for _ in range(rows):
        remaining = sequence_len
        while remaining:
            lengths.append(min(remaining, sample_length(rng)))
            remaining -= lengths[-1]
    return _batch(rng, lengths, rows=rows, vocab=vocab, prompt_share=0.8)


def unpacked(rng: random.Random, *, rows: int, sequence_len: int, vocab: int) -> MicroBatch:
    """Makes rows of one sample each, with loss on every token."""
    return _batch(rng, [sequence_len] * rows, rows=rows, vocab=vocab, prompt_share=0.0)


def _batch(rng: random.Random, lengths: list[int], *, rows: int, vocab: int, prompt_share: float) -> MicroBatch:
    random_numbers = torch.Generator().manual_seed(rng.randrange(2**31))
    ids = torch.randint(3, vocab, (rows, sum(lengths) // rows), generator=random_numbers)
    position = torch.cat([torch.arange(n) for n in lengths]).view_as(ids)
    answers = torch.cat([torch.arange(n) >= int(n * prompt_share) for n in lengths]).view_as(ids)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = {"input_ids": ids, "position_ids": position, "labels": torch.where(answers, ids, -100)}
    return MicroBatch(
        batch={name: value.to(device) for name, value in batch.items()},
        num_tokens=sum(lengths),
        context=mean_context(lengths),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The measurements of a training step."""

    seconds: float
    loss: float
    grad_norm: float
    peak_gib: float | None
    """Peak of the allocated memory; None on a CPU."""
    reserved_gib: float | None


class Stepper:
    """Runs forward, backward, clipping and Adam on one micro-batch."""

    def __init__(self, model: LoraModel, *, learning_rate: float = 2e-5) -> None:
        self.model = model
        self._adapters = list(model.adapters.values())
        fused = self._adapters[0].is_cuda
        self._adam = torch.optim.AdamW(self._adapters, lr=learning_rate, weight_decay=0.01, fused=fused)

    def __call__(self, micro_batch: MicroBatch) -> Step:
        """Runs and times one step.

        Raises:
            AssertionError: An adapter got no gradient, so the time of the step is meaningless.
        """
        _synchronize()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        loss = self.model.loss(micro_batch.batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._adapters, 0.3)
        self._adam.step()
        _synchronize()
        seconds = time.perf_counter() - started
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
        """Asserts that every adapter has a finite gradient that is not zero."""
        missing = [name for name, parameter in self.model.adapters.items() if parameter.grad is None]
        assert not missing, f"{len(missing)} adapters without a gradient: {missing[0]}"
        largest = torch.stack([p.grad.abs().amax().float() for p in self._adapters if p.grad is not None])
        names_and_largest = zip(self.model.adapters, largest.tolist(), strict=True)
        invalid = [name for name, value in names_and_largest if not 0 < value < math.inf]
        assert not invalid, f"{len(invalid)} adapters whose gradient is zero or not finite: {invalid[0]}"

    def clear(self) -> None:
        """Releases the memory of a failed step."""
        self._adam.zero_grad(set_to_none=True)
        self.model.attention.forget()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True, kw_only=True)
class PassResult:
    """Loss and gradients of one forward and backward pass without dropout."""

    loss: float
    gradients: torch.Tensor
    """Concatenated gradients of the adapters of the first and the last layer."""


def forward_backward(model: LoraModel, kernels: Kernels, micro_batch: MicroBatch) -> PassResult:
    """Computes loss and gradients with the given kernels, and clears the gradients."""
    model.use(kernels)
    loss = model.loss(micro_batch.batch)
    loss.backward()
    layer_names = (".layers.0.", f".layers.{model.shape.layers - 1}.")
    adapters = [p for name, p in model.adapters.items() if any(layer in name for layer in layer_names)]
    gradients = [p.grad.flatten().float() for p in adapters if p.grad is not None]
    result = PassResult(loss=float(loss.detach()), gradients=torch.cat(gradients).clone())
    for parameter in model.adapters.values():
        parameter.grad = None
    return result


def agreement(reference: PassResult, result: PassResult) -> dict[str, float | bool]:
    """Compares loss and gradients with the reference. bf16 kernels may differ in the third digit."""
    difference = abs(result.loss - reference.loss) / abs(reference.loss)
    cosine = float(torch.nn.functional.cosine_similarity(reference.gradients, result.gradients, dim=0))
    return {"loss_differs_by": difference, "gradient_cosine": cosine, "agrees": difference < 0.01 and cosine > 0.99}


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
