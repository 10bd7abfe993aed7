import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness.axolotl_document import RunSettings, axolotl_document, write_config
from harness.budget.gpu_profile import GPU_PROFILES, get_gpu_profile
from harness.errors import ConfigError
from harness.keys.weights import Weights
from harness.recipe import check_card, read_recipe

RECIPES = sorted((Path(__file__).parents[2] / "axolotl_configs").glob("*.yml"))


def settings(folder: Path, base: Path) -> RunSettings:
    return RunSettings(
        base_model=base,
        train_file=folder / "train.jsonl",
        validation_file=folder / "validation.jsonl",
        output_dir=folder / "output",
        events=folder / "events.jsonl",
        plan=folder / "plan.jsonl",
        packs=folder / "packs.jsonl",
        batches=folder / "batches.jsonl",
        num_steps=3,
        deadline=1.0,
        resume_from=folder / "checkpoint-1",
    )


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_shipped_recipe_is_read(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.weights is (Weights.LORA if "_lora_" in path.stem else Weights.QLORA)


SEVEN_B = ("mistral_7b_qlora_4090.yml", "mistral_7b_qlora_a100_40gb.yml", "birbal_4090.yml", "birbal_a100_40gb.yml")


@pytest.mark.parametrize("name", SEVEN_B)
def test_the_7b_recipes_hold_the_winners_hyperparameters(name: str) -> None:
    recipe = read_recipe(RECIPES[0].parent / name)
    expected = {
        "lora_r": 128,
        "lora_alpha": 256,
        "lora_dropout": 0.05,
        "lora_target_linear": True,
        "sequence_len": 8192,
        "micro_batch_size": 2,
        "gradient_accumulation_steps": 3,
        "optimizer": "paged_adamw_32bit",
        "lr_scheduler": "cosine",
        "learning_rate": 2e-5,
        "weight_decay": 0.01,
        "warmup_steps": 100,
        "neftune_noise_alpha": 5,
        "sample_packing": True,
        "train_on_inputs": False,
    }
    assert {key: getattr(recipe, key) for key in expected} == expected


@pytest.mark.parametrize("card", ["4090", "a100_40gb"])
def test_the_birbal_recipe_is_the_winners_and_the_recommended_one_has_todays_kernels(card: str, tmp_path: Path) -> None:
    birbal, ours = (read_recipe(RECIPES[0].parent / f"{n}_{card}.yml") for n in ("birbal", "mistral_7b_qlora"))
    assert (birbal.neftune_mode, birbal.gradient_accumulation_mode, birbal.uses_liger) == ("birbal", "birbal", False)
    assert birbal.attn_implementation == "flash_attention_2"
    assert (ours.neftune_mode, ours.gradient_accumulation_mode, ours.uses_liger) == (
        "per_sample",
        "token_weighted",
        True,
    )
    (tmp_path / "config.json").write_text("{}")
    document = axolotl_document(ours, settings(tmp_path, tmp_path), get_gpu_profile("rtx4090"))
    assert document["overrides_of_model_config"] == {"sliding_window": None}
    assert document["plugins"][0].endswith("LigerPlugin")
    assert document["oneday_neftune"] == 5
    assert "lora_qkv_kernel" not in document  # Axolotl's default for QLoRA: on
    old = axolotl_document(birbal, settings(tmp_path, tmp_path), get_gpu_profile("rtx4090"))
    assert (old["neftune_noise_alpha"], old["lora_qkv_kernel"], old["oneday_token_weighted"]) == (5, False, False)


@pytest.mark.slow
def test_axolotls_own_validation_takes_every_shipped_recipe_and_knows_every_key(
    tmp_path: Path, demo_base: Path
) -> None:
    """In a process of its own: Axolotl takes 8 s to import and changes global state."""
    for name in ("train", "validation"):
        (tmp_path / f"{name}.jsonl").write_text('{"prompt": "p", "answer": "a"}\n')
    paths = []
    for recipe in RECIPES:
        card = get_gpu_profile("cpu" if recipe.stem == "tiny_cpu" else "rtx4090")
        paths.append(tmp_path / recipe.name)
        write_config(paths[-1], read_recipe(recipe), settings(tmp_path, demo_base), card)
    script = Path(__file__).with_name("validate_with_axolotl.py")
    done = subprocess.run([sys.executable, str(script), *map(str, paths)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    verdicts = [line for line in done.stdout.splitlines() if ".yml: " in line]
    assert verdicts == [f"{path.name}: valid, no unknown key" for path in paths]


def write(tmp_path: Path, **changes: object) -> Path:
    raw = yaml.safe_load((RECIPES[0].parent / "tiny_cpu.yml").read_text())
    raw |= changes
    path = tmp_path / "x.yml"
    path.write_text(yaml.safe_dump({k: v for k, v in raw.items() if v != "DELETE"}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_dropout": -3}, "lora_dropout: .*greater than or equal to 0"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"learning_rate": "DELETE"}, "learning_rate: Field required"),
        ({"optimizer": "adamw_tosch"}, "optimizer: adamw_tosch is none of Axolotl's. Use adamw_torch"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"lora_r": True}, "lora_r: true is not int"),
        ({"neftune_noise_alpha": False}, "neftune_noise_alpha: false is not float"),
        ({"ema_decay": 0.9, "adapter": None, "load_in_4bit": None}, "ema_decay: the average is kept of an adapter"),
    ],
)
def test_a_wrong_recipe_is_refused_by_key(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as e:
        read_recipe(write(tmp_path, **changes))
    assert "x.yml" in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("content", [None, "a: [", "- a\n- b", "just text", "\x00", "lora_r: 8\nlora_r: 16\n"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "x.yml").write_text(content)
    with pytest.raises(ConfigError, match=r"x\.yml"):
        read_recipe(tmp_path / "x.yml")


def test_a_7b_recipe_is_refused_on_a_cpu() -> None:
    recipe = read_recipe(RECIPES[0].parent / "mistral_7b_qlora_4090.yml")
    with pytest.raises(ConfigError, match=r"needs a GPU for .*optimizer: paged_adamw_32bit, bf16: true"):
        check_card(recipe, get_gpu_profile("cpu"))
    check_card(recipe, get_gpu_profile("rtx4090"))


def test_an_unknown_card_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=", ".join(GPU_PROFILES)):
        get_gpu_profile("rtx5090")


def test_the_document_trains_on_our_own_token_ids(tmp_path: Path) -> None:
    recipe = read_recipe(RECIPES[0].parent / "tiny_cpu.yml")
    document = axolotl_document(recipe, settings(tmp_path, tmp_path), get_gpu_profile("cpu"))
    assert set(document["datasets"][0]) == {"path", "ds_type", "split"}
    assert document["datasets"][0]["ds_type"] == document["test_datasets"][0]["ds_type"] == "parquet"
    assert "val_set_size" not in document
    assert document["plugins"] == ["harness.inside.plugin.OnedayPlugin"]
    assert document["lora_qkv_kernel"] is False


def test_lora_without_four_bits_and_named_layers_are_told_as_they_are(tmp_path: Path) -> None:
    raw = yaml.safe_load((RECIPES[0].parent / "tiny_cpu.yml").read_text())
    del raw["load_in_4bit"], raw["lora_target_linear"]
    path = tmp_path / "recipe.yml"
    path.write_text(yaml.safe_dump(raw | {"adapter": "lora", "lora_target_modules": ["q_proj", "v_proj"]}))
    recipe = read_recipe(path)
    assert not recipe.load_in_4bit
    assert recipe.adapted_layers == "q_proj, v_proj"
    assert axolotl_document(recipe, settings(tmp_path, tmp_path), get_gpu_profile("cpu"))["lora_target_modules"] == [
        "q_proj", "v_proj",
    ]  # fmt: skip
