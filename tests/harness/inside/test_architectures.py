"""One architecture from base to answer, on the real Axolotl; `make faults` takes all of them.

Gemma 2 has most of what can go wrong: several files, tied embeddings, sliding windows, caps on two kinds of logits, and
more embeddings than tokens.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.axolotl_process import Launcher
from tests.harness.architectures import go_through
from tests.harness.bases import ARCHITECTURES, write_base


@pytest.mark.slow
def test_gemma_2_is_trained_picked_exported_served_and_tried(
    tmp_path: Path, write_mix: Callable[..., Path], axolotl: Launcher
) -> None:
    base = write_base(ARCHITECTURES["gemma2"], tmp_path / "base")
    outcome = go_through(base, write_mix(), tmp_path, "qlora", axolotl)
    assert outcome.problems == []
    assert outcome.merged_difference < 1e-3
