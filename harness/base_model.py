"""The base model before a run starts: its folder, whether the hub grants access, its licence and its tokenizer.

    base = find_model("mistralai/Mistral-7B-v0.1")
    base = find_model("HuggingFaceTB/SmolLM2-135M@main", fetch=print)

A folder is used as it is. A hub name is looked up in the hub's cache on this machine, and is downloaded only if the
caller passes `fetch`. A missing or gated model is reported before the clock starts.

Where it sits: before the rehearsal.
"""

import os
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from core.files import read_json
from core.model.folder import caps_attention, check_model_folder
from core.model.libraries import hub, is_offline, quieten
from core.model.packaged import origin_of
from core.model.token_ids import end_id
from harness.errors import ConfigError, DataError

HUB_TIMEOUT_S = 5.0
"""A firewall that drops packets would otherwise block the request for minutes."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def find_model(name: str, *, asks_hub: bool = True, fetch: Callable[[str], None] | None = None) -> Path:
    """The folder of a model, given its path or its name on the hub, `OWNER/NAME` or `OWNER/NAME@REVISION`.

    Args:
        asks_hub: Ask the hub about access to a model that is not on this machine, unless HF_HUB_OFFLINE is set.
        fetch: Called with a message before a missing model is downloaded; None: nothing is downloaded.

    Raises:
        OnedayError: The model is not on this machine; the message says how to get it.
    """
    repository, _, revision = name.partition("@")
    if Path(name).is_dir() or not _HUB_NAME.fullmatch(repository):
        return check_model_folder(Path(name)).resolve()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        cached = Path(snapshot_download(repository, revision=revision or None, local_files_only=True))
        if fetch is None or _is_whole(cached):
            return check_model_folder(cached)
    except HFValidationError:
        return check_model_folder(Path(name))  # not a hub name: raises the error about a missing folder
    except LocalEntryNotFoundError:
        pass
    refusal = _refusal(repository, asks_hub=asks_hub)
    if fetch and not refusal:
        return check_model_folder(_fetch(repository, revision or None, fetch))
    how = refusal or f"Fetch it with `hf download {repository}`."
    raise ConfigError(f"{name}: neither a folder nor whole in the hub's cache on this machine. {how}")


def _is_whole(cached: Path) -> bool:
    """Whether no download into the hub's cache was cut off."""
    return not any((cached.parent.parent / "blobs").glob("*.incomplete"))


def _refusal(name: str, *, asks_hub: bool) -> str:
    """Why a model cannot be downloaded, and the mend; empty if it can."""
    fetch = f"hf download {name}"
    if not asks_hub or is_offline(os.environ):
        return f"Fetch it with `{fetch}`, or pass `base=FOLDER`."
    import httpx
    from huggingface_hub import HfApi, set_client_factory
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    set_client_factory(lambda: httpx.Client(timeout=HUB_TIMEOUT_S, follow_redirects=True))  # the default has no limit
    try:
        HfApi().auth_check(name)
    except GatedRepoError:
        return f"It is gated: accept its licence at https://huggingface.co/{name}, `hf auth login`, then `{fetch}`."
    except RepositoryNotFoundError:
        return "The hub has no such model, or it is private: check the name, `hf auth login`, or pass `base=FOLDER`."
    except (HfHubHTTPError, httpx.HTTPError, OSError) as e:
        return f"The hub cannot be reached ({type(e).__name__}). Fetch it with `{fetch}` where there is a network."
    return ""


_WANTED = ("*.json", "*.model", "*.txt", "*.jinja", "*.md", "LICENSE*")
"""Files of a model besides its weights."""


def _fetch(name: str, revision: str | None, say: Callable[[str], None]) -> Path:
    """Downloads a model into the hub's cache, where a download that was cut off goes on.

    Raises:
        ConfigError: it cannot be downloaded.
    """
    import httpx
    from huggingface_hub import HfApi, snapshot_download

    try:
        with hub(is_asked_for=False):
            found = HfApi().model_info(name, revision=revision, files_metadata=True)
            sizes = {file.rfilename: file.size or 0 for file in found.siblings or []}
            weights = ("*.safetensors",) if any(n.endswith(".safetensors") for n in sizes) else ("*.bin",)
            wanted = [n for n in sizes if any(fnmatch(n, pattern) for pattern in (*_WANTED, *weights)) and "/" not in n]
            say(f"fetching {name}@{found.sha}: {sum(sizes[n] for n in wanted) / 1e9:,.1f} GB into the hub's cache")
            return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except (httpx.HTTPError, OSError, ValueError, RuntimeError) as e:
        why = next(iter(str(e).splitlines()), "") or type(e).__name__
        raise ConfigError(
            f"{name}: cannot be fetched ({why}). Give the command again, which goes on from what is here, or pass "
            "`base=FOLDER`."
        ) from e


def load_tokenizer(base: Path) -> Any:
    """The tokenizer of a model folder, loaded with the same class as in Axolotl.

    Raises:
        DataError: The folder has no tokenizer that can be loaded.
        PredictionError: The tokenizer has no end token.
    """
    quieten()
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    except Exception as e:  # damaged tokenizer files raise many kinds of exceptions
        reason = " ".join([type(e).__name__, *str(e).splitlines()[:1]])
        raise DataError(f"{base}: its tokenizer cannot be loaded ({reason}). Check `base=`.") from e
    end_id(tokenizer)
    return tokenizer


def check_embeddings(base: Path, tokenizer: Any) -> None:
    """Refuses a tokenizer with more tokens than the model has embeddings.

    Axolotl would silently enlarge the embeddings, and the saved adapter would not load onto this base.

    Raises:
        DataError: The tokenizer has more tokens.
    """
    num_embeddings = read_json(base / "config.json").get("vocab_size")
    if isinstance(num_embeddings, int) and len(tokenizer) > num_embeddings:
        raise DataError(
            f"{base}: its tokenizer has {len(tokenizer):,} tokens, but its model {num_embeddings:,} embeddings. "
            "Call model.resize_token_embeddings(len(tokenizer)), save model and tokenizer, and train on that folder."
        )


def check_special_tokens(base: Path, tokenizer: Any, named: Mapping[str, object]) -> None:
    """Refuses special tokens of a recipe that are not those of the base's tokenizer; any of its tokens may pad.

    Rows are tokenised with the base's own tokenizer, and Axolotl would silently enlarge the embeddings for a new token.

    Args:
        named: The recipe's `special_tokens`.
    Raises:
        DataError: A token is new, or ends or begins texts in place of the base's own.
    """
    for name, token in named.items():
        if not isinstance(token, str) or not token:
            continue
        if token not in tokenizer.get_vocab():
            raise DataError(
                f"{base}: special_tokens.{name} {token} is no token of its tokenizer. Add it there, call "
                "model.resize_token_embeddings(len(tokenizer)), save both, and train on that folder."
            )
        own = getattr(tokenizer, name, None)
        if name in ("bos_token", "eos_token") and own != token:
            raise DataError(
                f"{base}: special_tokens.{name} {token}, but its tokenizer has {own}, which rows are tokenised with. "
                "Save a tokenizer with that token into the folder, or remove the key."
            )


def check_attention(base: Path, kernel: str) -> None:
    """Refuses a kernel that leaves out the bound of the base's attention logits.

    Raises:
        ConfigError: The kernel has no bound, so another model would be trained than the one that was published.
    """
    if caps_attention(base) and not kernel.startswith(("eager", "flash", "flex", "kernels-community/flash")):
        raise ConfigError(
            f"{base}: its attention logits are capped (attn_logit_softcapping in config.json), and attn_implementation "
            f"{kernel} leaves the cap out. Set attn_implementation to auto or eager."
        )


def licence_of(base: Path) -> str | None:
    """The licence that the model card, `oneday base` or the LICENSE file names, unchanged; None if none is named."""
    for card in (base / "README.md", base / "MODEL_CARD.md"):
        front = re.match(r"---\s*\n(.*?)\n---", _text(card), re.DOTALL)
        licence = _licence_in(front.group(1)) if front else None
        if licence:
            return licence
    made = origin_of(base)
    if made:
        return made.licence
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
