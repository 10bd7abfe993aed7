"""Builds both targets of the Dockerfile, and the image of `oneday package`, without a Docker engine; tests on a CPU.

    python -m tests.image --checkpoint runs/demo --targets package

This needs root, and Debian's packages buildah and debootstrap. The serve target and the package must answer as `oneday
serve` of this checkout does, also with a read-only root file system; the train target must repeat the demo's run from
its manifest. The real HELM asks the package, if `.helm` is installed. The last output line is JSON.
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

from submission.helm.run import PROGRAM
from tests.image_package import (
    ROOT,
    SUBMISSION,
    ask_as_helm,
    ask_as_the_kit,
    check_sbom,
    check_secrets,
    mounted,
    read_only_command,
    write_package,
)

BASE = "localhost/oneday-base"
TARGETS = ("train", "serve", "package")
os.environ |= {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}

TELEMETRY_OFF = ("AXOLOTL_DO_NOT_TRACK=1", "DO_NOT_TRACK=1", "HF_HUB_DISABLE_TELEMETRY=1", "HF_HUB_OFFLINE=1")
PROMPT = (
    "### Instruction:\nWrite the opposite of the last word, as one word.\n\n"
    "### Input:\nThe plate of Fay is hot.\n\n### Response:\n"
)


def main() -> None:
    """Builds, inspects and tests both images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/demo"), help="a finished run of `oneday demo`")
    parser.add_argument("--base-image", help="base image; default: Debian bookworm from debootstrap")
    parser.add_argument("--targets", nargs="+", default=TARGETS, choices=TARGETS)
    parser.add_argument("--helm", type=Path, default=ROOT / ".helm", help="HELM's environment, to ask the package")
    args = parser.parse_args()
    for program in ("buildah", "debootstrap"):
        if not shutil.which(program):
            sys.exit(f"{program}: not installed. On Debian: apt-get install buildah debootstrap")
    if not (args.checkpoint / "08_pick" / "picked.json").is_file():
        sys.exit(f"{args.checkpoint}: no finished run. Run `make demo` first")
    base = args.base_image or make_base()
    result: dict[str, Any] = {}
    for target in args.targets:
        started = time.monotonic()
        image = build_package(args.checkpoint, base) if target == "package" else build(target, base)
        result[target] = {"build_s": round(time.monotonic() - started), **inspect(image)}
    if "serve" in args.targets:
        result["serve"] |= check_serve(args.checkpoint)
    if "package" in args.targets:
        result["package"] |= check_package(args.checkpoint, args.helm)
    if "train" in args.targets:
        result["train"] |= check_train(args.checkpoint)
    print(json.dumps(result))


def run_command(*command: str | Path, **options: Any) -> str:
    """Runs a command and returns its standard output."""
    done = subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, text=True, **options)
    return done.stdout.strip()


def print_progress(text: str) -> None:
    """Prints a line of progress."""
    print(text, file=sys.stderr, flush=True)


def make_base() -> str:
    """Makes a Debian base image."""
    if BASE in run_command("buildah", "images", "--format", "{{.Name}}"):
        return BASE
    print_progress("base image: Debian bookworm by debootstrap")
    with tempfile.TemporaryDirectory() as folder:
        run_command("debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", folder)
        container = run_command("buildah", "from", "scratch")
        run_command("buildah", "add", container, folder, "/")
        run_command("buildah", "commit", "--format", "docker", container, BASE)
        run_command("buildah", "rm", container)
    return BASE


def build(target: str, base: str, *, source: Path = ROOT, options: tuple[str, ...] = ("--layers",)) -> str:
    """Builds one target, with this machine's pip configuration in mounts that leave nothing in a layer."""
    image = f"localhost/oneday-{target}"
    if source == ROOT:
        options = ("--target", target, *options)
    with tempfile.TemporaryDirectory() as folder:
        mounts = [option for mount in pip_mounts(Path(folder)) for option in ("--volume", mount)]
        print_progress(f"building {image} on {base}")
        arguments = ["--build-arg", f"BASE_IMAGE={base}", *mounts, *options, "--tag", image]
        run_command("buildah", "build", "--format", "docker", *arguments, source)
    return image


def build_package(checkpoint: Path, base: str) -> str:
    """Builds the folder that `oneday package` writes."""
    with tempfile.TemporaryDirectory() as folder:
        return build("package", base, source=write_package(checkpoint, Path(folder) / "out"))


def pip_mounts(folder: Path) -> Iterator[str]:
    """Yields mounts of pip's settings as /etc/pip.conf, and of each file or folder that they name."""
    settings = configparser.RawConfigParser()
    settings["global"] = {}
    listed = run_command(sys.executable, "-m", "pip", "config", "list").splitlines()
    for number, line in enumerate(sorted(listed, reverse=True)):  # environment variables (`:env:`) come last and win
        name, value = line.split("=", 1)
        places = []
        for place in value.strip("'").split():
            path = Path(urlparse(place).path)
            if not (path.is_absolute() and path.exists()) or urlparse(place).scheme not in ("", "file"):
                places.append(place)
                continue
            top = path.parent if path.name == "simple" else path  # the files of an index are beside it
            inside = f"/run/pip/{number}-{len(places)}"
            yield f"{top}:{inside}:ro"
            prefix = f"{urlparse(place).scheme}://" if urlparse(place).scheme else ""
            places.append(f"{prefix}{inside}{'/simple' if top != path else ''}")
        settings["global"][name.rpartition(".")[2]] = " ".join(places)
    with (folder / "pip.conf").open("w") as file:
        settings.write(file)
    yield f"{folder / 'pip.conf'}:/etc/pip.conf:ro"


def inspect(image: str) -> dict[str, Any]:
    """Checks an image: not root, telemetry off, no files of the build left; returns its facts."""
    config, history = config_of(image)
    assert config["User"] == "oneday", config["User"]
    off = [e for e in TELEMETRY_OFF if not (e.startswith("AXOLOTL") and image.endswith("package"))]  # it has none
    assert set(off) <= set(config["Env"]), config["Env"]
    with container_of(image) as container:
        assert run_command("buildah", "run", container, "--", "id", "-u") == "10001"
        files = "find /run/pip /etc/pip.conf $HOME/.cache -type f -size +0 2>/dev/null; true"
        left = run_command("buildah", "run", container, "--", "sh", "-c", files)  # empty mount points stay
        assert not left, left
        check_secrets(config, history, lambda command: in_container(container, command))
        size = run_command("buildah", "run", container, "--", "du", "-smx", "/venv").split()[0]
    return {"user": config["User"], "venv_mb": int(size), "healthcheck": bool(config.get("Healthcheck"))}


def config_of(image: str) -> tuple[dict[str, Any], list[str]]:
    """An image's configuration, and the commands that built it."""
    found = json.loads(run_command("buildah", "inspect", "--type", "image", image))["Docker"]
    return found["config"], [step.get("created_by", "") for step in found["history"]]


def in_container(container: str, command: str) -> str:
    """Runs a shell command as root."""
    return run_command("buildah", "run", "--user", "root", container, "--", "sh", "-c", command)


@contextlib.contextmanager
def container_of(image: str) -> Iterator[str]:
    """Yields a container, and removes it afterwards."""
    container = run_command("buildah", "from", image)
    try:
        yield container
    finally:
        run_command("buildah", "rm", container)


def check_serve(checkpoint: Path) -> dict[str, Any]:
    """Checks that the image answers as this machine does, passes its health check, and stops on request.

    A second run changes only the port: checkpoint and base stay the image's, and the health check finds the port.
    """
    config, _ = config_of("localhost/oneday-serve")
    assert config["Healthcheck"]["Test"][0] == "CMD"
    port = free_port()
    mounts = {checkpoint: "/checkpoint", ROOT / "oneday" / "demo" / "demo_base": "/base"}
    volumes = [word for host, inside in mounts.items() for word in ("--volume", f"{host.resolve()}:{inside}:ro")]
    with container_of("localhost/oneday-serve") as container:
        command = ["buildah", "run", *volumes, container, "--", *config["Entrypoint"], "--port", str(port)]
        with running_server(command, port) as url:
            inside = ask(url)
            run_command("buildah", "run", container, "--", *config["Healthcheck"]["Test"][1:])
    command = [sys.executable, "-m", "oneday.cli", "serve", "--checkpoint", str(checkpoint), "--port", str(port)]
    with running_server(command, port) as url:
        outside = ask(url)
    check_equal(inside, outside)
    return {"process": inside["text"], "logprob": [inside["logprob"], outside["logprob"]]}


def check_package(checkpoint: Path, helm: Path) -> dict[str, Any]:
    """Checks the package's bill of materials, and its answers with a read-only root file system."""
    config, _ = config_of("localhost/oneday-package")
    port = free_port()
    with container_of("localhost/oneday-package") as container, mounted(container) as root:
        components = check_sbom(root, root / SUBMISSION / "requirements.txt")
        with running_server(read_only_command(root, config, port), port) as url:
            inside = ask(url)
            ask_as_the_kit(url)
            asked = {}
            if PROGRAM.is_installed(helm):
                with tempfile.TemporaryDirectory() as folder:
                    asked = {"helm": ask_as_helm(url, helm, Path(folder))}
    command = [sys.executable, "-m", "oneday.cli", "serve", "--checkpoint", str(checkpoint), "--port", str(port)]
    with running_server(command, port) as url:
        outside = ask(url)
    check_equal(inside, outside)
    return {"process": inside["text"], "sbom_components": components, **asked}


def check_equal(inside: dict[str, Any], outside: dict[str, Any]) -> None:
    """The image answers as this checkout does."""
    assert inside["text"] == outside["text"], (inside, outside)
    assert abs(inside["logprob"] - outside["logprob"]) < 1e-3, (inside, outside)


@contextlib.contextmanager
def running_server(command: list[str], port: int) -> Iterator[str]:
    """Yields a server that is ready, and checks that it stops on request."""
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
    """Returns a greedy answer."""
    body = {"prompt": PROMPT, "temperature": 1e-7, "max_new_tokens": 16, "stop_sequences": ["\n\n"]}
    request = urllib.request.Request(f"{url}/process", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        answer: dict[str, Any] = json.load(reply)
    return {"text": answer["text"], "logprob": answer["logprob"]}


def free_port() -> int:
    """Returns a free TCP port."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def check_train(checkpoint: Path) -> dict[str, Any]:
    """Runs `oneday reproduce` in the image on a copy of the run, not as root."""
    with tempfile.TemporaryDirectory() as folder, container_of("localhost/oneday-train") as container:
        data = Path(folder)
        shutil.copytree(checkpoint, data / "runs" / "demo", symlinks=True)
        for path in (data, data / "runs"):
            path.chmod(0o777)
        again = ["reproduce", "runs/demo/manifest.json", "--run", "runs/again", "--curate", "--budget", "15m", "--json"]
        printed = run_command("buildah", "run", "--volume", f"{data}:/data", container, "--", "oneday", *again)
    last = json.loads(printed.splitlines()[-1])
    return {"figures": {f["name"]: f["verdict"] for f in last["figures"]}}


if __name__ == "__main__":
    main()
