"""What of an adapter changes the base's own weights."""

import pytest

from core.model.lora_adapter import changes_the_base


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ({"r": 8, "bias": "none", "modules_to_save": None, "init_lora_weights": True}, False),
        ({"init_lora_weights": "gaussian"}, False),
        ({"init_lora_weights": "pissa_niter_4"}, True),
        ({"init_lora_weights": "olora"}, True),
        ({"modules_to_save": ["lm_head"]}, True),
        ({"bias": "all"}, True),
    ],
)
def test_an_adapter_that_cannot_be_taken_off_is_known_by_its_config(shape: dict[str, object], expected: bool) -> None:
    assert changes_the_base(shape) is expected
