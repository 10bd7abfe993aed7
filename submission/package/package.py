"""`oneday package`: a folder with everything that serves a run's picked model, for an organiser who has none of it.

    packaged = package(Package(run=Path("runs/200k"), out=Path("submission")))

    Dockerfile  README.md  requirements.txt    how to build and run, every version pinned
    app/                                       this project's code
    checkpoint/                                the picked adapter or model
    base/ or base.json                         the base model, or the hashes by which the build fetches it

Where it sits: picked checkpoint -> **package** -> an organiser's `docker build`.
"""

import contextlib
import importlib.metadata
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.files import file_sha256, make_folder, naming, write_json, write_text
from core.model.folder import model_files
from harness.checkpoint.trained_base import write_trained_base
from submission.errors import PackageError
from submission.export.picked_model import PickedModel, picked_model
from submission.package.pinned import pinned

PROJECT = "oneday-llm"
PACKAGES = ("axolotl_configs", "core", "curation", "evaluation", "harness", "oneday", "studies", "submission")
"""The project's packages, as in its wheel."""

Weights = Literal["copy", "fetch"]

_SOURCE = Path(__file__).parents[2]
_HERE = Path(__file__).parent

_COPIED = "COPY base base"
_FETCHED = """\
COPY app/submission/package/fetch.py base.json ./
RUN --mount=type=secret,id=hf_token python3 fetch.py base.json base"""

_FETCHED_TOLD = """\
The build fetches the base model from the hub and compares its hashes with base.json. A model that needs a token takes
it from the secret; leave `--secret` out otherwise.

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What is packaged."""

    run: Path
    out: Path
    """A folder that is not there yet, or is empty."""
    weights: Weights = "copy"
    """Whether the base lies in the folder, or the build fetches it from the hub by hash."""
    base: Path | None = None
    """Overrides the base model that the pick names."""
    base_changed: bool = False
    """The base may be another one than in training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packaged:
    """What was written."""

    folder: Path
    num_requirements: int
    size_bytes: int


def package(wanted: Package, *, on_file: Callable[[str], None] = lambda name: None) -> Packaged:
    """Writes the folder.

    Args:
        on_file: Called with the name of each file of the base before it is copied or hashed.
    Raises:
        ExportError: nothing is picked, or the base is missing.
        PackageError: the folder is not empty, or the base is to be fetched and its name on the hub is unknown.
    """
    model = picked_model(wanted.run, base=wanted.base, base_changed=wanted.base_changed)
    trained = model.trained
    fetches = wanted.weights == "fetch" and not model.is_whole
    if fetches and (trained.name is None or trained.revision is None or model.is_changed):
        raise PackageError(
            f"{wanted.run}: name and commit of its base on the hub are unknown, so it cannot be fetched. "
            "Use `weights=copy`."
        )
    if wanted.out.exists() and (not wanted.out.is_dir() or any(wanted.out.iterdir())):
        raise PackageError(f"`out={wanted.out}`: is there and not empty. Remove it, or give another folder.")
    requirements = pinned(PROJECT, extra="serve")
    make_folder(wanted.out)
    _write_app(wanted.out / "app")
    _write_checkpoint(model, wanted.out / "checkpoint")
    if not model.is_whole:
        _write_base(model, wanted.out, fetches=fetches, on_file=on_file)
    write_text(wanted.out / "requirements.txt", "\n".join(requirements) + "\n")
    write_text(wanted.out / "Dockerfile", _dockerfile(model, fetches=fetches))
    write_text(wanted.out / "README.md", _readme(wanted.run.resolve().name, fetches=fetches))
    size = sum(path.stat().st_size for path in wanted.out.rglob("*") if path.is_file())
    return Packaged(folder=wanted.out, num_requirements=len(requirements), size_bytes=size)


def _write_app(out: Path) -> None:
    """This project's code, and the metadata by which it finds its own version."""
    for name in PACKAGES:
        with naming(out / name):
            shutil.copytree(_SOURCE / name, out / name, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    version = importlib.metadata.version(PROJECT)
    metadata = out / f"{PROJECT.replace('-', '_')}-{version}.dist-info"
    make_folder(metadata)
    write_text(metadata / "METADATA", f"Metadata-Version: 2.1\nName: {PROJECT}\nVersion: {version}\n")


def _write_checkpoint(model: PickedModel, out: Path) -> None:
    make_folder(out)
    for path in sorted(filter(Path.is_file, model.folder.iterdir())):
        _link_or_copy(path, out / path.name)
    if not model.is_whole:
        write_trained_base(out, model.trained)


def _write_base(model: PickedModel, out: Path, *, fetches: bool, on_file: Callable[[str], None]) -> None:
    described = []
    if not fetches:
        make_folder(out / "base")
    for path in model_files(model.base):
        on_file(path.name)
        if fetches:
            described.append({"name": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)})
        else:
            _link_or_copy(path, out / "base" / path.name)
    if fetches:
        name, revision = model.trained.name, model.trained.revision
        write_json(out / "base.json", {"name": name, "revision": revision, "files": described})


def _link_or_copy(source: Path, target: Path) -> None:
    """A hard link where the file system allows it: a base of 14 GB is then neither read nor stored twice."""
    with contextlib.suppress(OSError):
        os.link(source.resolve(), target)
        return
    with naming(target):
        shutil.copyfile(source, target)


def _dockerfile(model: PickedModel, *, fetches: bool) -> str:
    options = ["--checkpoint", "/submission/checkpoint"]
    if not model.is_whole:
        options += ["--base", "/submission/base"]
    if model.is_changed and not model.is_whole:
        options.append("--base-changed-on-purpose")
    base = "" if model.is_whole else _FETCHED if fetches else _COPIED
    text = (_HERE / "Dockerfile").read_text(encoding="utf-8")
    return text.replace("{base}\n", f"{base}\n" if base else "").replace(
        "{options}", ", ".join(f'"{option}"' for option in options)
    )


def _readme(name: str, *, fetches: bool) -> str:
    text = (_HERE / "organiser.md").read_text(encoding="utf-8")
    secret = " --secret id=hf_token,src=TOKEN_FILE" if fetches else ""
    text = text.replace("{name}", name).replace("{secret}", secret)
    return text.replace("{fetched}\n", _FETCHED_TOLD if fetches else "")
