"""Writes a random base model of 14.5 GB in the layout of a hub folder, within seconds.

    python -m benchmarks.gpu.base --base mistral-7b --bases /dev/shm

Every tensor is a piece of one pool of random numbers, at an offset of its own, because drawing 7 billion numbers would
take longer than the benchmark that needs them. Several threads write the files.
"""

import itertools
import json
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

SHAPES: dict[str, dict[str, int]] = {
    "mistral-7b": {
        "vocab_size": 32_000, "hidden_size": 4_096, "intermediate_size": 14_336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8,
    },
    "llama-3-8b": {
        "vocab_size": 128_256, "hidden_size": 4_096, "intermediate_size": 14_336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8,
    },
    "small-1b": {
        "vocab_size": 32_000, "hidden_size": 2_048, "intermediate_size": 5_632, "num_hidden_layers": 22,
        "num_attention_heads": 32, "num_key_value_heads": 4,
    },
    "tiny": {
        "vocab_size": 32_000, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2,
    },
}  # fmt: skip
"""`small-1b` has TinyLlama's sizes; the check of a budgeted run does not need 7 billion weights."""

SHARD_BYTES = 1 << 30
POOL_NUMBERS = 1 << 26
WRITERS = 8
DEVIATION = 0.02


def write_base(folder: Path, name: str, *, tokenizer: Path | None) -> None:
    """Writes a random Mistral model with the shape `SHAPES[name]` and the real tokenizer.

    Args:
        tokenizer: A SentencePiece file. Default: that of Mistral-7B-v0.1 in mistral-common.
    """
    from transformers import MistralConfig

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_tokenizer(folder, tokenizer)
    config = MistralConfig(
        **SHAPES[name], sliding_window=4_096, max_position_embeddings=32_768, bos_token_id=1, eos_token_id=2,
        dtype="bfloat16", architectures=["MistralForCausalLM"],
    )  # fmt: skip
    config.save_pretrained(folder)
    write_weights(folder, sizes_of(config))
    (folder / "done").touch()


def sizes_of(config: Any) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of the model's weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def write_weights(folder: Path, sizes: Mapping[str, tuple[int, ...]]) -> None:
    """Writes `model-*.safetensors` in bf16 and their index."""
    import torch

    pool = torch.randn(POOL_NUMBERS, generator=torch.Generator().manual_seed(0)).mul_(DEVIATION).bfloat16()
    random = memoryview(pool.view(torch.uint8).numpy())
    ones = torch.ones(max(size[0] for size in sizes.values()), dtype=torch.bfloat16).view(torch.uint8).numpy()
    shards = list(_shards(sizes))
    names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    starts = itertools.count(0, 7_654_322)  # an even number, because bf16 has two bytes
    offsets = {name: next(starts) % len(random) for name in sizes}

    def write(number: int) -> None:
        with (folder / names[number]).open("wb") as file:
            _write_header(file, {name: sizes[name] for name in shards[number]})
            for name in shards[number]:
                num_bytes = _num_bytes(sizes[name])
                if "norm" in name:
                    file.write(memoryview(ones)[:num_bytes])
                else:
                    _write_piece(file, random, offsets[name], num_bytes)

    with ThreadPoolExecutor(WRITERS) as threads:
        list(threads.map(write, range(len(shards))))
    index = {name: names[number] for number, shard in enumerate(shards) for name in shard}
    total = {"total_size": sum(map(_num_bytes, sizes.values()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": total, "weight_map": index}))


def _shards(sizes: Mapping[str, tuple[int, ...]]) -> Iterator[list[str]]:
    shard: list[str] = []
    filled = 0
    for name, size in sizes.items():
        if shard and filled + _num_bytes(size) > SHARD_BYTES:
            yield shard
            shard, filled = [], 0
        shard.append(name)
        filled += _num_bytes(size)
    yield shard


def _write_header(file: BinaryIO, sizes: Mapping[str, tuple[int, ...]]) -> None:
    """Writes the header of a safetensors file: its length in 8 bytes, then the header; the tensors follow in order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, size in sizes.items():
        start, end = end, end + _num_bytes(size)
        header[name] = {"dtype": "BF16", "shape": list(size), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)


def _write_piece(file: BinaryIO, random: memoryview, start: int, num_bytes: int) -> None:
    """Writes `num_bytes` of the pool from `start` on, and continues at its beginning after its end."""
    while num_bytes:
        piece = random[start : start + num_bytes]
        file.write(piece)
        num_bytes -= len(piece)
        start = 0


def _num_bytes(size: Sequence[int]) -> int:
    number = 2
    for extent in size:
        number *= extent
    return number


def write_tokenizer(folder: Path, path: Path | None = None) -> None:
    """Converts a SentencePiece file to a transformers tokenizer.

    The conversion of transformers needs a newer protobuf than the pinned one.
    """
    from sentencepiece import SentencePieceProcessor
    from transformers import LlamaTokenizer
    from transformers.convert_slow_tokenizer import generate_merges

    from core.model.token_counter import TokenCounter

    pieces = SentencePieceProcessor(model_file=str(path or TokenCounter.mistral_7b().path))
    vocab = {pieces.id_to_piece(number): number for number in range(pieces.get_piece_size())}
    scores = [(piece, pieces.get_score(number)) for piece, number in vocab.items()]
    merges = generate_merges(vocab, scores)
    tokenizer = LlamaTokenizer(vocab=vocab, merges=merges, pad_token="</s>", add_bos_token=True)
    tokenizer.save_pretrained(folder)
    text = "A model reads the question, then writes 2 short answers."
    ours = tokenizer.encode(text, add_special_tokens=False)
    assert ours == pieces.encode(text), "the tokenizer was converted wrongly"


def main() -> None:
    """Writes a base, while another process imports the libraries of all parts, because the first import is slow."""
    import subprocess
    import sys
    import time

    from benchmarks.gpu.setting import arguments, find_base, lines_of

    options = arguments(__doc__, part="base").parse_args()
    imports = "import axolotl.cli.train, axolotl.train, axolotl.core.builders, fastapi, uvicorn, oneday.cli"
    warmup = None if options.tiny else subprocess.Popen([sys.executable, "-c", imports], stdin=subprocess.DEVNULL)
    started = time.monotonic()
    base = find_base(options)
    gib = sum(path.stat().st_size for path in base.iterdir()) / 2**30
    written_s = time.monotonic() - started
    exit_code = warmup.wait() if warmup else None
    lines_of(options).write(
        measured="base", folder=base.name, gib=gib, written_s=written_s, ready_s=time.monotonic() - options.started,
        imports_exit_code=exit_code,
    )  # fmt: skip


if __name__ == "__main__":
    main()
