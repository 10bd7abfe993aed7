"""Turns a GGUF file into an ordinary model folder: weights in bf16, a fast tokenizer.

    python -m core.model.gguf_model model.gguf models/smollm2-135m

It needs the `gguf` package, and runs in a process of its own (`packaged.py`). A check of a plain sentence follows: a
tokenizer that was converted wrongly makes text that the model has never seen, with a loss of 8 instead of 2.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SENTENCE = "The capital of Finland is Helsinki. It is the largest city in the country."
MOST_LOSS = 4.0
"""Nats a token of `SENTENCE`. Measured: 2.3 with SmolLM2-135M, 2.0 with Gemma 3 270M, 8.8 with its tokenizer broken."""

_NORMAL, _CONTROL, _USER = 1, 3, 4
"""Types of tokens in a GGUF file."""


def convert(weights: Path, out: Path, *, rebuild_merges: bool) -> float:
    """Writes the folder.

    Args:
        rebuild_merges: Rebuild the tokenizer from the scores of its tokens. transformers 5.16 converts a SentencePiece
            tokenizer such as Gemma's without its merges, and text falls apart into characters.
    Returns:
        The loss of a plain sentence.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, name = str(weights.parent), weights.name
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    model.to(torch.bfloat16).save_pretrained(out)
    if rebuild_merges:
        _write_rebuilt(weights, out)
    else:
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
        align(tokenizer, model.config)
        tokenizer.save_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    ids = tokenizer(SENTENCE, return_tensors="pt").input_ids
    with torch.inference_mode():
        return float(model.float()(ids, labels=ids).loss)


def align(tokenizer: Any, config: Any) -> None:
    """Gives a tokenizer the special tokens that the model's config names.

    transformers 5.16 reads SmolLM2's GGUF with `<|im_start|>` as the end token, which the model never ends with.
    """
    for name in ("bos", "eos", "pad"):
        token_id = getattr(config, f"{name}_token_id", None)
        if isinstance(token_id, int):
            setattr(tokenizer, f"{name}_token", tokenizer.convert_ids_to_tokens(token_id))


def _write_rebuilt(weights: Path, out: Path) -> None:
    """The tokenizer of a SentencePiece model with byte fallback, its BOS in front of every text."""
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import BPE

    fields = GGUFReader(str(weights)).fields
    tokens, scores, types = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "scores", "token_type"))
    ids = {token: number for number, token in enumerate(tokens)}
    merges = [(tokens[a], tokens[b]) for a, b in merges_of(tokens, scores, types)]
    tokenizer: Any = Tokenizer(BPE(vocab=ids, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = [token for token, kind in zip(tokens, types, strict=True) if kind in (_CONTROL, _USER)]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", ids["<bos>"])]
    )
    tokenizer.save(str(out / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{f"{name}_token": f"<{name}>" for name in ("bos", "eos", "pad", "unk")},
        "model_max_length": 32_768,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))


def merges_of(tokens: Sequence[str], scores: Sequence[float], types: Sequence[int]) -> list[tuple[int, int]]:
    """The merges that a SentencePiece vocabulary implies: ids of every two tokens that make a third, best score first.

    >>> merges_of(["a", "b", "c", "ab", "abc"], [0, 0, 0, -2, -1], [1, 1, 1, 1, 1])
    [(3, 2), (0, 1)]
    """
    ids = {token: number for number, (token, kind) in enumerate(zip(tokens, types, strict=True)) if kind == _NORMAL}
    found = []
    for number, token in enumerate(tokens):
        if token in ids:
            halves = ((ids.get(token[:k]), ids.get(token[k:])) for k in range(1, len(token)))
            found += [(-scores[number], number, a, b) for a, b in halves if a is not None and b is not None]
    return [(a, b) for *_, a, b in sorted(found)]


def main() -> None:
    """Converts, and fails if the loss is too high."""
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rebuild-merges", action="store_true")
    arguments = parser.parse_args()
    loss = convert(arguments.weights, arguments.out, rebuild_merges=arguments.rebuild_merges)
    if loss > MOST_LOSS:
        sys.exit(f"a plain sentence has a loss of {loss:.1f}, and at most {MOST_LOSS:g} is right")


if __name__ == "__main__":
    main()
