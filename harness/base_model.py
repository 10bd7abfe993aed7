"""The base model before anything is started: where it is, whether it may be had, under which licence.

    base = find_model("mistralai/Mistral-7B-v0.1")

A folder is taken as it is; a hub name is looked up in the hub's cache on this machine. Nothing is downloaded: 14 GB are
no side effect. What is missing, gated or unknown is said here, not after the clock started.

Where it sits: before the rehearsal.
"""

import os
import re
from pathlib import Path

import yaml

from core.model.folder import check_model_folder
from harness.errors import ConfigError

HUB_PATIENCE_S = 5.0
"""A firewall that drops packets must not hold up the answer."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_OFFLINE = ("1", "ON", "YES", "TRUE")


def find_model(name: str, *, asks_hub: bool = True) -> Path:
    """A model folder, by its path or by its name on the hub.

    Args:
        asks_hub: Ask how a model that is not here may be had, unless the environment says HF_HUB_OFFLINE.

    Raises:
        OnedayError: not here; the message says how to get it, and whether one may.
    """
    if Path(name).is_dir() or not _HUB_NAME.fullmatch(name):
        return check_model_folder(Path(name)).resolve()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return check_model_folder(Path(snapshot_download(name, local_files_only=True)))
    except HFValidationError:
        return check_model_folder(Path(name))  # no name of the hub: says that there is no such folder
    except LocalEntryNotFoundError as e:
        raise ConfigError(
            f"{name}: neither a folder nor in the hub's cache on this machine. {_how_to_get(name, asks_hub=asks_hub)}"
        ) from e


def _how_to_get(name: str, *, asks_hub: bool) -> str:
    """Asks the hub whether one may have it."""
    fetch = f"hf download {name}"
    if not asks_hub or os.environ.get("HF_HUB_OFFLINE", "").upper() in _OFFLINE:
        return f"Fetch it with `{fetch}`, or pass `base=FOLDER`."
    import httpx
    from huggingface_hub import HfApi, set_client_factory
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    set_client_factory(lambda: httpx.Client(timeout=HUB_PATIENCE_S, follow_redirects=True))  # its own waits for ever
    try:
        HfApi().auth_check(name)
        return f"Fetch it with `{fetch}`."
    except GatedRepoError:
        return f"It is gated: accept its licence at https://huggingface.co/{name}, `hf auth login`, then `{fetch}`."
    except RepositoryNotFoundError:
        return "The hub knows no such model, or it is private: check the name, `hf auth login`, or pass `base=FOLDER`."
    except (HfHubHTTPError, httpx.HTTPError, OSError) as e:
        return f"The hub cannot be asked ({type(e).__name__}). Fetch it with `{fetch}` where there is a network."


def licence_of(base: Path) -> str | None:
    """What the model's card says, as it says it; None if its folder does not tell."""
    for card in (base / "README.md", base / "MODEL_CARD.md"):
        front = re.match(r"---\s*\n(.*?)\n---", _text(card), re.DOTALL)
        found = _licence_in(front.group(1)) if front else None
        if found:
            return found
    first = next((line.strip() for line in _text(base / "LICENSE").splitlines() if line.strip()), "")
    return first[:80] or None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _licence_in(front: str) -> str | None:
    try:
        raw = yaml.safe_load(front)
    except yaml.YAMLError:
        return None
    if not isinstance(raw, dict) or not raw.get("license"):
        return None
    return str(raw.get("license_name") if raw["license"] == "other" and raw.get("license_name") else raw["license"])
