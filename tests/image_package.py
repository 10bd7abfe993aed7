"""The image of `oneday package`, built without a Docker engine: an organiser's side of a hand-over.

Where it sits: tests/image.py builds -> **this module** inspects, starts and asks.

The image runs with a read-only root file system and a /tmp in memory, as user 10001, without capabilities, in mount and
process namespaces of its own. `docker run --read-only --tmpfs /tmp --cap-drop ALL` gives it the same.
"""

import contextlib
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

ROOT = Path(__file__).parent.parent
SUBMISSION = "submission"
"""Folder in the image."""

READ_ONLY = """
set -e
root=$1; shift
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot "$root" setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all \
    --inh-caps=-all env -i "$@"
"""

KIT = (
    ("process", {"prompt": "The capital of france is "}),
    ("process", {"prompt": "The capital of france is ", "num_samples": 1, "max_new_tokens": 10, "temperature": 0.8,
                 "top_k": 200, "seed": 3}),
    ("process", {"prompt": "a", "seed": None, "temperature": None, "echo_prompt": None}),
    ("tokenize", {"text": "Please tokenize this text for me"}),
    ("decode", {"tokens": [300, 301, 302]}),
)  # fmt: skip
"""Requests of the challenge's starter kit, `/decode`, and absent fields as null."""

_SECRET_FILES = (
    r"find / -xdev \( -name .netrc -o -name .pypirc -o -name .git-credentials -o -name 'id_rsa*' -o -name .git "
    r"-o -path '*/.docker/config.json' -o -path '*/huggingface/token' -o -path '/run/secrets/*' \) -not -empty; "
    r"grep -rlE -- '-----BEGIN [A-Z ]*PRIVATE KEY-----' /submission /home /root /etc 2>/dev/null; true"
)
_SECRET_TEXT = re.compile(r"(?i)\w*(token|secret|password|api_?key)\w*=\S|://[^/\s:@]+:[^/\s@]+@|hf_[A-Za-z0-9]{20}")


def write_package(checkpoint: Path, out: Path) -> Path:
    """The folder that a participant hands over."""
    command = [sys.executable, "-m", "oneday.cli", "package", str(checkpoint), "--out", str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def check_secrets(config: dict[str, Any], history: list[str], run: Any) -> None:
    """No secret in environment, labels, history or files.

    Args:
        run: Runs a shell command in a container as root and returns its output.
    """
    for text in (*config["Env"], json.dumps(config.get("Labels") or {}), *history):
        assert not _SECRET_TEXT.search(text), text
    left = run(_SECRET_FILES)
    assert not left, left


def check_sbom(root: Path, requirements: Path) -> int:
    """The bill of materials names every pinned requirement with its version; returns its number of components."""
    bill = json.loads((root / SUBMISSION / "SBOM.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"][:2]) == ("CycloneDX", "1."), bill["bomFormat"]
    found = {unquote(c["purl"]).partition("?")[0].partition("+")[0] for c in bill["components"] if "purl" in c}
    pinned = {f"pkg:pypi/{line.replace('==', '@')}" for line in requirements.read_text().splitlines()}
    assert pinned <= found, pinned - found
    return len(bill["components"])


def read_only_command(root: Path, config: dict[str, Any], port: int) -> list[str]:
    """Starts the image's entry point with another port."""
    start = [*config["Env"], *config["Entrypoint"], "--port", str(port)]
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", READ_ONLY, "-", str(root), *start]


def ask_as_the_kit(url: str) -> None:
    """The starter kit's own requests have answers of the documented form."""
    for path, body in KIT:
        request = urllib.request.Request(
            f"{url}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as reply:
            answer = json.load(reply)
        if path == "process":
            assert all(isinstance(token["logprob"], float) for token in answer["tokens"]), answer
            assert answer["request_time"] > 0
            assert len(answer["tokens"]) <= body.get("max_new_tokens", 50)
        else:
            assert answer["tokens" if path == "tokenize" else "text"], answer


def ask_as_helm(url: str, environment: Path, out: Path) -> dict[str, Any]:
    """The real HELM asks through its own client; returns the figures of `oneday helm`."""
    command = [
        sys.executable, "-m", "oneday.cli", "helm", "--url", url, "--environment", str(environment), "--out", str(out),
        "--json",
    ]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextlib.contextmanager
def mounted(container: str) -> Iterator[Path]:
    """The container's root on this machine."""
    done = subprocess.run(["buildah", "mount", container], check=True, stdout=subprocess.PIPE, text=True)
    try:
        yield Path(done.stdout.strip())
    finally:
        subprocess.run(["buildah", "umount", container], check=True, stdout=subprocess.DEVNULL)
