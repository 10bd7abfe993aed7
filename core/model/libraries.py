"""Switches off unwanted behaviour of torch's companion libraries: warnings, and a repack that changes results.

Where it sits: below language_model; doctor and plugin call it too.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from core.threads import choose_waiting


def disable_cpu_repack(model: Any) -> None:
    """Keeps bitsandbytes from repacking 4-bit weights on CPUs with avx512_bf16.

    The repack changes logits (by 6e-3, measured on a tiny Mistral). In training it silently cuts the gradient through
    the packed layer. Source: measured, bitsandbytes 0.50.2.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def quieten() -> None:
    """Silences what these libraries report about optional kernels; a user cannot act on it."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    choose_waiting(os.environ)
    for name in ("torchao", "bitsandbytes", "torch.utils._pytree", "transformers"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message="Skipping publisher trust check")
    warnings.filterwarnings("ignore", message="MatMul8bitLt: inputs will be cast")
    with contextlib.suppress(ImportError):
        hub_logging = importlib.import_module("transformers.utils.logging")
        hub_logging.disable_progress_bar()
        hub_logging.set_verbosity_error()


@contextlib.contextmanager
def hub(*, is_asked_for: bool) -> Iterator[None]:
    """Allows requests to the hub inside the block, if the user asked for it or the environment does not forbid it.

    Models are loaded offline, also later in the same process.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    _set_offline(not is_asked_for and is_offline(os.environ))
    try:
        yield
    finally:
        _set_offline(before)


def is_offline(environment: Mapping[str, str]) -> bool:
    """Whether an environment forbids the hub, by the values that huggingface_hub reads as true."""
    return environment.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _set_offline(is_offline: bool) -> None:
    """Sets the mode of this process. huggingface_hub reads its environment variable only once, at import."""
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = is_offline
    if "datasets" in sys.modules and "HF_DATASETS_OFFLINE" not in os.environ:
        sys.modules["datasets"].config.HF_HUB_OFFLINE = is_offline


def give_back() -> None:
    """Returns the memory of deleted tensors to the GPU. Otherwise torch keeps it, and other processes cannot use it."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
