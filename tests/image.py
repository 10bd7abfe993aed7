"""Builds both targets of the Dockerfile without a Docker engine, on a CPU, and uses them.

    python -m tests.image --checkpoint runs/demo

Needs root, and buildah and debootstrap from Debian's packages. The serve target must answer as `oneday serve` does
here; the train target must repeat the demo's run from its manifest. Ends with a JSON line.
"""

import argparse
import configparser
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

ROOT = Path(__file__).parent.parent
BASE = "localhost/oneday-base"
TARGETS = ("train", "serve")
os.environ |= {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}

TELEMETRY_OFF = ("AXOLOTL_DO_NOT_TRACK=1", "DO_NOT_TRACK=1", "HF_HUB_DISABLE_TELEMETRY=1", "HF_HUB_OFFLINE=1")
PROMPT = (
    "### Instruction:\nWrite the opposite of the last word, as one word.\n\n"
    "### Input:\nThe plate of Fay is hot.\n\n### Response:\n"
)


def main() -> None:
    """Builds, looks, asks, repeats."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/demo"), help="a finished run of `oneday demo`")
    parser.add_argument("--base-image", help="default: Debian bookworm, made by debootstrap")
    parser.add_argument("--targets", nargs="+", default=TARGETS, choices=TARGETS)
    args = parser.parse_args()
    for program in ("buildah", "debootstrap"):
        if not shutil.which(program):
            sys.exit(f"{program}: not installed. On Debian: apt-get install buildah debootstrap")
    if not (args.checkpoint / "08_pick" / "picked.json").is_file():
        sys.exit(f"{args.checkpoint}: no finished run. Make one: make demo")
    base = args.base_image or make_base()
    result: dict[str, Any] = {}
    for target in args.targets:
        started = time.monotonic()
        image = build(target, base)
        result[target] = {"build_s": round(time.monotonic() - started), **inspect(image)}
    if "serve" in args.targets:
        result["serve"] |= check_serve(args.checkpoint)
    if "train" in args.targets:
        result["train"] |= check_train(args.checkpoint)
    print(json.dumps(result))


def sh(*command: str | Path, **options: Any) -> str:
    """What a command printed; its errors go to ours."""
    done = subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, text=True, **options)
    return done.stdout.strip()


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def make_base() -> str:
    """A Debian of its own, as `FROM` image."""
    if BASE in sh("buildah", "images", "--format", "{{.Name}}"):
        return BASE
    say("base image: Debian bookworm by debootstrap")
    with tempfile.TemporaryDirectory() as folder:
        sh("debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", folder)
        container = sh("buildah", "from", "scratch")
        sh("buildah", "add", container, folder, "/")
        sh("buildah", "commit", "--format", "docker", container, BASE)
        sh("buildah", "rm", container)
    return BASE


def build(target: str, base: str) -> str:
    """One target; pip reads there what it reads here, from mounts that leave nothing in a layer."""
    image = f"localhost/oneday-{target}"
    with tempfile.TemporaryDirectory() as folder:
        mounts = [option for mount in pip_mounts(Path(folder)) for option in ("--volume", mount)]
        say(f"building {image} on {base}")
        sh("buildah", "build", "--format", "docker", "--target", target, "--build-arg", f"BASE_IMAGE={base}", *mounts,
           "--layers", "--tag", image, ROOT)  # fmt: skip
    return image


def pip_mounts(folder: Path) -> Iterator[str]:
    """pip's own settings as /etc/pip.conf, and each file or folder that they name."""
    settings = configparser.RawConfigParser()
    settings["global"] = {}
    listed = sh(sys.executable, "-m", "pip", "config", "list").splitlines()
    for number, line in enumerate(sorted(listed, reverse=True)):  # environment variables (`:env:`) last: they win
        name, value = line.split("=", 1)
        places = []
        for place in value.strip("'").split():
            path = Path(urlparse(place).path)
            if not (path.is_absolute() and path.exists()) or urlparse(place).scheme not in ("", "file"):
                places.append(place)
                continue
            top = path.parent if path.name == "simple" else path  # the files of an index lie beside it
            inside = f"/run/pip/{number}-{len(places)}"
            yield f"{top}:{inside}:ro"
            prefix = f"{urlparse(place).scheme}://" if urlparse(place).scheme else ""
            places.append(f"{prefix}{inside}{'/simple' if top != path else ''}")
        settings["global"][name.rpartition(".")[2]] = " ".join(places)
    with (folder / "pip.conf").open("w") as file:
        settings.write(file)
    yield f"{folder / 'pip.conf'}:/etc/pip.conf:ro"


def inspect(image: str) -> dict[str, Any]:
    """What the image says of itself, asserted: not root, telemetry off, nothing of the build left."""
    config = json.loads(sh("buildah", "inspect", "--type", "image", image))["Docker"]["config"]
    assert config["User"] == "oneday", config["User"]
    missing = [e for e in TELEMETRY_OFF if e not in config["Env"]]
    assert not missing, missing
    with container_of(image) as container:
        assert sh("buildah", "run", container, "--", "id", "-u") == "10001"
        files = "find /run/pip /etc/pip.conf $HOME/.cache -type f -size +0 2>/dev/null; true"
        left = sh("buildah", "run", container, "--", "sh", "-c", files)  # empty mount points stay
        assert not left, left
        size = sh("buildah", "run", container, "--", "du", "-smx", "/venv").split()[0]
    return {"user": config["User"], "venv_mb": int(size), "healthcheck": bool(config.get("Healthcheck"))}


@contextlib.contextmanager
def container_of(image: str) -> Iterator[str]:
    """A container, removed afterwards."""
    container = sh("buildah", "from", image)
    try:
        yield container
    finally:
        sh("buildah", "rm", container)


def check_serve(checkpoint: Path) -> dict[str, Any]:
    """/process of the image gives what /process of this machine gives; its health check agrees; it stops when told.

    With another port alone: checkpoint and base stay the image's own, and the health check finds the port.
    """
    config = json.loads(sh("buildah", "inspect", "--type", "image", "localhost/oneday-serve"))["Docker"]["config"]
    assert config["Healthcheck"]["Test"][0] == "CMD"
    port = free_port()
    mounts = {checkpoint: "/checkpoint", ROOT / "oneday" / "demo" / "demo_base": "/base"}
    volumes = [word for host, inside in mounts.items() for word in ("--volume", f"{host.resolve()}:{inside}:ro")]
    with container_of("localhost/oneday-serve") as container:
        command = ["buildah", "run", *volumes, container, "--", *config["Entrypoint"], "--port", str(port)]
        with served(command, port) as url:
            inside = ask(url)
            sh("buildah", "run", container, "--", *config["Healthcheck"]["Test"][1:])
    command = [sys.executable, "-m", "oneday.cli", "serve", "--checkpoint", str(checkpoint), "--port", str(port)]
    with served(command, port) as url:
        outside = ask(url)
    assert inside["text"] == outside["text"], (inside, outside)
    assert abs(inside["logprob"] - outside["logprob"]) < 1e-3, (inside, outside)
    return {"process": inside["text"], "logprob": [inside["logprob"], outside["logprob"]]}


@contextlib.contextmanager
def served(command: list[str], port: int) -> Iterator[str]:
    """A server that is ready; told to stop, it must."""
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as server:
        try:
            for _ in range(600):
                assert server.poll() is None, "the server ended"
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/ready", timeout=10):
                    break
                time.sleep(0.2)
            yield url
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=60)


def ask(url: str) -> dict[str, Any]:
    """A greedy answer."""
    body = {"prompt": PROMPT, "temperature": 1e-7, "max_new_tokens": 16, "stop_sequences": ["\n\n"]}
    request = urllib.request.Request(f"{url}/process", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        answer: dict[str, Any] = json.load(reply)
    return {"text": answer["text"], "logprob": answer["logprob"]}


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def check_train(checkpoint: Path) -> dict[str, Any]:
    """`oneday reproduce` in the image, as another user than root, on a copy of the run."""
    with tempfile.TemporaryDirectory() as folder, container_of("localhost/oneday-train") as container:
        data = Path(folder)
        shutil.copytree(checkpoint, data / "runs" / "demo", symlinks=True)
        for path in (data, data / "runs"):
            path.chmod(0o777)
        again = ["reproduce", "runs/demo/manifest.json", "--run", "runs/again", "--curate", "--budget", "15m", "--json"]
        printed = sh("buildah", "run", "--volume", f"{data}:/data", container, "--", "oneday", *again)
    last = json.loads(printed.splitlines()[-1])
    return {"figures": {f["name"]: f["verdict"] for f in last["figures"]}}


if __name__ == "__main__":
    main()
