"""Tiny random bases of other architectures, each with the tokenizer and the files that its family is published with.

    base = write_base(ARCHITECTURES["gemma2"], Path("bases"))

Sliding windows are shorter than a row, vocabularies are larger than the tokenizers, and layers are wide enough for
logits that differ, so that what a window, a cap or a padded row does wrong shows in a loss.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from core.files import write_json
from core.model.libraries import quieten
from oneday.demo.demo import DEMO_BASE
from oneday.demo.tasks import DEMO_TASKS, positive_examples

WINDOW = 24
"""Of sliding attention, in tokens. A row of the small mix has about 60."""

SMALL = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 2048, "initializer_range": 0.1,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A family of models."""

    model_type: str
    tokenizer: Callable[[], PreTrainedTokenizerFast]
    config: Mapping[str, Any] = field(default_factory=dict)
    files: str = "one file"
    """Of the weights: `one file`, `shards` or `.bin`."""


def byte_level(*special: str, bos: str | None, eos: str, pad: str | None) -> PreTrainedTokenizerFast:
    """A tokenizer on bytes, as of GPT-2, Llama 3 and Qwen, learnt from the demo's tasks."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [
        f"{task.definition}\n{given}\n{answer}" for task in DEMO_TASKS for given, answer in positive_examples(task)
    ]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    )
    names = list(dict.fromkeys([*special, *filter(None, (bos, eos, pad))]))
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, pad_token=pad)


def sentencepiece(**special: str) -> PreTrainedTokenizerFast:
    """The demo's tokenizer, a BPE with byte fallback as of Llama 2, with other special tokens."""
    tokenizer = AutoTokenizer.from_pretrained(DEMO_BASE)
    tokenizer.add_special_tokens(special)
    return tokenizer


ARCHITECTURES = {
    "llama3": Architecture(
        model_type="llama",
        tokenizer=lambda: byte_level(
            "<|eot_id|>", bos="<|begin_of_text|>", eos="<|end_of_text|>", pad=None
        ),
        config={
            "num_key_value_heads": 2,
            "rope_parameters": {
                "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 256,
            },
        },
        files="shards",
    ),
    "mistral": Architecture(
        model_type="mistral",
        tokenizer=lambda: sentencepiece(pad_token="</s>"),
        config={"num_key_value_heads": 2, "sliding_window": WINDOW},
        files=".bin",
    ),
    "qwen2.5": Architecture(
        model_type="qwen2",
        tokenizer=lambda: byte_level(
            "<|im_start|>", "<|im_end|>", bos=None, eos="<|endoftext|>", pad="<|endoftext|>"
        ),
        config={"num_key_value_heads": 2, "tie_word_embeddings": True},
    ),
    "qwen3": Architecture(
        model_type="qwen3",
        tokenizer=lambda: byte_level(
            "<|im_start|>", bos=None, eos="<|im_end|>", pad="<|endoftext|>"
        ),
        config={"num_key_value_heads": 2, "head_dim": 32},
        files="shards",
    ),
    "gemma2": Architecture(
        model_type="gemma2",
        tokenizer=lambda: sentencepiece(bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"),
        config={
            "num_key_value_heads": 2, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": WINDOW,
            "attn_logit_softcapping": 5.0, "final_logit_softcapping": 10.0,
        },
        files="shards",
    ),
    "gemma3": Architecture(
        model_type="gemma3_text",
        tokenizer=lambda: sentencepiece(bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"),
        config={
            "num_key_value_heads": 2, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "phi3": Architecture(
        model_type="phi3",
        tokenizer=lambda: sentencepiece(eos_token="<|endoftext|>", pad_token="<|endoftext|>"),
        config={
            "num_key_value_heads": 2, "sliding_window": WINDOW,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        },
        files=".bin",
    ),
    "gpt_neox": Architecture(
        model_type="gpt_neox",
        tokenizer=lambda: byte_level(bos=None, eos="<|endoftext|>", pad=None),
        config={"attention_dropout": 0.0},
        files=".bin",
    ),
}  # fmt: skip


def write_base(architecture: Architecture, folder: Path) -> Path:
    """Writes config, tokenizer and weights of a base."""
    quieten()
    tokenizer = architecture.tokenizer()
    tokenizer.save_pretrained(folder)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    sizes = {**SMALL, **ids, "vocab_size": len(tokenizer) + 24, **architecture.config}
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture.model_type, **sizes))
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weight, std=0.1)
    if architecture.files == ".bin":
        model.half().save_pretrained(folder)
        pickled(folder, model)
    else:
        model.bfloat16().save_pretrained(folder, max_shard_size="50KB" if architecture.files == "shards" else "5GB")
    return folder


def pickled(folder: Path, model: Any) -> None:
    """Replaces the safetensors by two pickle files with their index, and the buffers that models had until 2023."""
    (folder / "model.safetensors").unlink()
    weights = dict(model.state_dict())
    if model.config.model_type == "gpt_neox":
        weights["gpt_neox.layers.0.attention.masked_bias"] = torch.tensor(-1e9)
    else:
        weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    names = sorted(weights)
    shards = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for shard, part in shards.items():
        torch.save({name: weights[name] for name in part}, folder / shard)
    index = {
        "metadata": {"total_size": sum(tensor.nbytes for tensor in weights.values())},
        "weight_map": {name: shard for shard, part in shards.items() for name in part},
    }
    write_json(folder / "pytorch_model.bin.index.json", index)
