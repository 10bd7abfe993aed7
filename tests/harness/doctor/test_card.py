"""The driver's answers, from an nvidia-smi of the test's own that prints what the real one prints."""

import math
import time
from pathlib import Path

import pytest

from harness.budget.gpu_profile import get_gpu_profile
from harness.doctor import nvidia_smi
from harness.doctor.card import Gpu, check_gpu, check_torch, find_gpu, query_gpu, visible_device_environment
from harness.errors import ConfigError, TrainError
from tests.harness.doctor.scripted_nvidia_smi import install

RTX_4090 = "NVIDIA GeForce RTX 4090, 24564, 9, 580.65.06"
H100 = "NVIDIA H100 80GB HBM3, 81559, 4, 580.1"


def test_the_card_and_who_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        tmp_path,
        monkeypatch,
        gpu="NVIDIA GeForce RTX 4090, 24564, 9011, 550.54.14",
        apps='printf "812, python3, 8192\\n900, /usr/lib/xorg/Xorg, 300\\n"',
    )
    found = find_gpu()
    assert found is not None
    assert (found.name, round(found.total_gib, 1), round(found.used_gib, 1)) == ("NVIDIA GeForce RTX 4090", 24.0, 8.8)
    assert found.processes == ("812 python3 8192 MiB", "900 /usr/lib/xorg/Xorg 300 MiB")
    with pytest.raises(TrainError, match=r"8.8 of 24.0 GiB are in use by 812 python3 8192 MiB; .* `shared_card=true`"):
        check_gpu(get_gpu_profile("rtx4090"), found)
    check_gpu(get_gpu_profile("rtx4090"), found, shared=True)


@pytest.mark.parametrize(
    ("visible", "name", "device"),
    [
        (None, "NVIDIA GeForce RTX 4090", "GPU-0"),
        ("1,0", "NVIDIA H100 80GB HBM3", "GPU-1"),
        (" 1 ", "NVIDIA H100 80GB HBM3", "GPU-1"),
        ("GPU-1", "NVIDIA H100 80GB HBM3", "GPU-1"),
    ],
)
def test_the_card_that_the_process_sees_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, name: str, device: str
) -> None:
    install(tmp_path, monkeypatch, gpu=[RTX_4090, H100], visible=visible)
    found = find_gpu()
    assert found is not None
    assert (found.name, found.device) == (name, device)
    assert found.num_gpus == (2 if visible is None else 1)
    assert visible_device_environment(found.device) == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": device,
    }


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles"])
def test_cards_that_are_hidden_are_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    install(tmp_path, monkeypatch, gpu=H100, visible=visible)
    assert (query_gpu().gpu, query_gpu().reason) == (None, "CUDA_VISIBLE_DEVICES hides every card")
    assert not (tmp_path / "asked").exists()


def test_no_driver_is_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    seen = query_gpu()
    assert (seen.gpu, seen.reason, seen.is_broken) == (
        None,
        "nvidia-smi is not installed, so there is no NVIDIA driver",
        False,
    )
    with pytest.raises(ConfigError, match="nvidia-smi shows no card"):
        check_gpu(get_gpu_profile("rtx4090"), None)
    check_gpu(get_gpu_profile("cpu"), None)


@pytest.mark.parametrize(
    ("before", "gpu", "why", "broken"),
    [
        ("exit 0", "", "nvidia-smi lists no card", False),
        ("echo No devices were found; exit 6", "", "exit code 6: No devices were found", True),
        (
            "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
            "",
            "library version mism",
            True,
        ),
        ("", "ERR!", "nvidia-smi says: ERR!", True),
        ("", "[Unknown Error], [Unknown Error], [Unknown Error], [Unknown Error]", "says: [Unknown Error], ", True),
        ("", "[GPU requires reset], [N/A], [N/A], 580.1", "nvidia-smi says: [GPU requires reset]", True),
        ("", "Unable to determine the device handle for GPU 0000:01:00.0", "says: Unable to determine the d", True),
        ("printf '\\377\\376 \\200'; exit 1", "", "ended with exit code 1: \ufffd\ufffd \ufffd", True),
        ("printf '\\377\\376\\n'; exit 0", "", "nvidia-smi says: \ufffd\ufffd", True),
        ("kill -9 $$", "", "nvidia-smi ended with exit code -9", True),
    ],
)
def test_an_odd_answer_is_no_card_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, gpu: str, why: str, broken: bool
) -> None:
    install(tmp_path, monkeypatch, gpu=gpu, before=before)
    seen = query_gpu()
    assert seen.gpu is None
    assert why in seen.reason
    assert seen.is_broken == broken


@pytest.mark.parametrize(
    ("gpu", "name", "total", "used", "driver"),
    [
        ("NVIDIA GB10, [N/A], [N/A], 580.1", "NVIDIA GB10", math.nan, math.nan, "580.1"),
        ("NVIDIA L4, 23034, [Insufficient Permissions], 550.1", "NVIDIA L4", 23034 / 1024, math.nan, "550.1"),
        ("[N/A], 24564, 9, ERR!", "GPU", 24564 / 1024, 9 / 1024, ""),
        ("ERR!, 24564, ERR!, [Not Supported]", "GPU", 24564 / 1024, math.nan, ""),
        ("NVIDIA \\0351\\0377, 24564, nan, inf", "NVIDIA \ufffd\ufffd", 24564 / 1024, math.nan, ""),
        ("NVIDIA A, B and C, 24564, 9, 1", "NVIDIA A, B and C", 24564 / 1024, 9 / 1024, "1"),
        ("WARNING: infoROM is corrupted\\nNVIDIA L4, 23034, 1, 1", "NVIDIA L4", 23034 / 1024, 1 / 1024, "1"),
    ],
)
def test_what_the_driver_does_not_tell_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: str, name: str, total: float, used: float, driver: str
) -> None:
    odd = 'printf "[Insufficient Permissions]\\n\\nERR!\\n7, a,b, 12\\n[N/A], [N/A], [N/A]\\n\\377, x, 1\\n"'
    install(tmp_path, monkeypatch, gpu=gpu, apps=odd)
    found = find_gpu()
    assert found is not None
    assert (found.name, found.driver) == (name, driver)
    assert (found.total_gib, found.used_gib) == pytest.approx((total, used), nan_ok=True)
    assert found.processes == ("7 a,b 12 MiB",)
    check_gpu(get_gpu_profile("rtx4090"), found, shared=True) if total > 23 or math.isnan(total) else None


def test_a_broken_first_card_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, gpu=["ERR!, ERR!, ERR!, ERR!", H100])
    found = find_gpu()
    assert found is not None
    assert (found.name, found.device, found.num_gpus) == ("NVIDIA H100 80GB HBM3", "GPU-1", 2)


def test_a_driver_that_hangs_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia_smi, "TIMEOUT_S", 0.5)
    install(tmp_path, monkeypatch, gpu=RTX_4090, before="sleep 60 & echo half a line; sleep 60")
    began = time.monotonic()
    seen = query_gpu()
    assert time.monotonic() - began < 10
    assert (seen.gpu, seen.reason, seen.is_broken) == (None, "nvidia-smi did not answer in 0.5 s", True)


A100 = "NVIDIA A100-SXM4-40GB, 40960, [Insufficient Permissions], 550.1"
PARTS = (
    "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-0)\\n  MIG 3g.20gb     Device  0: (UUID: MIG-aa)\\n"
    "  MIG 1g.5gb      Device  1: (UUID: MIG-bb)\\nGPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-1)\\n"
    "  MIG 2g.10gb     Device  0: (UUID: MIG-cc)\\n"
)


@pytest.mark.parametrize(
    ("visible", "profile", "memory", "device"),
    [
        (None, "3g.20gb", 20.0, "MIG-aa"),
        ("1", "2g.10gb", 10.0, "MIG-cc"),
        ("GPU-1", "2g.10gb", 10.0, "MIG-cc"),
        ("MIG-bb", "1g.5gb", 5.0, "MIG-bb"),
    ],
)
def test_a_part_of_a_card_has_the_parts_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, profile: str, memory: float, device: str
) -> None:
    install(tmp_path, monkeypatch, gpu=[A100, A100], mig="Enabled", listed=PARTS, visible=visible)
    found = find_gpu()
    assert found is not None
    assert (found.name, found.total_gib) == (f"NVIDIA A100-SXM4-40GB MIG {profile}", memory)
    assert found.device == device
    assert math.isnan(found.used_gib)


def test_mig_without_a_part_and_a_part_that_is_not_there_are_no_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, gpu=A100, mig="Enabled", listed="GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-0)\\n")
    assert query_gpu().reason == "NVIDIA A100-SXM4-40GB is in MIG mode and has no instance"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-zz")
    assert query_gpu().reason == "nvidia-smi lists no MIG-zz, which CUDA_VISIBLE_DEVICES names"


def test_a_smaller_card_than_named_is_refused_and_a_larger_one_is_not() -> None:
    small = Gpu(name="RTX 3090", total_gib=23.7, used_gib=0.3, driver="1", processes=())
    check_gpu(get_gpu_profile("rtx4090"), small)
    with pytest.raises(ConfigError, match=r"a100-40gb` has 40 GiB, but the RTX 3090 here has 23\.7"):
        check_gpu(get_gpu_profile("a100-40gb"), small)
    check_gpu(get_gpu_profile("rtx4090"), Gpu(name="H200", total_gib=139.8, used_gib=0.6, driver="1", processes=()))


def test_a_torch_without_cuda_is_told_before_anything_is_loaded() -> None:
    torch = pytest.importorskip("torch")
    check_torch(get_gpu_profile("cpu"))
    if torch.version.cuda:
        check_torch(get_gpu_profile("rtx4090"))
        return
    with pytest.raises(ConfigError, match=r"`card=rtx4090`: torch .*\+cpu is a build without CUDA"):
        check_torch(get_gpu_profile("rtx4090"))
