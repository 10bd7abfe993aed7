"""Axolotl's own examples without their GPU keys, trained for two steps by the real Axolotl on a tiny Mistral."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.axolotl_process import Launcher
from harness.keys.table import KeyTable
from harness.keys.yaml_file import read_mapping
from harness.recipe import recipe_of
from harness.run import train
from tests.harness.inside.test_exact import SLOW
from tests.harness.keys.test_acceptance import EXAMPLES
from tests.harness.on_cpu import without_gpu_keys
from tests.harness.test_run import make_job

SMALLER = {"sequence_len": 512, "max_steps": 2, "special_tokens": None, "model_type": None, "cls_model_config": None}
"""So that two steps are quick, and neither a token nor a class is named that is not the tiny model's."""


@pytest.mark.slow
@pytest.mark.skipif(not EXAMPLES.is_dir(), reason=f"no folder {EXAMPLES} with Axolotl's own examples")
@pytest.mark.parametrize(
    "name",
    [
        "archived/code-llama/7b/lora.yml",  # LoRA on 8 bits, saves what it embeds, a tokenizer's class of its own
        "llama-3/lora-1b-sample-packing-sequentially.yml",  # the same with embeddings that are trained too
        "eaft/eaft-example.yml",  # all weights, a loss of its own
        "llama-3/3b-qat-nvfp4.yaml",  # all weights, trained for another precision
        "archived/tiny-llama/pretrain.yml",  # plain text
        "streaming/sft.yaml",
    ],
)
def test_an_example_without_its_gpu_keys_trains(
    name: str, tmp_path: Path, write_mix: Callable[..., Path], demo_base: Path, axolotl: Launcher
) -> None:
    table = KeyTable.of(read_mapping(EXAMPLES / name))
    recipe = recipe_of(KeyTable.of(without_gpu_keys({**table.values, **SMALLER})))
    job = replace(make_job(tmp_path, write_mix(), demo_base, budget_s=900.0), recipe=recipe)
    result = train(job, SLOW, launch=axolotl)
    assert (result.stop_reason, result.steps) == ("epochs", 2)
