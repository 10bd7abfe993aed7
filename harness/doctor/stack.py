"""The doctor's checks of installed packages, of the base model and of the hub.

    run_check("versions", versions, machine)    # "1 of 24 differ from constraints.txt: torch 2.11.0 ..."

Where it sits: beside doctor.py. Only the check `hub` uses the network, and only on request.
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
from core.model.weight_file import PICKLED, has_end
from harness.base_model import find_model, licence_of
from harness.doctor.doctor import GIB, Check, Finding, Machine, in_one_line, note, ok, problem, warning

HUB_BASE = "mistralai/Mistral-7B-v0.1"
"""The model that the check `hub` requests if no base is named: the challenge's best known one."""

HUB_TIMEOUT_S = 10.0
MAX_HEADER_BYTES = 100 << 20
"""Largest header of a safetensors file, as its format defines it."""


def packages(machine: Machine) -> Finding:
    """Checks that all packages that a run imports are installed."""
    core = [name for name in _direct_dependencies(with_extras=False) if _version(name) is None]
    stack = [name for name in PACKAGES if _version(name) is None]
    if core:
        return problem(f"not installed: {', '.join(core)}", "pip install oneday-llm")
    if stack:
        return warning(f"not installed: {', '.join(stack)}; training needs them", "pip install 'oneday-llm[train]'")
    return ok(f"Axolotl {_version('axolotl')}, transformers {_version('transformers')}; none is missing")


def versions(machine: Machine) -> Finding:
    """Compares the installed versions with the tested ones."""
    if not machine.constraints.is_file():
        return note("constraints.txt was not found: versions are not compared")
    lines = machine.constraints.read_text(encoding="utf-8").splitlines()
    pinned = (line.partition("#")[0].strip().partition("==") for line in lines)
    tested = {_normal(name): version for name, _, version in pinned if version}
    names = dict.fromkeys(_normal(name) for name in (*PACKAGES, *_direct_dependencies(with_extras=True)))
    pairs = [(name, here, tested[name]) for name in names if name in tested and (here := _version(name)) is not None]
    # "2.13.0+cpu" is a build of 2.13.0.
    differ = [(name, here, wanted) for name, here, wanted in pairs if wanted not in (here, here.partition("+")[0])]
    if not differ:
        return ok(f"as in constraints.txt: {len(pairs)} compared")
    text = ", ".join(f"{name} {here} (tested: {wanted})" for name, here, wanted in differ)
    mend = "pip install " + " ".join(f"'{name}=={wanted}'" for name, _, wanted in differ)
    return warning(f"{len(differ)} of {len(pairs)} differ from constraints.txt: {text}", mend)


def _direct_dependencies(*, with_extras: bool) -> list[str]:
    """The dependencies in pyproject.toml, without those for developers."""
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
    """Checks that the base model is complete, and shows its licence.

    Raises:
        OnedayError: The model is not on this machine, or its folder is not a model.
    """
    if machine.base is None:
        return None
    folder = find_model(machine.base, asks_hub=False)
    for path in weight_files(folder):
        fault = "is missing" if not path.is_file() else "is damaged or truncated" if not _is_whole(path) else ""
        if fault:
            return problem(f"{folder}: {path.name} {fault}", "Fetch or copy that file again.")
    size = sum(path.stat().st_size for path in weight_files(folder)) / GIB
    licence = licence_of(folder)
    text = f"{folder}: weights are complete, " + (f"{size:.1f} GiB" if size >= 1 else f"{1024 * size:.1f} MiB")
    if licence is None:
        return note(f"{text}; its folder names no licence")
    return ok(f"{text}; licence {licence}")


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file has the length that its header gives, or a pickle file its end; no weight is read."""
    if path.suffix == PICKLED:
        return has_end(path)
    with path.open("rb") as f:
        start = f.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else MAX_HEADER_BYTES + 1
        if length > MAX_HEADER_BYTES:
            return False
        try:
            header = json.loads(f.read(length))
        except ValueError:
            return False
    end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    return path.stat().st_size == 8 + length + end


def hub(machine: Machine) -> Finding | None:
    """Checks that the hub answers, and whether the base is gated there. No token is sent."""
    if not machine.asks_hub:
        return None
    named = machine.base if machine.base and re.fullmatch(r"[\w.-]+/[\w.-]+", machine.base) else None
    name = HUB_BASE if named is None or Path(named).is_dir() else named
    address = machine.environment.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    try:
        with urllib.request.urlopen(f"{address}/api/models/{name}", timeout=HUB_TIMEOUT_S) as answer:
            gated = json.load(answer).get("gated")
    except urllib.error.HTTPError as e:
        e.close()
        if e.code in (401, 403, 404):
            return warning(f"{address} answers, but does not show {name}", "Check the name, or run hf auth login.")
        return problem(f"{address} answers with status {e.code}", "Try later, or fetch the model elsewhere.")
    except (OSError, ValueError) as e:
        return problem(
            f"{address} cannot be reached ({in_one_line(e)})",
            "Check network, proxy and HF_ENDPOINT, or copy the model here and pass `base=FOLDER`.",
        )
    offline = "; HF_HUB_OFFLINE is set, so nothing would be fetched" if is_offline(machine.environment) else ""
    if gated:
        return note(f"{address} answers; {name} is gated: accept its licence there, then run hf auth login{offline}")
    return ok(f"{address} answers; {name} can be fetched without a login{offline}")


CHECKS: dict[str, Check] = {
    "packages": packages,
    "versions": versions,
    "base model": base_model,
    "hub": hub,
}
