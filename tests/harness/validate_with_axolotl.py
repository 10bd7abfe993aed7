"""Loads configurations through Axolotl's own validation; prints one line each. Run by test_axolotl_config.py."""

import sys
from pathlib import Path

import yaml
from axolotl.cli.config import prepare_plugins
from axolotl.utils.config import validate_config
from axolotl.utils.dict import DictDefault
from axolotl.utils.schemas.config import AxolotlInputConfig
from axolotl.utils.schemas.datasets import SFTDataset

from harness.inside.plugin_args import OnedayArgs
from harness.keys.schema import schema

GPU = {"bf16": True, "fp8": False, "n_gpu": 1, "compute_capability": "sm_89", "n_node": 1, "tf32": True}


NAMES = {f.alias: name for name, f in AxolotlInputConfig.model_fields.items() if f.alias}
"""Names that Axolotl gives to keys that are written otherwise."""


def unknown_keys(raw: dict) -> set[str]:
    unknown = {key for key in raw if schema().key(key, raw["plugins"]) is None} - set(OnedayArgs.model_fields)
    for dataset in [*raw["datasets"], *raw["test_datasets"]]:
        unknown |= set(dataset) - set(SFTDataset.model_fields)
    return unknown


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        raw = yaml.safe_load(path.read_text())
        cfg = DictDefault(raw)
        prepare_plugins(cfg)
        try:
            validated = validate_config(cfg, capabilities=dict(GPU), env_capabilities={"torch_version": "2.13.0"})
        except Exception as e:
            print(f"{path.name}: {type(e).__name__} {' '.join(str(e).split())[:300]}")
            continue
        unknown = unknown_keys(raw)
        lost = [key for key in raw if raw[key] is not None and NAMES.get(key, key) not in validated]
        print(f"{path.name}: " + (f"unknown {unknown} lost {lost}" if unknown or lost else "valid, no unknown key"))


if __name__ == "__main__":
    main()
