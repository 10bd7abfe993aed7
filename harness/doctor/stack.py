"""What the doctor says of installed packages, of the base model and of the hub.

    attempt("versions", versions, machine)    # "1 of 24 differ from constraints.txt: torch 2.11.0 ..."

Where it sits: beside doctor.py. The network is used by one check, and only if it was asked for.
"""

import importlib.metadata
import json
import re
import struct
import urllib.error
import urllib.request
from pathlib import Path

from core.manifest import PACKAGES
from core.model.folder import weight_files
from core.model.libraries import is_offline
from harness.base_model import find_model, licence_of
from harness.doctor.doctor import GIB, Check, Finding, Machine, in_one_line, note, ok, problem, warning

HUB_BASE = "mistralai/Mistral-7B-v0.1"
"""The challenge's best known base; asked for when no other was named."""

HUB_ANSWERS_S = 10.0
LONGEST_HEADER = 100 << 20
"""Of a safetensors file, as its format has it."""


def packages(machine: Machine) -> Finding:
    """Whether everything is installed that a run imports."""
    core = [name for name in _direct_dependencies(with_extras=False) if _version(name) is None]
    stack = [name for name in PACKAGES if _version(name) is None]
    if core:
        return problem(f"not installed: {', '.join(core)}", "pip install oneday-llm")
    if stack:
        return warning(f"not installed: {', '.join(stack)}; training needs them", "pip install 'oneday-llm[train]'")
    return ok(f"Axolotl {_version('axolotl')}, transformers {_version('transformers')}; none is missing")


def versions(machine: Machine) -> Finding:
    """What is installed against the tested set."""
    if not machine.constraints.is_file():
        return note("constraints.txt is not beside the program: versions are not compared")
    lines = machine.constraints.read_text(encoding="utf-8").splitlines()
    pinned = (line.partition("#")[0].strip().partition("==") for line in lines)
    tested = {_normal(name): version for name, _, version in pinned if version}
    names = dict.fromkeys(_normal(name) for name in (*PACKAGES, *_direct_dependencies(with_extras=True)))
    pairs = [(name, here, tested[name]) for name in names if name in tested and (here := _version(name)) is not None]
    # "2.13.0+cpu" is a build of 2.13.0.
    differ = [(name, here, asked) for name, here, asked in pairs if asked not in (here, here.partition("+")[0])]
    if not differ:
        return ok(f"as in constraints.txt: {len(pairs)} compared")
    what = ", ".join(f"{name} {here} (tested: {asked})" for name, here, asked in differ)
    mend = "pip install " + " ".join(f"'{name}=={asked}'" for name, _, asked in differ)
    return warning(f"{len(differ)} of {len(pairs)} differ from constraints.txt: {what}", mend)


def _direct_dependencies(*, with_extras: bool) -> list[str]:
    """What pyproject.toml names, without what only developers need."""
    unwanted = "extra == .dev" if with_extras else "extra =="
    required = importlib.metadata.requires("oneday-llm") or []
    return [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in required if not re.search(unwanted, line)]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def base_model(machine: Machine) -> Finding | None:
    """Whether it is here, whole, and under which licence.

    Raises:
        OnedayError: not here, or no model.
    """
    if machine.base is None:
        return None
    folder = find_model(machine.base, asks_hub=False)
    for path in weight_files(folder):
        wrong = "is missing" if not path.is_file() else "is damaged or cut short" if not _is_whole(path) else ""
        if wrong:
            return problem(f"{folder}: {path.name} {wrong}", "Fetch or copy that file again.")
    size = sum(path.stat().st_size for path in weight_files(folder)) / GIB
    licence = licence_of(folder)
    what = f"{folder}: weights whole, " + (f"{size:.1f} GiB" if size >= 1 else f"{1024 * size:.1f} MiB")
    if licence is None:
        return note(f"{what}; its folder does not tell a licence")
    return ok(f"{what}; licence {licence}")


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says; the weights themselves are not read."""
    with path.open("rb") as f:
        start = f.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else LONGEST_HEADER + 1
        if length > LONGEST_HEADER:
            return False
        try:
            header = json.loads(f.read(length))
        except ValueError:
            return False
    end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    return path.stat().st_size == 8 + length + end


def hub(machine: Machine) -> Finding | None:
    """Whether it answers, and what it says of the base. Asked without a token: the question is the way there."""
    if not machine.asks_hub:
        return None
    named = machine.base if machine.base and re.fullmatch(r"[\w.-]+/[\w.-]+", machine.base) else None
    name = HUB_BASE if named is None or Path(named).is_dir() else named
    address = machine.environment.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    try:
        with urllib.request.urlopen(f"{address}/api/models/{name}", timeout=HUB_ANSWERS_S) as answer:
            gated = json.load(answer).get("gated")
    except urllib.error.HTTPError as e:
        e.close()
        if e.code in (401, 403, 404):
            return warning(f"{address} answers, but shows no {name}", "Check the name, or hf auth login.")
        return problem(f"{address} answers with status {e.code}", "Try later, or fetch the model elsewhere.")
    except (OSError, ValueError) as e:
        return problem(
            f"{address} cannot be reached ({in_one_line(e)})",
            "Check network, proxy and HF_ENDPOINT, or copy the model here and pass `base=FOLDER`.",
        )
    held = "; HF_HUB_OFFLINE is set, so nothing would be fetched" if is_offline(machine.environment) else ""
    if gated:
        return note(f"{address} answers; {name} is gated: accept its licence there, then hf auth login{held}")
    return ok(f"{address} answers; {name} is free to fetch{held}")


CHECKS: dict[str, Check] = {
    "packages": packages,
    "versions": versions,
    "base model": base_model,
    "hub": hub,
}
