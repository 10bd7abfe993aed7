"""The folder that a CUDA machine without a network needs beside the tree: wheels and the tokenizer.

    python -m benchmarks.gpu.kit [FOLDER]

The machine is expected to have Python 3.12 on x86-64, torch 2.11 for CUDA 13, and the packages of
`benchmarks/gpu/machine.txt`; the versions of everything else are those of `constraints.txt`. FOLDER (default
`.gpu-kit`, which git ignores) is made anew. Only the standard library and pip are needed to run this.
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
"""Of tree and kit together."""

AXOLOTL = (
    "axolotl", "transformers", "peft", "accelerate", "trl", "liger-kernel", "datasets", "dill", "multiprocess",
    "pydantic", "pydantic-core", "typing-inspection", "annotated-types", "python-dotenv", "fire", "termcolor", "addict",
    "posthog", "backoff", "distro", "evaluate", "fastcore", "platformdirs",
)  # fmt: skip
"""What `axolotl train` imports, at Axolotl's own pins, without what the machine has."""

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
"""What our packages import besides."""

SOURCE_ONLY = ("axolotl-contribs-lgpl", "axolotl-contribs-mit")
"""Published as source alone; pure Python."""

CUDA_LIBRARY = "cuda130"
"""The one of bitsandbytes' libraries that is kept: the CUDA version of the machine's torch."""

PLATFORMS = ("manylinux2014", "manylinux1", *(f"manylinux_2_{n}" for n in (28, 27, 24, 17, 12, 5)))


def main() -> None:
    """Fetches, checks and lists the kit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    folder = parser.parse_args().folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pins = pinned((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as aside:
        work = Path(aside)
        fetch(folder, [f"{name}=={pins[name]}" for name in (*AXOLOTL, *OURS)])
        pip("wheel", "--no-deps", "-w", folder, *(f"{name}=={pins[name]}" for name in SOURCE_ONLY))
        fetch(work, [f"{name}=={pins[name]}" for name in ("bitsandbytes", "mistral-common")])
        strip_bitsandbytes(next(work.glob("bitsandbytes-*.whl")), folder)
        with zipfile.ZipFile(next(work.glob("mistral_common-*.whl"))) as wheel:
            (folder / "tokenizer.model").write_bytes(wheel.read("mistral_common/data/tokenizer.model.v1"))
    # Axolotl imports wandb whether or not it logs there.
    write_wheel(folder / "wandb-0.0.0-py3-none-any.whl", {"wandb/__init__.py": b'__version__ = "0.0.0"\n'})
    check_wheels(folder)
    mib = carried_mib(folder)
    print(f"{len(list(folder.glob('*.whl')))} wheels; tree and kit together: {mib:.1f} MiB of {LIMIT_MIB:g}")
    if mib > LIMIT_MIB:
        raise SystemExit(f"{folder}: over the limit of {LIMIT_MIB:g} MiB. Leave a package out.")


def pinned(constraints: str) -> dict[str, str]:
    """Versions by normalised name.

    >>> pinned("liger_kernel==0.8.1\\n# no package")
    {'liger-kernel': '0.8.1'}
    """
    found = re.findall(r"^([\w.-]+)==([^\s;#]+)", constraints, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def fetch(folder: Path, requirements: Iterable[str]) -> None:
    """Wheels for the other machine, each without its needs."""
    platforms = [part for name in PLATFORMS for part in ("--platform", f"{name}_x86_64")]
    pip(
        "download", "--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp",
        *platforms, "-d", folder, *requirements,
    )  # fmt: skip


def pip(*arguments: str | Path) -> None:
    """Runs pip as it is configured here; its words are shown if it fails."""
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"pip {arguments[0]} failed: {done.stderr.strip()[-1500:]}")


def strip_bitsandbytes(wheel: Path, folder: Path) -> None:
    """Keeps the library for one CUDA version, and the small one for the CPU: 4 MB instead of 60."""
    files = {}
    with zipfile.ZipFile(wheel) as old:
        for name in old.namelist():
            other = "/libbitsandbytes_" in name and not name.endswith((f"_{CUDA_LIBRARY}.so", "_cpu.so"))
            if not other and not name.endswith(("/", ".dist-info/RECORD")):
                files[name] = old.read(name)
    assert any(CUDA_LIBRARY in name for name in files), f"no library for {CUDA_LIBRARY} in {wheel.name}"
    write_wheel(folder / wheel.name, files)


def write_wheel(path: Path, files: Mapping[str, bytes]) -> None:
    """A wheel with a RECORD of its files; metadata are made where there are none."""
    name, version = path.name.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    made = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: kit\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files = {**made, **files}
    record = io.StringIO()
    rows = [(n, f"sha256={_digest(data)}", str(len(data))) for n, data in files.items()]
    csv.writer(record, lineterminator="\n").writerows([*rows, (f"{info}/RECORD", "", "")])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as wheel:
        for file, data in {**files, f"{info}/RECORD": record.getvalue().encode()}.items():
            wheel.writestr(file, data)


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def check_wheels(folder: Path) -> None:
    """Every archive is whole, and no package is there twice: two versions would stop the whole installation."""
    seen: set[str] = set()
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            damaged = archive.testzip()
        name = wheel.name.split("-")[0].lower()
        if damaged or name in seen:
            raise SystemExit(f"{wheel}: {damaged or name} is {'damaged' if damaged else 'there twice'}")
        seen.add(name)


def carried_mib(kit: Path, tree: Path = ROOT) -> float:
    """Size of all that travels: the files of the tree that git does not ignore, and the kit."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=tree, capture_output=True, check=True,
    ).stdout.split(b"\0")  # fmt: skip
    files = [tree / name.decode() for name in listed if name]
    files += [path for path in kit.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files if path.is_file() and not path.is_symlink()) / 2**20


if __name__ == "__main__":
    main()
