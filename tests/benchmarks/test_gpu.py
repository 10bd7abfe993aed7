"""The GPU benchmarks, tiny on the CPU: that the script works, and no figure."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.levers import ON_A_CPU, SETTINGS
from benchmarks.gpu.setting import write_rows, write_tokenizer
from harness.axolotl_config import AxolotlConfig, find_recipe, read_recipe
from harness.dataset import read_mix


@pytest.mark.slow
def test_the_rehearsal_script_prints_its_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu.rehearsal", "--tiny", "--work", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]
    (tried,) = json.loads(done.stdout.splitlines()[-1])["tried"]
    assert tried["fits"]
    assert tried["tiny"]
    assert tried["tokens_per_s"] > 0
    assert tried["gflop_per_token"] > 0
    assert tried["hardware_utilisation"] is None
    assert tried["versions"]["axolotl"] == "0.19.0"


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_a_recipe_and_ours_is_the_recommended_one(name: str) -> None:
    recipe = read_recipe(find_recipe(Path("mistral_7b_qlora_4090.yml")))
    changed = AxolotlConfig(**(recipe.model_dump() | SETTINGS[name]))
    differs = {key for key, value in changed if value != getattr(recipe, key)}
    assert differs <= {"attn_implementation"} if name == "ours" else differs
    assert set(ON_A_CPU) <= set(SETTINGS)


def test_rows_are_spread_as_the_mix_and_the_tokenizer_is_the_real_one(tmp_path: Path) -> None:
    write_rows(tmp_path, train=2000, validation=20)
    lengths = json.loads((tmp_path / "lengths.json").read_text())
    assert 200 < sum(lengths) / len(lengths) < 350
    assert len(read_mix(tmp_path / "train.jsonl")) == 2000
    write_tokenizer(tmp_path / "base")
    assert (tmp_path / "base" / "tokenizer.json").is_file()
