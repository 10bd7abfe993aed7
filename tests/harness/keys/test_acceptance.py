import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st

from harness.axolotl_document import write_config
from harness.budget.gpu_profile import get_gpu_profile
from harness.keys.acceptance import Acceptance
from harness.keys.needs import gpu_keys
from harness.keys.schema import schema
from harness.keys.table import KeyTable
from harness.keys.yaml_file import read_mapping
from harness.recipe import asked_of, recipe_of
from tests.harness.on_cpu import without_gpu_keys
from tests.harness.test_recipe import settings

RECIPES = Path(__file__).parents[2] / "data" / "recipes"
EXAMPLES = Path(os.environ.get("AXOLOTL_EXAMPLES", Path(__file__).parents[4] / "axolotl-examples"))
"""The folder `examples` of Axolotl's source, which is not part of the repository."""


@pytest.mark.parametrize(
    ("name", "objective", "weights", "needs"),
    [
        ("qlora", "sft", "qlora", ("gpu", "package flash-attn")),
        ("lora", "sft", "lora", ("gpu", "package cut-cross-entropy", "code from the hub")),
        ("lora_8bit", "sft", "lora_8bit", ()),
        ("full", "sft", "full", ()),
        ("completion", "completion", "lora", ()),
        ("pretraining", "completion", "full", ()),
        ("dpo", "preference", "lora_8bit", ()),
    ],
)
def test_a_recipe_of_each_kind_is_accepted(name: str, objective: str, weights: str, needs: tuple[str, ...]) -> None:
    found = Acceptance.of(read_mapping(RECIPES / f"{name}.yml"))
    assert found.problem == ""
    assert (found.accepted, found.objective, found.weights, found.needs) == (True, objective, weights, needs)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"fsdp": ["full_shard"], "deepspeed": "x.json"}, "fsdp, deepspeed: made for several GPUs.* Remove these keys"),
        (
            {"tensor_parallel_size": 2},
            "tensor_parallel_size: made for several GPUs, and a run has one. Remove this key",
        ),
        ({"processor_type": "AutoProcessor"}, "processor_type: made for images or sound"),
        ({"rl": "kto"}, "rl: kto learns from single answers .* Pairs are trained, by rl: dpo and ipo"),
        ({"rl": "dpo", "neftune_noise_alpha": 5}, "neftune_noise_alpha with rl: dpo: Axolotl adds no noise under rl"),
        ({"rl": "dpo", "sample_packing": True}, "sample_packing with rl: dpo: pairs are not packed. Remove the key"),
        ({"rl": "grpo"}, "rl: grpo generates answers during training"),
        ({"rl": "gdpo", "trl": {}}, "rl: gdpo generates answers"),
        ({"rl": "ebft", "ebft": {"stride": 8}}, "rl: ebft generates answers"),
        ({"reward_model": True}, "reward_model: trains a reward model"),
        ({"process_reward_model": True}, "process_reward_model: trains a process reward model"),
        (
            {"plugins": ["axolotl.integrations.diffusion.DiffusionPlugin"], "diffusion": {"eps": 0.1}},
            "diffusion: trains a diffusion model",
        ),
        ({"relora": True, "jagged_restart_steps": 150}, "relora, jagged_restart_steps: merges the adapter"),
        ({"lisa_n_layers": 4}, "lisa_n_layers: draws the layers"),
        ({"peft": {"loftq_config": {"loftq_bits": 4}}}, r"peft\.loftq_config: changes the base's weights"),
        ({"peft_init_lora_weights": "pissa_niter_4"}, r"peft_init_lora_weights: changes the base's weights"),
        ({"reinit_weights": True}, r"reinit_weights: changes the base's weights"),
        ({"adapter": None, "load_in_4bit": True}, "load_in_4bit: true without an adapter"),
        ({"adapter": "lora", "load_in_4bit": True}, "Only qlora loads 4 bits"),
        ({"adapter": "ia3"}, "adapter: ia3 is none of ours"),
        ({"adapter": "lora", "lora_target_linear": None}, "no layers for the adapter"),
        ({"learning_rate": 0}, "learning_rate: Input should be greater than 0"),
        ({"lora_r": "many", "seed": "x"}, "lora_r: many is not int. Mend the value. seed: x is not int"),
        ({"lr_scheduler": "reduce_lr_on_plateau"}, "lr_scheduler: reduce_lr_on_plateau is no function of the planned"),
        ({"lr_scheduler": "linear", "lr_scheduler_kwargs": {"power": 2}}, "power is no argument of linear"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(changes: dict[str, object], problem: str) -> None:
    raw = {**read_mapping(RECIPES / "lora.yml"), "plugins": [], **changes}
    found = Acceptance.of(raw)
    assert not found.accepted
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(found.problem)


def test_a_recipe_without_its_gpu_keys_needs_no_gpu() -> None:
    raw = read_mapping(RECIPES / "qlora.yml") | {"liger_rope": True, "bf16": True, "lora_mlp_kernel": True}
    recipe = recipe_of(KeyTable.of(without_gpu_keys(KeyTable.of(raw).values)))
    assert (recipe.optimizer, recipe.attn_implementation, recipe.bf16) == ("adamw_torch", "sdpa", "auto")
    assert gpu_keys(asked_of(recipe)) == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats(allow_nan=True) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["path", "type", "x"]), inner, max_size=2)
    ),
    max_leaves=3,
)


@hypothesis.given(st.dictionaries(st.sampled_from([*schema().keys, "nonsense"]), VALUES, max_size=6))
def test_whatever_a_recipe_holds_it_is_accepted_or_refused_in_one_line(changes: dict[str, object]) -> None:
    found = Acceptance.of({**read_mapping(RECIPES / "full.yml"), **changes})
    assert found.accepted == (found.problem == "")
    assert "\n" not in found.problem


NEEDS_SEVERAL_GPUS = ("made for several GPUs", "made for images or sound")
OTHER_OBJECTIVES = ("ebft/", "reward-model.yaml", "prm.yaml", "gdpo.yaml", "diffusion/")
WITHOUT_A_REFERENCE = ("mistral-qlora-orpo.yml", "qlora-1b-kto.yaml")
WEIGHTS_OF_ANOTHER_KIND = ("llama-2/lisa.yml", "llama-2/loftq.yml", "llama-2/relora.yml")


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason=f"no folder {EXAMPLES} with Axolotl's own examples")
def test_axolotls_own_single_gpu_text_examples() -> None:
    """Of the 163 in its release 0.19.0, 143 are accepted. The others say why not.

    Of those of another objective one is made for several GPUs.
    """
    counts: Counter[str] = Counter()
    for path in sorted(p for p in EXAMPLES.rglob("*.y*ml") if "base_model" in yaml.safe_load(p.read_text())):
        found, name = Acceptance.of(read_mapping(path)), str(path.relative_to(EXAMPLES))
        if any(reason in found.problem for reason in NEEDS_SEVERAL_GPUS):
            counts["several GPUs or images"] += 1
        elif any(part in name for part in OTHER_OBJECTIVES):
            assert not found.accepted, name
            assert found.objective is None, name
            counts["another objective"] += 1
        elif name.endswith(WITHOUT_A_REFERENCE):
            assert not found.accepted, name
            assert "Pairs are trained, by rl: dpo and ipo" in found.problem
            counts["preferences without a reference"] += 1
        elif name in WEIGHTS_OF_ANOTHER_KIND:
            assert not found.accepted, name
            counts["weights of another kind"] += 1
        else:
            assert found.accepted, (name, found.problem)
            counts["accepted"] += 1
    assert counts == {
        "accepted": 143, "another objective": 16, "preferences without a reference": 2, "weights of another kind": 3,
        "several GPUs or images": 103,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not EXAMPLES.is_dir(), reason=f"no folder {EXAMPLES} with Axolotl's own examples")
def test_what_axolotl_is_given_for_an_accepted_example_passes_its_own_validation(tmp_path: Path) -> None:
    """In a process of its own: Axolotl takes seconds to import and changes global state."""
    (tmp_path / "config.json").write_text("{}")
    paths = []
    for number, path in enumerate(sorted(p for p in EXAMPLES.rglob("*.y*ml"))):
        found = Acceptance.of(read_mapping(path))
        if found.recipe is not None and "package llmcompressor" not in found.needs:  # its plugin imports it
            recipe = found.recipe.planned(steps_per_epoch=100, num_steps=100)
            paths.append(tmp_path / f"{number}-{path.name}")
            write_config(paths[-1], recipe, settings(tmp_path, tmp_path), get_gpu_profile("rtx4090"))
    script = Path(__file__).parents[1] / "validate_with_axolotl.py"
    done = subprocess.run([sys.executable, str(script), *map(str, paths)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    verdicts = [line for line in done.stdout.splitlines() if line.partition(": ")[0].endswith((".yml", ".yaml"))]
    assert [line for line in verdicts if not line.endswith(": valid, no unknown key")] == []
    assert len(verdicts) == len(paths) == 142
