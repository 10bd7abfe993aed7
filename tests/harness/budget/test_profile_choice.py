"""The profile that a run is planned for when nobody named one: of the card that nvidia-smi shows."""

import math
import re
from pathlib import Path

import pytest

from harness.axolotl_process import axolotl_environment
from harness.budget.gpu_profile import GPU_PROFILES, get_gpu_profile
from harness.budget.profile_choice import choose_profile, profile_of
from harness.doctor.card import Gpu
from harness.errors import ConfigError
from harness.recipe import recipe_for
from tests.harness.doctor.scripted_nvidia_smi import install


def gpu(name: str, total: float) -> Gpu:
    return Gpu(name=name, total_gib=total, used_gib=0.3, driver="580.65.06", processes=())


@pytest.mark.parametrize(
    ("name", "total", "profile", "memory"),
    [
        ("NVIDIA GeForce RTX 4090", 23.99, "rtx4090", 24.0),
        ("NVIDIA GeForce RTX 4090", 47.99, "rtx-4090-48gb", 48.0),
        ("NVIDIA GeForce RTX 4090 D", 23.99, "rtx-4090-d-24gb", 24.0),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 15.99, "rtx-4090-laptop-gpu-16gb", 16.0),
        ("NVIDIA A100-SXM4-40GB", 40.0, "a100-40gb", 40.0),
        ("A100-SXM4-40GB", 39.59, "a100-40gb", 40.0),
        ("NVIDIA A100-PCIE-40GB", 40.0, "a100-40gb", 40.0),
        ("NVIDIA A100-SXM4-80GB", 80.0, "a100-80gb", 80.0),
        ("NVIDIA A100 80GB PCIe", 80.0, "a100-80gb", 80.0),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", 20.0, "a100-sxm4-40gb-mig-3g.20gb-20gb", 20.0),
        ("NVIDIA H100 80GB HBM3", 79.65, "h100-80gb", 80.0),
        ("NVIDIA H100 PCIe", 79.65, "h100-80gb", 80.0),
        ("NVIDIA H100 NVL", 93.58, "h100-nvl-94gb", 94.0),
        ("NVIDIA H200", 140.4, "h200", 141.0),
        ("NVIDIA GH200 480GB", 95.58, "gh200-480gb-96gb", 96.0),
        ("NVIDIA L40S", 44.99, "l40s-45gb", 45.0),
        ("Tesla T4", 15.0, "tesla-t4-15gb", 15.0),
        ("NVIDIA A100-SXM4-40GB", math.nan, "a100-40gb", 40.0),
        ("NVIDIA GB10", math.nan, "gb10-24gb", 24.0),
        ("GPU", 11.0, "gpu-11gb", 11.0),
        ("NVIDIA \ufffd\ufffd", 0.3, "gpu-1gb", 1.0),
    ],
)
def test_name_and_memory_tell_the_profile(name: str, total: float, profile: str, memory: float) -> None:
    card = profile_of(gpu(name, total))
    assert (card.name, card.memory_gib) == (profile, memory)
    assert get_gpu_profile(profile) == card, "what stands on record is understood on any machine"
    assert card.has_speed == (profile in GPU_PROFILES), "nobody knows the speed of another card"


@pytest.mark.parametrize("name", ["rtx5090", "rtx-24gib", "-24gb", "x-0gb", "x-99999gb", "x 24-24gb", "X-24gb", ""])
def test_a_name_that_describes_no_card_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"`card={name}`: unknown card. Use cpu, rtx4090, a100-40gb")):
        get_gpu_profile(name)


@pytest.mark.parametrize(
    ("card", "recipe"),
    [("cpu", "tiny_cpu"), ("l4-22gb", "mistral_7b_qlora_4090"), ("l40s-45gb", "mistral_7b_qlora_a100_40gb"),
     ("rtx4090", "mistral_7b_qlora_4090"), ("h200", "mistral_7b_qlora_a100_40gb")],
)  # fmt: skip
def test_the_recipe_goes_by_memory(card: str, recipe: str) -> None:
    assert recipe_for(get_gpu_profile(card)).stem == recipe


def test_the_card_that_is_here_is_taken_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = ["NVIDIA GeForce RTX 4090, 24564, 9, 580.1", "NVIDIA L40S, 46068, 9, 580.1"]
    install(tmp_path, monkeypatch, gpu=cards)
    first = choose_profile(None)
    assert first.sentence == (
        "card: rtx4090 (NVIDIA GeForce RTX 4090, 24.0 GiB, is here; the first of 2; CUDA_VISIBLE_DEVICES chooses "
        "another)"
    )
    assert axolotl_environment(first.card, device=first.device)["CUDA_VISIBLE_DEVICES"] == "GPU-0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    second = choose_profile(None)
    assert second.sentence == (
        "card: l40s-45gb (NVIDIA L40S, 45.0 GiB, is here; CUDA_VISIBLE_DEVICES=1,0; its speed is not known before a "
        "rehearsal)"
    )
    assert second.device == "GPU-1"
    named = choose_profile("a100-40gb")
    assert (named.card.name, named.reason, named.device) == ("a100-40gb", "named by `card=`", "GPU-1")


def test_memory_that_is_not_told_is_assumed_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, gpu="NVIDIA GB10, [N/A], [N/A], 580.1")
    said = choose_profile(None).reason
    assert said.startswith("NVIDIA GB10, memory unknown, is here; 24 GiB are assumed; set `card=NAME-MEMORYgb`")


def test_without_a_card_it_is_the_cpu_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, gpu="ERR!")
    choice = choose_profile(None)
    assert (choice.sentence, choice.device) == ("card: cpu (no GPU: nvidia-smi says: ERR!; `card=` names another)", "")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert choose_profile(None).reason.startswith("no GPU: nvidia-smi is not installed, so there is no NVIDIA driver")
    assert axolotl_environment(choice.card, device=choice.device)["CUDA_VISIBLE_DEVICES"] == ""
