"""How to load an export: by transformers, vLLM, SGLang, and llama.cpp or Ollama.

    how_to_load(Loading(name="200k", base="org/base", quantisation=kept, is_adapter=True, lora_rank=128))

Where it sits: a section of the model card.
"""

from dataclasses import asdict, dataclass

from core.model.quantisation import Quantisation

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM's `--max-lora-rank` takes. Source: vllm/config/lora.py, `MaxLoRARanks`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """What is loaded."""

    name: str
    base: str
    """Hub name or path of the base."""
    quantisation: Quantisation
    """How the base was kept in training."""
    is_adapter: bool
    lora_rank: int = 0
    is_eager: bool = False
    """Attention has to be computed by the eager kernel, because torch's leaves a bound out."""
    gguf: str | None = None
    """Name of the GGUF file."""
    has_modelfile: bool = False


def how_to_load(loading: Loading) -> str:
    """Markdown with the command or the code of each program."""
    if loading.gguf:
        return _gguf(loading)
    return _adapter(loading) if loading.is_adapter else _whole(loading)


_WHOLE = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".", dtype="auto"{option})
tokenizer = AutoTokenizer.from_pretrained(".")
```"""

_ADAPTER = """\
```python
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer{imported}

base = AutoModelForCausalLM.from_pretrained("{base}", dtype=torch.{dtype}{option})
model = PeftModel.from_pretrained(base, ".")
tokenizer = AutoTokenizer.from_pretrained(".")
```"""

_FOUR_BIT = """, quantization_config=BitsAndBytesConfig(
    load_in_4bit=True, bnb_4bit_quant_type="{quant_type}", bnb_4bit_use_double_quant={double_quant},
    bnb_4bit_compute_dtype=torch.{compute_dtype},
)"""


_EAGER = ', attn_implementation="eager"'
_EIGHT_BIT = ", quantization_config=BitsAndBytesConfig(load_in_8bit=True)"


def _whole(loading: Loading) -> str:
    return "\n\n".join(
        [
            "In this folder, by transformers:",
            _WHOLE.format(option=_EAGER * loading.is_eager),
            "By vLLM, SGLang and llama.cpp:",
            _shell(
                f"vllm serve . --served-model-name {loading.name}",
                f"python -m sglang.launch_server --model-path . --served-model-name {loading.name}",
                "oneday export RUN --to gguf        # the file that llama.cpp reads; `--to ollama` adds a Modelfile",
            ),
        ]
    )


def _adapter(loading: Loading) -> str:
    """Code that loads the base as in training."""
    kept = loading.quantisation
    quantised = (_FOUR_BIT.format(**asdict(kept)) if kept.load_in_4bit else _EIGHT_BIT) if kept.is_quantised else ""
    code = _ADAPTER.format(
        imported=", BitsAndBytesConfig" if quantised else "", base=loading.base, dtype=kept.compute_dtype,
        option=_EAGER * loading.is_eager + quantised,
    )  # fmt: skip
    return "\n\n".join(
        [
            f"In training the base was kept so: {kept.describe()}. Kept in another way, base and adapter are another "
            "model. `trained_base.json` says the same to programs. In this folder, by transformers and PEFT:",
            code,
            *_servers(loading),
        ]
    )


def _servers(loading: Loading) -> list[str]:
    """vLLM, SGLang and llama.cpp with an adapter."""
    kept, rank = loading.quantisation, loading.lora_rank
    merged = "oneday export RUN --to merged      # whole weights, with the rounding of the base in training"
    gguf = "oneday export RUN --to gguf        # the file that llama.cpp reads; `--to ollama` adds a Modelfile"
    fitting = next((r for r in VLLM_RANKS if r >= rank), None)
    vllm = (
        f"vllm serve {loading.base} --enable-lora --lora-modules {loading.name}=. --max-lora-rank {fitting}"
        f"{' --quantization bitsandbytes' if kept.load_in_4bit else ''}"
    )
    sglang = (
        f"python -m sglang.launch_server --model-path {loading.base} --enable-lora --lora-paths {loading.name}=. "
        f"--max-lora-rank {rank}"
    )
    if kept.load_in_8bit or fitting is None or not rank:
        return ["vLLM, SGLang and llama.cpp take merged weights:", _shell(merged, gguf)]
    if kept.load_in_4bit:
        return [
            "By vLLM, which rounds the base to NF4 while it loads it. SGLang and llama.cpp take merged weights:",
            _shell(vllm, merged, gguf),
        ]
    return ["By vLLM, SGLang and llama.cpp:", _shell(vllm, sglang, gguf)]


def _gguf(loading: Loading) -> str:
    parts = [
        "In this folder, by llama.cpp's server, or from Python:",
        _shell(f"llama-server -m {loading.gguf}"),
        f'```python\nfrom llama_cpp import Llama\n\nmodel = Llama("{loading.gguf}", n_ctx=2048)\n```',
    ]
    if loading.has_modelfile:
        create = f"ollama create {loading.name} -f Modelfile && ollama run {loading.name}"
        parts += ["By Ollama, with the template of the training:", _shell(create)]
    whole = "`oneday export RUN --to merged` writes what transformers, vLLM and SGLang load."
    return "\n\n".join([*parts, whole])


def _shell(*lines: str) -> str:
    return "\n".join(["```", *lines, "```"])
