"""The measured magnitude of the noise, against the paper's formula and against upstream's own hook."""

import math

import pytest
import torch
from transformers.integrations.neftune import neftune_post_forward_hook

from harness.inside.neftune import PerSampleNoise, lengths_of_samples, sample_lengths

WIDTH, ALPHA = 64, 5.0


def positions(*lengths: int) -> torch.Tensor:
    return torch.cat([torch.arange(n) for n in lengths]).unsqueeze(0)


def embedding() -> torch.nn.Embedding:
    return torch.nn.Embedding(10, WIDTH).train()


def noise_of(layer: torch.nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
    return (layer(ids) - torch.nn.functional.embedding(ids, layer.weight)).detach()


def test_a_tokens_sample_is_told_from_its_positions() -> None:
    assert sample_lengths(positions(3, 1, 4)).tolist() == [[3, 3, 3, 1, 4, 4, 4, 4]]
    two_rows = torch.stack([positions(5, 3)[0], positions(8)[0]])
    assert sample_lengths(two_rows).tolist() == [[5] * 5 + [3] * 3, [8] * 8]


def test_a_row_that_is_one_sample_has_its_own_length_and_not_the_padded_width() -> None:
    mask = torch.tensor([[1] * 5 + [0] * 3, [1] * 8])
    batch = {"input_ids": torch.zeros(2, 8, dtype=torch.long), "attention_mask": mask}
    assert lengths_of_samples(batch).tolist() == [[5.0] * 8, [8.0] * 8]
    del batch["attention_mask"]
    assert lengths_of_samples(batch).tolist() == [[8.0] * 8] * 2
    assert lengths_of_samples({**batch, "position_ids": positions(3, 5)}).tolist() == [[3.0] * 3 + [5.0] * 5]


def test_each_sample_has_the_noise_of_its_own_length() -> None:
    lengths = (300, 20, 4_000)
    layer, noise = embedding(), PerSampleNoise(ALPHA)
    layer.register_forward_hook(noise.hook)
    ids = torch.randint(0, 10, (1, sum(lengths)))
    noise.lengths = sample_lengths(positions(*lengths))
    start = 0
    for length, part in zip(lengths, noise_of(layer, ids).split(lengths, dim=1), strict=True):
        bound = ALPHA / math.sqrt(length * WIDTH)
        assert part.abs().max() <= bound * 1.0001
        assert part.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)  # uniform
        assert abs(part.mean()) < bound / 10
        start += length


def test_upstream_scales_by_the_packed_row() -> None:
    """What `neftune_mode: birbal` leaves in place: 5 times weaker for a 300-token sample in 8,192."""
    layer = embedding()
    layer.neftune_noise_alpha = ALPHA
    layer.register_forward_hook(neftune_post_forward_hook)
    found = noise_of(layer, torch.randint(0, 10, (1, 8_192)))
    assert found.std() == pytest.approx(ALPHA / math.sqrt(8_192 * WIDTH) / math.sqrt(3), rel=0.05)
    per_sample = ALPHA / math.sqrt(300 * WIDTH) / math.sqrt(3)
    assert per_sample / found.std() == pytest.approx(5.2, rel=0.06)


def test_an_evaluation_has_no_noise() -> None:
    layer, noise = embedding(), PerSampleNoise(ALPHA)
    layer.register_forward_hook(noise.hook)
    ids = torch.randint(0, 10, (1, 50))
    assert noise_of(layer, ids).abs().max() == 0  # no lengths are known
    noise.lengths = sample_lengths(positions(50))
    assert noise_of(layer, ids).abs().max() > 0
    assert noise_of(layer.eval(), ids).abs().max() == 0
