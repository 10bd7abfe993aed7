"""The tree of prefixes beside a list of prompts that were stored."""

import random

import pytest
import torch

from core.decoding.prefix_cache import LEAST_TOKENS, Layers, PrefixCache, num_common
from core.decoding.token_score import Score

BYTES_OF_TOKEN = 2 * 4 * 2  # keys and values of two layers with one head of size 1


def layers(ids: list[int], start: int, end: int) -> Layers:
    """Keys that hold the ids themselves, and values that hold their negatives."""
    tensor = torch.tensor(ids[start:end], dtype=torch.float32)[None, :, None]
    return [(tensor, -tensor), (tensor + 0.5, -tensor)]


def stored(cache: PrefixCache, ids: list[int], *, scored: bool = False) -> None:
    scores = [Score(-float(i), ()) for i in ids] if scored else None
    cache.store(ids, lambda start, end: layers(ids, start, end), scores)


def prompts(num: int) -> list[list[int]]:
    """Prompts that share beginnings of many lengths."""
    rng = random.Random(4)
    found = [[rng.randrange(9) for _ in range(100)]]
    while len(found) < num:
        one = rng.choice(found)
        found.append([*one[: rng.randrange(len(one))], *(rng.randrange(9) for _ in range(rng.randrange(80)))])
    return found


@pytest.mark.parametrize("scored", [False, True])
def test_the_longest_known_beginning_is_found_with_its_own_keys(scored: bool) -> None:
    cache, before = PrefixCache(1 << 30), list[list[int]]()
    for ids in prompts(60):
        known = cache.find(ids, scored=scored)
        longest = max((num_common(ids, other) for other in before), default=0)
        assert longest - LEAST_TOKENS < known.num <= longest  # short ends are not kept
        keys = [key for part, used in known.parts for key in part[0][0][0, :used, 0].tolist()]
        assert keys == ids[: known.num]
        if scored:
            assert [-score.logprob for score in known.scores if score] == keys
        stored(cache, ids, scored=scored)
        before.append(ids)


def test_prompts_that_were_scored_and_others_are_kept_apart() -> None:
    cache, ids = PrefixCache(1 << 30), list(range(40))
    stored(cache, ids)
    assert (cache.find(ids).num, cache.find(ids, scored=True).num) == (40, 0)


def test_what_is_shared_takes_its_bytes_once_and_the_bound_holds() -> None:
    cache = PrefixCache(600 * BYTES_OF_TOKEN)
    shared, rng = list(range(200)), random.Random(1)
    for _ in range(50):
        stored(cache, [*shared, *(1_000 + rng.randrange(1_000) for _ in range(100))])
        assert 300 * BYTES_OF_TOKEN <= cache.num_bytes <= 600 * BYTES_OF_TOKEN
        assert cache.find(shared).num == 200  # used all the time, unlike the ends
    cache.clear()
    assert (cache.num_bytes, cache.find(shared).num) == (0, 0)


def test_a_prompt_beyond_the_bound_is_not_kept() -> None:
    cache = PrefixCache(100 * BYTES_OF_TOKEN)
    stored(cache, list(range(50)))
    stored(cache, list(range(1_000, 1_200)))
    assert cache.find(list(range(50))).num == 50
    nothing = PrefixCache(0)
    stored(nothing, list(range(50)))
    assert nothing.num_bytes == 0
