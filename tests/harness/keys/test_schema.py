import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.keys.owned import OVERRULED, WISHES
from harness.keys.refused import REFUSED
from harness.keys.schema import ALWAYS_THERE, SCHEMA, KeyType, schema

SCRIPT = "tests.harness.keys.axolotl_schema"


@pytest.mark.slow
def test_the_stored_keys_are_those_of_the_installed_axolotl() -> None:
    """In a process of its own: Axolotl takes seconds to import and changes global state."""
    command = [sys.executable, "-W", "ignore", "-m", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    printed = done.stdout[done.stdout.index("{\n") :]
    assert json.loads(printed) == json.loads(SCHEMA.read_text(encoding="utf-8"))


def test_every_key_that_we_decide_is_one_of_axolotls() -> None:
    ours = {*OVERRULED, *WISHES, *REFUSED}
    of_plugins = {"expert_parallel_size", "nemo_gym_enabled"}
    assert [key for key in sorted(ours - of_plugins) if schema().key(key) is None] == []
    assert set(OVERRULED).isdisjoint({*WISHES, *REFUSED})


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (KeyType(types=("int",)), "8", ""),
        (KeyType(types=("int",)), 8.5, "8.5 is not int"),
        (KeyType(types=("int",)), True, "true is not int"),
        (KeyType(types=("float",)), "5e-5", ""),
        (KeyType(types=("float",)), "fast", "fast is not float"),
        (KeyType(types=("bool",), choices=("auto",)), "auto", ""),
        (KeyType(types=("bool",), choices=("auto",)), "maybe", "maybe is not bool or 'auto'"),
        (KeyType(types=("list",)), {"a": 1}, "{'a': 1} is not list"),
        (KeyType(types=("str",)), None, ""),
    ],
)
def test_a_value_fits_its_type_as_it_does_in_axolotl(kind: KeyType, value: object, problem: str) -> None:
    assert kind.problem(value) == problem


def test_a_key_of_a_plugin_is_known_where_the_plugin_is_loaded() -> None:
    assert schema().key("use_scattermoe") is None
    assert schema().key("use_scattermoe", ["axolotl.integrations.kernels.KernelsPlugin"]) is not None
    assert schema().key("liger_rope") is not None, ALWAYS_THERE


@pytest.mark.parametrize(
    ("misspelt", "nearest"), [("lora_dropuot", "lora_dropout"), ("sequence_length", "sequence_len"), ("xyzzy", None)]
)
def test_a_misspelt_key_names_the_nearest(misspelt: str, nearest: str | None) -> None:
    assert schema().nearest(misspelt) == nearest
