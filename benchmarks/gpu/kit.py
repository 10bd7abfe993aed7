"""Builds the folder of wheels and the tokenizer that a CUDA machine without a network needs beside the repository.

    python -m benchmarks.gpu.kit [FOLDER]

The machine must have Python 3.12 on x86-64, torch 2.11 for CUDA 13, and the packages of `benchmarks/gpu/machine.txt`;
the versions of all other packages are those of `constraints.txt`. FOLDER (default `.gpu-kit`, which git ignores) is
deleted and written again. This script needs only the standard library and pip.
"""

import argparse
import base64
import csv
import hashlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".gpu-kit"
LIMIT_MIB = 64.0
"""Limit for the size of repository and kit together."""

AXOLOTL = (
    "axolotl", "transformers", "peft", "accelerate", "trl", "liger-kernel", "datasets", "dill", "multiprocess",
    "pydantic", "pydantic-core", "typing-inspection", "annotated-types", "python-dotenv", "fire", "termcolor", "addict",
    "posthog", "backoff", "distro", "evaluate", "fastcore", "platformdirs",
)  # fmt: skip
"""Packages that `axolotl train` imports and the machine lacks, at Axolotl's own pins."""

OURS = (
    "orjson",
    "fastapi",
    "starlette",
    "opentelemetry-api",
    "uvicorn",
    "rouge-score-rs",
    "rensa",
    "py3langid",
    "plotly",
)
"""Further packages that oneday imports."""

SOURCE_ONLY = ("axolotl-contribs-lgpl", "axolotl-contribs-mit")
"""Pure Python packages that are published only as source."""

CUDA_LIBRARY = "cuda130"
"""The only CUDA library of bitsandbytes that the kit keeps: that for the CUDA version of the machine's torch."""

PLATFORMS = ("manylinux2014", "manylinux1", *(f"manylinux_2_{n}" for n in (28, 27, 24, 17, 12, 5)))


def main() -> None:
    """Downloads the kit, checks it and prints its size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    folder = parser.parse_args().folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pins = pinned_versions((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        fetch(folder, [f"{name}=={pins[name]}" for name in (*AXOLOTL, *OURS)])
        pip("wheel", "--no-deps", "-w", folder, *(f"{name}=={pins[name]}" for name in SOURCE_ONLY))
        fetch(work, [f"{name}=={pins[name]}" for name in ("bitsandbytes", "mistral-common")])
        strip_bitsandbytes(next(work.glob("bitsandbytes-*.whl")), folder)
        with zipfile.ZipFile(next(work.glob("mistral_common-*.whl"))) as wheel:
            (folder / "tokenizer.model").write_bytes(wheel.read("mistral_common/data/tokenizer.model.v1"))
    # Axolotl imports wandb even if it does not log to it, so an empty package replaces it.
    write_wheel(folder / "wandb-0.0.0-py3-none-any.whl", {"wandb/__init__.py": b'__version__ = "0.0.0"\n'})
    check_wheels(folder)
    mib = total_mib(folder)
    print(f"{len(list(folder.glob('*.whl')))} wheels; tree and kit together: {mib:.1f} MiB of {LIMIT_MIB:g}")
    if mib > LIMIT_MIB:
        raise SystemExit(f"{folder}: over the limit of {LIMIT_MIB:g} MiB. Leave a package out.")


def pinned_versions(constraints: str) -> dict[str, str]:
    """Returns the versions in a constraints file by normalised package name.

    >>> pinned_versions("liger_kernel==0.8.1\\n# no package")
    {'liger-kernel': '0.8.1'}
    """
    pins = re.findall(r"^([\w.-]+)==([^\s;#]+)", constraints, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins}


def fetch(folder: Path, requirements: Iterable[str]) -> None:
    """Downloads wheels for the target machine, without their dependencies."""
    platforms = [part for name in PLATFORMS for part in ("--platform", f"{name}_x86_64")]
    pip(
        "download", "--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp",
        *platforms, "-d", folder, *requirements,
    )  # fmt: skip


def pip(*arguments: str | Path) -> None:
    """Runs pip with its local configuration.

    Raises:
        SystemExit: pip failed; the message holds its output.
    """
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"pip {arguments[0]} failed: {done.stderr.strip()[-1500:]}")


def strip_bitsandbytes(wheel: Path, folder: Path) -> None:
    """Copies a wheel with the libraries for one CUDA version and the CPU only: 4 MB instead of 60."""
    files = {}
    with zipfile.ZipFile(wheel) as source:
        for name in source.namelist():
            is_other_library = "/libbitsandbytes_" in name and not name.endswith((f"_{CUDA_LIBRARY}.so", "_cpu.so"))
            if not is_other_library and not name.endswith(("/", ".dist-info/RECORD")):
                files[name] = source.read(name)
    assert any(CUDA_LIBRARY in name for name in files), f"no library for {CUDA_LIBRARY} in {wheel.name}"
    write_wheel(folder / wheel.name, files)


def write_wheel(path: Path, files: Mapping[str, bytes]) -> None:
    """Writes a wheel with a RECORD of its files, and with metadata if `files` has none."""
    name, version = path.name.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: kit\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files = {**metadata, **files}
    record = io.StringIO()
    rows = [(n, f"sha256={_digest(data)}", str(len(data))) for n, data in files.items()]
    csv.writer(record, lineterminator="\n").writerows([*rows, (f"{info}/RECORD", "", "")])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as wheel:
        for file, data in {**files, f"{info}/RECORD": record.getvalue().encode()}.items():
            wheel.writestr(file, data)


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def check_wheels(folder: Path) -> None:
    """Checks that no archive is damaged and no package occurs twice, which would stop the installation.

    Raises:
        SystemExit: a wheel is damaged or duplicate.
    """
    seen: set[str] = set()
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            damaged = archive.testzip()
        name = wheel.name.split("-")[0].lower()
        if damaged or name in seen:
            raise SystemExit(f"{wheel}: {damaged or name} is {'damaged' if damaged else 'a duplicate'}")
        seen.add(name)


def total_mib(kit: Path, tree: Path = ROOT) -> float:
    """Returns the size of the kit and of all files of the repository that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=tree, capture_output=True, check=True,
    ).stdout.split(b"\0")  # fmt: skip
    files = [tree / name.decode() for name in listed if name]
    files += [path for path in kit.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files if path.is_file() and not path.is_symlink()) / 2**20


if __name__ == "__main__":
    main()
