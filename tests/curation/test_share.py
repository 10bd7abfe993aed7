from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import MixError
from curation.share import shared_targets

COUNTS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(1, 5_000), min_size=1)
OTHERS = {"ni_exact_match": 50_000, "ni_generation": 50_000}


@given(COUNTS, st.integers(1, 60_000), st.integers(0, 60_000), st.floats(0.05, 0.95), st.booleans())
def test_the_share_is_met_and_no_side_gives_what_it_has_not(
    own: Mapping[str, int], exact: int, generation: int, share: float, keep_own: bool
) -> None:
    could_give = {**own, "ni_exact_match": exact, "ni_generation": generation}
    targets = shared_targets(own, OTHERS, could_give, share, keep_own=keep_own)
    assert list(targets) == [*own, *OTHERS]
    assert all(0 <= n <= min(could_give[s], OTHERS.get(s, n)) for s, n in targets.items())
    num_own = sum(targets[name] for name in own)
    num = sum(targets.values())
    assert num_own >= 1
    assert num > num_own
    others = sum(min(could_give[s], n) for s, n in OTHERS.items())
    if keep_own:
        assert num_own == sum(own.values())
        assert num_own / num >= share - 1 / num or num - num_own == 1
    elif min(num_own, num - num_own) > 1:
        assert abs(num_own - share * num) <= 1 + share / (1 - share)
    assert num_own == sum(own.values()) or num - num_own >= others - 1 / share - 1, "one side is used up"


def test_a_side_without_a_row_is_told() -> None:
    with pytest.raises(MixError, match=r"`samples\.own_share=0\.3`: no rows of your own can be drawn"):
        shared_targets({"a": 0}, OTHERS, {"ni_generation": 5}, 0.3, keep_own=False)
    with pytest.raises(MixError, match="no rows of NI tasks or other sources can be drawn"):
        shared_targets({"a": 5}, OTHERS, {"a": 5}, 0.3, keep_own=False)
