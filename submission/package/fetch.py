"""Fetches a base model by the hashes of its files. It runs while an image is built, with the standard library alone.

    python3 fetch.py base.json /submission/base

`base.json` holds `name` and `revision` of the hub's repository, and `files`: name, bytes and SHA-256 of each. The
environment variable HF_ENDPOINT names another hub, and the build secret `hf_token` lets in where a token is needed.

Where it sits: package -> **fetch** -> the image's /submission/base.
"""

import hashlib
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

SECRET = Path("/run/secrets/hf_token")
_CHUNK = 1 << 20


def main(description: Path, folder: Path) -> int:
    """Fetches all files; returns an exit code."""
    base = json.loads(description.read_text(encoding="utf-8"))
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    for file in base["files"]:
        url = f"{endpoint}/{base['name']}/resolve/{base['revision']}/{file['name']}"
        try:
            found = fetch(url, folder / file["name"])
        except (urllib.error.URLError, OSError) as e:
            print(f"error: {url}: {e}. Check the network and the token, or package with --weights copy.")  # noqa: T201
            return 2
        if found != file["sha256"]:
            print(f"error: {url}: SHA-256 {found}, expected {file['sha256']}. Package with --weights copy.")  # noqa: T201
            return 2
        print(f"{file['name']}: {file['bytes']:,} bytes, SHA-256 as recorded")  # noqa: T201
    return 0


def fetch(url: str, target: Path) -> str:
    """Writes one file and returns its SHA-256."""
    token = SECRET.read_text().strip() if SECRET.is_file() else ""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    digest = hashlib.sha256()
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as reply, target.open("wb") as file:
        while chunk := reply.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
