"""Turns a GGUF file into an ordinary model folder: weights in bf16, a fast tokenizer.

    python -m core.model.gguf_model model.gguf models/smollm2-135m

It needs the `gguf` package, and runs in a process of its own (`packaged.py`). A check of a plain sentence follows: a
tokenizer that was converted wrongly makes text that the model has never seen, with a loss of 8 instead of 2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

SENTENCE = "The capital of Finland is Helsinki. It is the largest city in the country."
MOST_LOSS = 4.0
"""Nats a token of `SENTENCE`. Measured: 2.3 with SmolLM2-135M, 2.0 with Gemma 3 270M, 8.8 with its tokenizer broken."""

_NORMAL, _CONTROL, _USER = 1, 3, 4
"""Types of tokens in a GGUF file."""

_SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
"""Special token -> its name in a GGUF file."""


def convert(weights: Path, out: Path) -> float:
    """Writes the folder.

    Returns:
        The loss of a plain sentence.
    """
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(str(weights.parent), gguf_file=weights.name, dtype=torch.float32)
    model.to(torch.bfloat16).save_pretrained(out)
    fields = GGUFReader(str(weights)).fields
    write_tokenizer({name: field.contents() for name, field in fields.items()}, out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    ids = tokenizer(SENTENCE, return_tensors="pt").input_ids
    with torch.inference_mode():
        return float(model.float()(ids, labels=ids).loss)


def write_tokenizer(fields: Mapping[str, Any], out: Path) -> None:
    """Writes the tokenizer that the fields of a GGUF file describe, as its authors published it.

    transformers 5.16 reads SmolLM2's without the separation of digits, with a byte fallback that it does not have and
    with an end token that the model never ends with, and Gemma's without its merges, so that text falls apart.

    Raises:
        ValueError: a kind of tokenizer that is not known here.
    """
    from transformers import PreTrainedTokenizerFast

    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    kind = (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"])
    if kind not in _KINDS:
        raise ValueError(f"a tokenizer of the kind {kind} is not known")
    tokenizer = _KINDS[kind](fields)
    added = [
        AddedToken(token, normalized=False, special=type_ == _CONTROL)  # Gemma's line breaks are _USER: text
        for token, type_ in zip(tokens, types, strict=True)
        if type_ in (_CONTROL, _USER)
    ]
    tokenizer.add_tokens(added)
    named = {
        f"{name}_token": tokens[fields[f"tokenizer.ggml.{key}_token_id"]]
        for name, key in _SPECIAL.items()
        if f"tokenizer.ggml.{key}_token_id" in fields
    }
    if fields.get("tokenizer.ggml.add_bos_token"):
        bos = named["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokens.index(bos))]
        )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=fields.get("tokenizer.chat_template"),
        model_max_length=fields[f"{fields['general.architecture']}.context_length"],
        clean_up_tokenization_spaces=False,
        **named,
    ).save_pretrained(out)


def _sentencepiece(fields: Mapping[str, Any]) -> Any:
    """A SentencePiece model with byte fallback."""
    tokens, scores, types = (fields[f"tokenizer.ggml.{key}"] for key in ("tokens", "scores", "token_type"))
    ids = {token: number for number, token in enumerate(tokens)}
    merges = [(tokens[a], tokens[b]) for a, b in merges_of(tokens, scores, types)]
    unknown = tokens[fields["tokenizer.ggml.unknown_token_id"]]
    tokenizer: Any = Tokenizer(BPE(vocab=ids, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _bytes_and_digits(fields: Mapping[str, Any]) -> Any:
    """GPT-2's byte-level tokenizer, each digit apart."""
    ids = {token: number for number, token in enumerate(fields["tokenizer.ggml.tokens"])}
    pairs = [merge.split(" ") for merge in fields["tokenizer.ggml.merges"]]
    tokenizer: Any = Tokenizer(BPE(vocab=ids, merges=[(left, right) for left, right in pairs]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


_KINDS: Mapping[tuple[str, str], Callable[[Mapping[str, Any]], Any]] = {
    ("llama", "default"): _sentencepiece,
    ("gpt2", "smollm"): _bytes_and_digits,
}
"""(model, pre-tokenizer) as a GGUF file names them -> how it is built."""


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
    arguments = parser.parse_args()
    loss = convert(arguments.weights, arguments.out)
    if loss > MOST_LOSS:
        sys.exit(f"a plain sentence has a loss of {loss:.1f}, and at most {MOST_LOSS:g} is right")


if __name__ == "__main__":
    main()
