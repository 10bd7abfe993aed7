"""Driver and CUDA, compiler and headers, kernels and torch: with programs and packages of the test's own."""

import importlib.metadata
import os
import shutil
from pathlib import Path

import pytest

from harness.doctor import builds
from harness.doctor.doctor import Finding, Machine, Status
from oneday.cli import main
from tests.harness.doctor.scripted_nvidia_smi import install
from tests.harness.doctor.test_doctor import finding, gpu, machine, program, write

TORCH = importlib.metadata.version("torch")


def with_card(tmp_path: Path, **environment: str) -> Machine:
    return machine(tmp_path, "rtx4090", gpu=gpu(), environment={"PATH": str(tmp_path / "bin"), **environment})


# The driver


@pytest.mark.parametrize(
    ("driver", "cuda", "status", "what"),
    [
        ("580.65.06", "13.0", Status.OK, "driver 580.65.06; CUDA 13.0 needs 580 or newer"),
        ("550.54.14", "13.0", Status.PROBLEM, "driver 550.54.14 is too old for CUDA 13.0, which needs 580"),
        ("550.54.14", "12.8", Status.OK, "driver 550.54.14; CUDA 12.8 needs 525 or newer"),
        ("470.1", "12.1", Status.PROBLEM, "driver 470.1 is too old for CUDA 12.1, which needs 525"),
        ("550.54.14", None, Status.NOTE, "driver 550.54.14; it is not compared, because this torch is a CPU build"),
        ("", "13.0", Status.NOTE, "driver unknown, CUDA 13.0: their compatibility is unknown"),
        ("580.1", "19.0", Status.NOTE, "driver 580.1, CUDA 19.0: their compatibility is unknown"),
    ],
)
def test_the_driver_is_compared_with_what_torch_was_built_for(
    driver: str, cuda: str | None, status: Status, what: str
) -> None:
    found = builds.check_driver(driver, cuda)
    assert (found.status, found.what, bool(found.mend)) == (status, what, status is Status.PROBLEM)


def test_a_driver_that_does_not_answer_is_told(tmp_path: Path) -> None:
    broken = {
        "no_gpu_reason": "nvidia-smi ended with exit code 18: version mismatch",
        "has_broken_driver": True,
    }
    assert builds.driver(machine(tmp_path)) is None
    found = finding(builds.driver, machine(tmp_path, "rtx4090", **broken))
    assert (found.status, found.what) == (Status.PROBLEM, broken["no_gpu_reason"])
    assert finding(builds.driver, machine(tmp_path, **broken)).status is Status.WARNING


@pytest.mark.parametrize(
    "line",
    [
        "ERR!",
        "[N/A], [N/A], [N/A], [N/A]",
        "NVIDIA L4, [Insufficient Permissions], [N/A], ERR!",
        "",
        "\\0377\\0376, , ,",
    ],
)
def test_the_doctor_survives_odd_lines_of_nvidia_smi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    install(tmp_path, monkeypatch, gpu=line, apps="printf '\\377[Insufficient Permissions]\\n'")
    monkeypatch.setattr("oneday.commands.doctor.GROUPS", {"gpu": {"driver": builds.driver}})
    with pytest.raises(SystemExit) as e:
        main(["doctor", "--run", str(tmp_path)])
    said = capsys.readouterr()
    assert e.value.code in (0, 2)
    assert "Traceback" not in said.err + said.out
    assert "could not be checked" not in said.out
    assert "profile cpu" in said.out or "profile l4-24gb" in said.out


# Triton


def test_triton_wants_a_compiler(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    found = finding(builds.triton, with_card(tmp_path))
    assert (found.status, found.what) == (Status.PROBLEM, "no C compiler for Triton's launchers")
    assert "apt install gcc" in found.mend


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'x.c:1: fatal error: stdio.h: No such file' >&2; exit 1", "x.c:1: fatal error: stdio.h: No such file"),
        ("exit 1", "exit code 1"),
        ("exit 0", "exit code 0"),  # and no library
    ],
)
def test_a_compiler_that_builds_nothing_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    pytest.importorskip("triton")
    headers(tmp_path, monkeypatch)
    program(tmp_path, "gcc", script)
    found = finding(builds.triton, with_card(tmp_path))
    assert (found.status, found.what) == (
        Status.PROBLEM,
        f"{tmp_path / 'bin' / 'gcc'} cannot build Triton's launchers: {why}",
    )
    assert "libc6-dev" in found.mend


def headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "include" / "Python.h", "")
    paths = {"include": str(tmp_path / "include")}
    monkeypatch.setattr(builds.sysconfig, "get_paths", lambda scheme: paths)


def test_a_compiler_that_is_not_there_and_headers_that_are_missing_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton")
    headers(tmp_path, monkeypatch)
    named = finding(builds.triton, with_card(tmp_path, CC="cc-of-mine"))
    assert named.what == "cc-of-mine cannot build Triton's launchers: No such file or directory"
    (tmp_path / "include" / "Python.h").unlink()
    found = finding(builds.triton, with_card(tmp_path, CC="cc-of-mine"))
    assert (found.status, found.mend) == (Status.PROBLEM, "apt install python3-dev")
    assert "no Python.h" in found.what


def test_the_compiler_of_this_machine_builds_a_launcher(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine")
    here = machine(tmp_path, "rtx4090", gpu=gpu(), environment=dict(os.environ))
    found = finding(builds.triton, here)
    if "no Python.h" in found.what:
        pytest.skip("no Python headers on this machine")
    assert (found.status, "builds its launchers" in found.what) == (Status.OK, True)


# xformers and torchao


def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str, requires: str = "") -> None:
    """An installed package of this name, ahead of the real one."""
    line = f"Requires-Dist: {requires}\n" if requires else ""
    write(tmp_path / "site" / f"{name}-0.0.1.dist-info" / "METADATA", f"Name: {name}\nVersion: 0.0.1\n{line}")
    write(tmp_path / "site" / name / "__init__.py", code)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


def checked(tmp_path: Path, name: str, *, card: bool = True) -> Finding:
    check = builds.CHECKS[name]
    here = machine(tmp_path, "rtx4090", gpu=gpu(), environment=dict(os.environ)) if card else machine(tmp_path)
    return finding(check, here)


@pytest.mark.parametrize("name", ["xformers", "torchao"])
@pytest.mark.parametrize(
    ("code", "requires", "status", "what"),
    [
        ("", "torch==1.0", Status.PROBLEM, "it requires torch==1.0"),
        ("", 'torch==1.0; extra == "old"', Status.OK, "imported with its kernels"),
        ("", f"torch=={TORCH.partition('+')[0]}", Status.OK, "imported with its kernels"),
        ("raise ImportError('undefined symbol')", "", Status.PROBLEM, "imported: ImportError: undefined symbol"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "", Status.PROBLEM, "imported: exit code -11"),
        ("import sys; print('Skipping import of cpp extensions due to incompatible torch version', file=sys.stderr)",
         "", Status.WARNING, "kernels do not load (Skipping import of cpp extensions due to incompatible torch"),
        ("import sys; print(\"xFormers can't load C++/CUDA extensions. Built for 2.4\", file=sys.stderr)",
         "", Status.WARNING, "kernels do not load (xFormers can't load C++/CUDA extensions. Built for 2.4)"),
    ],
)  # fmt: skip
def test_a_package_that_was_built_for_another_torch_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str, requires: str, status: Status, what: str
) -> None:
    package(tmp_path, monkeypatch, name, code, requires)
    found = checked(tmp_path, name)
    assert found.status is status, found
    assert found.what.startswith(f"{name} 0.0.1 with torch {TORCH}")
    assert what in found.what
    assert bool(found.mend) == (status is not Status.OK)


def test_without_a_card_nothing_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, monkeypatch, "xformers", "raise SystemExit(5)")
    assert checked(tmp_path, "xformers", card=False).what.endswith("; without a GPU its kernels are not tried")


def test_a_package_that_is_not_there_is_not_missed(tmp_path: Path) -> None:
    assert builds.check_torch_compatibility("no-such-package-of-anyone", machine(tmp_path)) is None
