"""The doctor on the machine that runs the tests, and on machines made of files, fakes and another nvidia-smi."""

import importlib.metadata
import json
import math
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import OnedayError
from harness.budget.gpu_profile import get_gpu_profile
from harness.doctor import builds, doctor, stack
from harness.doctor import gpu as gpu_checks
from harness.doctor.card import Gpu
from harness.doctor.doctor import Check, Finding, Machine, Status, problem, run_check
from harness.errors import ConfigError
from oneday.cli import main
from oneday.demo.demo import DEMO_BASE
from tests.harness.doctor.scripted_nvidia_smi import install

ROOT = Path(__file__).parents[3]
EVERY = {**doctor.CHECKS, **stack.CHECKS, **gpu_checks.CHECKS, **builds.CHECKS}
GIB = 2**30


def gpu(name: str = "NVIDIA GeForce RTX 4090", total: float = 24.0, used: float = 0.3, **more: Any) -> Gpu:
    return Gpu(name=name, total_gib=total, used_gib=used, **({"driver": "580.65.06", "processes": ()} | more))


def machine(tmp_path: Path, card: str = "cpu", **more: Any) -> Machine:
    given = {"gpu": None, "run": tmp_path, "environment": {"PATH": str(tmp_path / "bin")}, "root": tmp_path / "root"}
    return Machine(card=get_gpu_profile(card), **(given | more))


def finding(check: Check, machine: Machine) -> Finding:
    found = run_check("it", check, machine)
    assert found is not None
    return found


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def program(folder: Path, name: str, script: str) -> None:
    write(folder / "bin" / name, f"#!/bin/sh\n{script}\n").chmod(0o755)


# This machine


def test_this_machine_can_train_the_demo() -> None:
    here = Machine.here(card="cpu", run=ROOT, base=str(DEMO_BASE))
    found = {name: run_check(name, check, here) for name, check in EVERY.items()}
    assert [f for f in found.values() if f and f.status is Status.PROBLEM] == []
    assert found["hub"] is None, "nobody asked for the network"
    assert all(f.name == name for name, f in found.items() if f)
    assert "Python 3.1" in found["Python"].what
    assert "the error of an NF4 round trip on cpu is" in found["4-bit"].what
    assert "weights are complete" in found["base model"].what


def test_a_check_that_fails_is_a_finding_and_not_a_traceback(tmp_path: Path) -> None:
    def broken(_: Machine) -> Finding:
        raise RuntimeError("libcudart.so.13: cannot open\nand much more")

    def without(_: Machine) -> Finding:
        import module_that_is_not_installed  # noqa: F401

        raise AssertionError

    def refused(_: Machine) -> Finding:
        raise OnedayError("x: no such model folder. Give the folder that holds config.json.")

    here = machine(tmp_path)
    found = finding(broken, here)
    assert (found.status, found.what) == (
        Status.PROBLEM,
        "could not be checked: RuntimeError: libcudart.so.13: cannot open",
    )
    assert found.mend
    found = finding(without, here)
    assert found.what == "not checked: module_that_is_not_installed is not installed"
    assert "oneday-llm[train]" in found.mend
    found = finding(refused, here)
    assert (found.what, found.mend) == ("x: no such model folder", "Give the folder that holds config.json.")


# A machine of files


def test_memory_is_what_the_container_leaves(tmp_path: Path) -> None:
    here = machine(tmp_path)
    write(here.root / "proc/meminfo", "MemTotal: 33554432 kB\nMemFree: 1 kB\nMemAvailable: 25165824 kB\nHugePages: 0\n")
    assert finding(doctor.memory, here) == Finding(name="it", status=Status.OK, what="24.0 of 32.0 GiB free")
    write(here.root / "sys/fs/cgroup/memory.max", "max\n")
    assert "24.0 of 32.0" in finding(doctor.memory, here).what
    write(here.root / "sys/fs/cgroup/memory.max", f"{8 * GIB}\n")
    assert finding(doctor.memory, here).what == "8.0 of 8.0 GiB free"
    found = finding(doctor.memory, machine(tmp_path, "rtx4090"))
    assert (found.status, found.what) == (Status.WARNING, "8.0 of 8.0 GiB free; 16 are recommended")
    assert "give the container more" in found.mend


def test_a_share_of_the_processors_is_what_counts(tmp_path: Path) -> None:
    here = machine(tmp_path)
    assert finding(doctor.processors, here).what == f"{len(os.sched_getaffinity(0))} cores"
    write(here.root / "sys/fs/cgroup/cpu.max", "50000 100000\n")
    assert finding(doctor.processors, here).what == "0.5 cores"


def test_a_container_is_known_by_its_marks(tmp_path: Path) -> None:
    here = machine(tmp_path)
    assert finding(doctor.container, here).status is Status.OK
    write(here.root / "proc/1/cgroup", "0::/kubepods/burstable/pod1\n")
    assert "kubepods" in finding(doctor.container, here).what
    write(here.root / "run/.containerenv", "")
    assert "podman" in finding(doctor.container, here).what


def test_little_shared_memory_matters_in_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = machine(tmp_path)
    assert run_check("it", doctor.shared_memory, here) is None
    (here.root / "dev/shm").mkdir(parents=True)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(total=64 * 2**20, free=1.5 * GIB))
    assert finding(doctor.shared_memory, here).status is Status.OK
    write(here.root / ".dockerenv", "")
    found = finding(doctor.shared_memory, here)
    assert (found.status, found.what) == (Status.WARNING, "0.06 GiB; data loaders need 1")
    assert "--shm-size" in found.mend
    found = finding(doctor.disk, here)
    assert (found.status, found.what) == (Status.WARNING, f"{tmp_path}: 1.5 GiB free; a run needs 2")
    assert finding(doctor.disk, machine(tmp_path, "h200")).what.endswith("a run needs 20")


def test_a_run_folder_that_is_a_file_cannot_be_written_to(tmp_path: Path) -> None:
    found = finding(doctor.disk, machine(tmp_path, run=write(tmp_path / "file", "") / "below"))
    assert (found.status, found.what) == (Status.PROBLEM, f"{tmp_path / 'file'}: is not writable")
    assert "`run=`" in found.mend
    assert finding(doctor.disk, machine(tmp_path, run=tmp_path / "not" / "yet")).what.startswith(f"{tmp_path}: ")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (Status.NOTE, Status.NOTE)),
        ({"HF_HUB_OFFLINE": "true", "DO_NOT_TRACK": "1"}, (Status.OK, Status.OK)),
        ({"HF_HUB_OFFLINE": "0", "AXOLOTL_DO_NOT_TRACK": "yes"}, (Status.NOTE, Status.NOTE)),  # neither is true to them
    ],
)
def test_offline_state_is_read_as_its_readers_read_it(
    tmp_path: Path, environment: dict[str, str], expected: tuple[Status, Status]
) -> None:
    here = machine(tmp_path, environment=environment)
    assert (finding(doctor.downloads, here).status, finding(doctor.telemetry, here).status) == expected


def test_engines_and_their_way_to_the_card(tmp_path: Path) -> None:
    here, with_card = machine(tmp_path), machine(tmp_path, "rtx4090", gpu=gpu())
    assert finding(doctor.engine, here).what == "none of docker, podman and buildah is installed; only images need one"
    program(tmp_path, "docker", "echo Cannot connect >&2; exit 1")
    program(tmp_path, "buildah", "true")
    assert finding(doctor.engine, here).what == "docker's engine does not answer; buildah can build images"
    program(tmp_path, "docker", """echo '28.5.1 {"runc":{"path":"runc"}}'""")
    assert finding(doctor.engine, here).what == "docker 28.5.1, buildah"
    found = finding(doctor.engine, with_card)
    assert found.status is Status.WARNING
    assert "nvidia-ctk runtime configure" in found.mend
    program(tmp_path, "nvidia-ctk", "true")
    assert finding(doctor.engine, with_card).status is Status.OK


# Packages, base model, hub


def test_versions_that_differ_are_listed_with_the_command_that_mends_them(tmp_path: Path) -> None:
    torch, rich = importlib.metadata.version("torch"), importlib.metadata.version("rich")
    text = f"# tested\ntorch=={torch.partition('+')[0]}\nrich==0.1  # old\nmistral_common==9.9\nunheard-of==1\n"
    here = machine(tmp_path, constraints=write(tmp_path / "constraints.txt", text))
    found = finding(stack.versions, here)
    common = importlib.metadata.version("mistral-common")
    assert found.status is Status.WARNING
    assert found.what == (
        f"2 of 3 differ from constraints.txt: rich {rich} (tested: 0.1), mistral-common {common} (tested: 9.9)"
    )
    assert found.mend == "pip install 'rich==0.1' 'mistral-common==9.9'"
    write(here.constraints, f"rich=={rich}\n")
    assert finding(stack.versions, here).what == "as in constraints.txt: 1 compared"


def test_without_constraints_nothing_is_compared(tmp_path: Path) -> None:
    found = finding(stack.versions, machine(tmp_path, constraints=tmp_path / "none"))
    assert found.status is Status.NOTE
    assert found.what == "constraints.txt was not found: versions are not compared"


def test_the_tested_set_is_the_one_in_the_checkout(tmp_path: Path) -> None:
    assert machine(tmp_path).constraints == ROOT / "constraints.txt"


def copied_base(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO_BASE, tmp_path / "base"))


def test_a_base_that_was_cut_short_is_found_without_reading_it(tmp_path: Path) -> None:
    base = copied_base(tmp_path)
    here = machine(tmp_path, base=str(base))
    assert "its folder names no licence" in finding(stack.base_model, here).what
    write(base / "README.md", "---\nlicense: apache-2.0\n---\n")
    found = finding(stack.base_model, here)
    assert (found.status, found.what.rpartition("; ")[2]) == (Status.OK, "licence apache-2.0")
    weights = next(base.glob("*.safetensors"))
    whole = weights.read_bytes()
    for part in (whole[:-1], whole[:20], whole[:3], b"", b"\xff" * 64, b"version https://git-lfs.github.com/spec/v1\n"):
        weights.write_bytes(part)
        found = finding(stack.base_model, here)
        assert (found.status, found.what) == (Status.PROBLEM, f"{base}: {weights.name} is damaged or truncated")
        assert found.mend == "Fetch or copy that file again."


def test_a_part_of_the_weights_that_is_missing_is_named(tmp_path: Path) -> None:
    base = copied_base(tmp_path)
    weights = next(base.glob("*.safetensors"))
    parts = {"a": weights.name, "b": "model-00002-of-00002.safetensors"}
    write(base / "model.safetensors.index.json", json.dumps({"weight_map": parts}))
    found = finding(stack.base_model, machine(tmp_path, base=str(base)))
    assert found.what == f"{base}: model-00002-of-00002.safetensors is missing"


def test_no_base_is_a_problem_only_if_one_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_check("it", stack.base_model, machine(tmp_path)) is None
    found = finding(stack.base_model, machine(tmp_path, base=str(tmp_path / "none")))
    assert (found.status, found.mend) == (Status.PROBLEM, "Give the folder that holds config.json.")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    found = finding(stack.base_model, machine(tmp_path, base="owner/not-in-any-cache"))
    assert found.mend == "Fetch it with `hf download owner/not-in-any-cache`, or pass `base=FOLDER`."
    assert "HF_HUB_OFFLINE" not in os.environ


class Hub(BaseHTTPRequestHandler):
    """Answers about models as the hub does."""

    def do_GET(self) -> None:
        known = {"/api/models/mistralai/Mistral-7B-v0.1": "auto", "/api/models/owner/open": False}
        broken = self.path.endswith("broken")
        self.send_response(200 if self.path in known else 503 if broken else 401)
        body = json.dumps({"gated": known.get(self.path)}).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def hub() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_hub_is_asked_only_on_request_and_what_it_says_is_told(tmp_path: Path, hub: str) -> None:
    def asked(base: str | None = None, **environment: str) -> Finding:
        here = machine(tmp_path, base=base, asks_hub=True, environment={"HF_ENDPOINT": hub, **environment})
        return finding(stack.hub, here)

    assert run_check("it", stack.hub, machine(tmp_path, environment={"HF_ENDPOINT": hub})) is None
    gated = asked()
    assert (gated.status, "Mistral-7B-v0.1 is gated: accept its licence" in gated.what) == (Status.NOTE, True)
    assert asked("owner/open").what == f"{hub} answers; owner/open can be fetched without a login"
    assert "HF_HUB_OFFLINE is set" in asked("owner/open", HF_HUB_OFFLINE="1").what
    unknown = asked("owner/unknown")
    assert (unknown.status, unknown.mend) == (Status.WARNING, "Check the name, or run hf auth login.")
    assert asked("owner/broken").what == f"{hub} answers with status 503"
    away = asked(HF_ENDPOINT="http://127.0.0.1:9")
    assert away.status is Status.PROBLEM
    assert "cannot be reached" in away.what
    assert "pass `base=FOLDER`" in away.mend


# Cards that are not here


def test_the_card_and_its_driver_are_told(tmp_path: Path) -> None:
    found = finding(gpu_checks.card, machine(tmp_path, "rtx4090", gpu=gpu()))
    assert found.what == "NVIDIA GeForce RTX 4090, 24.0 GiB, driver 580.65.06; profile rtx4090"
    assert "memory unknown" in finding(gpu_checks.card, machine(tmp_path, "h200", gpu=gpu(total=math.nan))).what
    assert finding(gpu_checks.card, machine(tmp_path)).status is Status.OK
    other = finding(gpu_checks.card, machine(tmp_path, "tesla-t4-15gb", gpu=gpu("Tesla T4", 15.0, driver="")))
    assert other.what == (
        "Tesla T4, 15.0 GiB, driver unknown; profile tesla-t4-15gb, whose speed is unknown until a rehearsal"
    )
    unused = finding(gpu_checks.card, machine(tmp_path, gpu=gpu()))
    assert (unused.status, unused.what) == (Status.NOTE, "NVIDIA GeForce RTX 4090 is not used: the profile is cpu")


@pytest.mark.parametrize(
    ("profile", "found", "what", "mend"),
    [
        ("rtx4090", None, "`card=rtx4090`: nvidia-smi shows no card", "Check the driver, or use `card=cpu`."),
        ("a100-40gb", gpu(), "`card=a100-40gb` has 40 GiB, but the NVIDIA GeForce RTX 4090 here has 24.0",
         "Name a card that is not larger."),
    ],
)  # fmt: skip
def test_a_card_that_will_not_do_is_a_problem(
    tmp_path: Path, profile: str, found: Gpu | None, what: str, mend: str
) -> None:
    it = finding(gpu_checks.card, machine(tmp_path, profile, gpu=found))
    assert (it.status, it.what, it.mend) == (Status.PROBLEM, what, mend)


def test_others_on_the_card_are_named(tmp_path: Path) -> None:
    assert run_check("it", gpu_checks.users, machine(tmp_path)) is None
    assert finding(gpu_checks.users, machine(tmp_path, "rtx4090", gpu=gpu())).status is Status.OK
    taken = gpu(used=8.8, processes=("812 python3 8192 MiB",))
    found = finding(gpu_checks.users, machine(tmp_path, "rtx4090", gpu=taken))
    assert (found.status, found.what) == (
        Status.WARNING,
        "8.8 of 24.0 GiB are in use by 812 python3 8192 MiB",
    )
    assert "`shared_card=true`" in found.mend
    found = finding(gpu_checks.card_memory, machine(tmp_path, "rtx4090", gpu=gpu(used=12.0)))
    assert found.what.startswith("12.0 GiB are free; mistral_7b_qlora_4090.yml needs ")
    assert (found.status, found.mend) == (Status.WARNING, "Free memory on the card, or train with `auto_fit=true`.")
    assert finding(gpu_checks.card_memory, machine(tmp_path, "rtx4090", gpu=gpu())).status is Status.OK
    untold = gpu(total=math.nan, used=math.nan)
    assert finding(gpu_checks.users, machine(tmp_path, "rtx4090", gpu=untold)).status is Status.NOTE
    assert run_check("it", gpu_checks.card_memory, machine(tmp_path, "rtx4090", gpu=untold)) is None


def test_a_cpu_build_of_torch_beside_a_card_is_a_problem(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.version.cuda:
        pytest.skip("this torch is a CUDA build: the branch for a CPU build cannot run")
    found = finding(gpu_checks.torch_build, machine(tmp_path, "rtx4090", gpu=gpu()))
    assert (found.status, found.what) == (
        Status.PROBLEM,
        f"torch {torch.__version__}, a CPU build, but the run is for rtx4090",
    )
    assert "--index-url https://pypi.org/simple" in found.mend


class FakeTorch:
    """The parts of torch that a product on a card needs."""

    def __init__(self, *, total: float = 4096.0, error: str = "") -> None:
        self.version = SimpleNamespace(cuda="13.0")
        self.total = total
        self.error = error

    def ones(self, *_: int, device: str) -> "FakeTorch":
        assert device == "cuda"
        if self.error:
            raise RuntimeError(self.error)
        return self

    def __matmul__(self, _: "FakeTorch") -> "FakeTorch":
        return self

    def sum(self) -> float:
        return self.total


def test_a_driver_too_old_for_the_build_is_told_with_the_one_it_needs() -> None:
    assert gpu_checks.check_cuda(FakeTorch(), gpu()).what == "CUDA 13.0 works with driver 580.65.06"
    broken = FakeTorch(error="The NVIDIA driver on your system is too old (found version 12040).\nUpdate.")
    found = gpu_checks.check_cuda(broken, gpu(driver="550.54.14"))
    assert found.status is Status.PROBLEM
    assert found.what.startswith("driver 550.54.14 is too old for CUDA 13.0, which needs 580: RuntimeError: The NVIDIA")
    assert "install a torch for an older CUDA" in found.mend
    found = gpu_checks.check_cuda(FakeTorch(error="CUDA unknown error"), gpu())
    assert found.what == "CUDA 13.0 does not run with driver 580.65.06: RuntimeError: CUDA unknown error"
    assert "nvidia-smi" in found.mend
    assert "Do not train on this card" in gpu_checks.check_cuda(FakeTorch(total=4095.0), gpu()).mend
    assert "(none)" in gpu_checks.check_cuda(FakeTorch(error="no"), None).what


def test_packed_samples_that_see_each_other_are_found_out() -> None:
    torch = pytest.importorskip("torch")

    def dense(query: Any, key: Any, value: Any, *_: Any) -> Any:
        return torch.nn.functional.scaled_dot_product_attention(
            query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
        ).transpose(0, 1)

    def apart(query: Any, key: Any, value: Any, bounds: Any, *_: Any) -> Any:
        samples = [slice(a, b) for a, b in pairwise(bounds)]
        return torch.cat([dense(query[s], key[s], value[s]) for s in samples])

    assert gpu_checks.isolates_samples(torch, apart, device="cpu")
    assert not gpu_checks.isolates_samples(torch, dense, device="cpu")


def test_kernels_are_not_tried_on_a_cpu_nor_without_a_card_that_works(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("a card is here: the branches without one cannot run")
    for check in (builds.triton, gpu_checks.liger, gpu_checks.fused_lora, gpu_checks.bf16):
        assert finding(check, machine(tmp_path)).status is Status.NOTE
    for check in (gpu_checks.attention, gpu_checks.liger, gpu_checks.fused_lora, gpu_checks.bf16):
        found = finding(check, machine(tmp_path, "rtx4090", gpu=gpu()))
        assert (found.status, found.what.endswith("not tried: it needs a GPU")) == (Status.NOTE, True)


# The command


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as e:
        main([str(a) for a in arguments])
    assert isinstance(e.value.code, int)
    return e.value.code


def test_a_sound_machine_ends_with_0_and_a_json_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "--card", "cpu", "--base", DEMO_BASE, "--run", tmp_path, "--json") == 0
    out = capsys.readouterr().out
    said = json.loads(out.splitlines()[-1])
    assert (said["card"], said["problems"]) == ("cpu", 0)
    assert {frozenset(f) for f in said["findings"]} == {frozenset(("name", "status", "what", "mend"))}
    assert {f["status"] for f in said["findings"]} <= {"OK", "note", "warning"}
    names = [f["name"] for f in said["findings"]]
    assert names[:2] == ["Python", "processors"]
    assert {"torch", "card", "versions", "base model", "4-bit", "attention"} <= set(names)
    assert all(name in out for name in names)
    assert "\x1b" not in out, "no colours in a pipe"
    assert sorted(tmp_path.iterdir()) == [], "it looks and leaves nothing"


@pytest.mark.slow
def test_a_problem_ends_with_2_and_the_first_one_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, gpu="NVIDIA GeForce RTX 4090, 24564, 300, 550.54.14")
    file = write(tmp_path / "file", "")
    assert run("doctor", "--card", "h200", "--run", file, "--json") == 2
    out, err = capsys.readouterr()
    problems = [f for f in json.loads(out.splitlines()[-1])["findings"] if f["status"] == "PROBLEM"]
    assert {"disk", "card"} <= {f["name"] for f in problems}
    assert all(f["mend"] for f in problems)
    assert "PROBLEM" in out
    assert "mend: Name a card that is not larger." in " ".join(out.split())
    last = err.splitlines()[-1]
    assert last.startswith(f"error: {len(problems)} problems: first disk: {file}: is not writable. Name another")


def test_the_profile_of_the_card_that_is_found_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, gpu="NVIDIA H100 80GB HBM3, 81559, 4, 580.1")
    assert Machine.here(card=None, run=tmp_path).card.name == "h100-80gb"
    with pytest.raises(ConfigError, match="unknown card"):
        Machine.here(card="rtx5090", run=tmp_path)


def test_help_has_examples_and_asks_for_no_heavy_import() -> None:
    code = (
        "import sys, oneday.cli, oneday.commands.doctor; "
        "print([m for m in ('torch', 'transformers', 'huggingface_hub', 'bitsandbytes') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"
    helped = subprocess.run(
        [sys.executable, "-m", "oneday.cli", "doctor", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "Examples: oneday doctor" in helped.stdout


def test_every_warning_and_problem_must_have_a_mend() -> None:
    with pytest.raises(TypeError):
        problem("something")
