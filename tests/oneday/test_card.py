"""`train`, `rehearse` and `plan` take the card that is here, say so, and put it on record."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from core.manifest import read_manifest
from harness.axolotl_process import Child
from harness.errors import ConfigError
from oneday.cli import main
from oneday.commands.training.train import run_train
from oneday.demo.demo import DEMO_BASE, RECIPE
from oneday.display.console import Console
from oneday.requests.training import TrainRequest
from tests.conftest import write_small_mix
from tests.harness.doctor.scripted_nvidia_smi import install
from tests.harness.test_run import fake

RTX_4090 = "NVIDIA GeForce RTX 4090, 24564, 9, 580.65.06"
FOUND = "NVIDIA GeForce RTX 4090, 24.0 GiB, is here"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as e:
        main([str(a) for a in arguments])
    said = capsys.readouterr()
    assert isinstance(e.value.code, int)
    return e.value.code, said.out, said.err


def last(out: str) -> dict[str, Any]:
    return json.loads(out.splitlines()[-1])


@pytest.mark.parametrize("command", ["train", "plan"])
def test_a_dry_run_is_of_the_card_that_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    install(tmp_path, monkeypatch, gpu=RTX_4090)
    code, out, err = run(capsys, command, "--dry-run", "--json")
    assert code == 0, err
    assert f"card: rtx4090 ({FOUND})" in err.splitlines()
    assert (last(out)["card"], last(out)["card_how"]) == ("rtx4090", FOUND)
    assert "mistral_7b_qlora_4090.yml" in out + err
    code, out, err = run(capsys, command, "--dry-run", "--json", "--card", "a100-40gb")
    assert (code, last(out)["card"], last(out)["card_how"]) == (0, "a100-40gb", "named by --card")
    assert "card: " not in err


def test_without_a_gpu_it_is_the_cpu_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, err = run(capsys, "train", "--dry-run", "--json")
    assert (code, last(out)["card"]) == (0, "cpu")
    lines = [line for line in err.splitlines() if line.startswith("card: ")]
    assert lines == [
        "card: cpu (no GPU: nvidia-smi is not installed, so there is no NVIDIA driver; --card names another)"
    ]
    assert "tiny_cpu.yml" in out
    code, _, err = run(capsys, "plan", "--dry-run")
    assert (code, err) == (
        2,
        "error: --card cpu: no speed is known for it. Rehearse first: oneday rehearse. The card was not named (no GPU: "
        "nvidia-smi is not installed, so there is no NVIDIA driver; --card names another).\n",
    )


def test_a_card_of_no_profile_has_no_speed_until_it_is_rehearsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, monkeypatch, gpu="NVIDIA L40S, 46068, 9, 580.1")
    code, _, err = run(capsys, "plan", "--dry-run")
    assert code == 2
    assert "--card l40s-45gb: no speed is known for it. Rehearse first: oneday rehearse." in err
    code, out, _ = run(capsys, "train", "--dry-run", "--json")
    assert (code, last(out)["card"]) == (0, "l40s-45gb")


def test_a_rehearsal_is_for_the_card_that_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, monkeypatch, gpu="NVIDIA GeForce RTX 4090, 24564, 9011, 580.65.06")
    mix = write_small_mix(tmp_path / "05_mix")
    code, _, err = run(capsys, "rehearse", "--mix", mix, "--config", RECIPE, "--base", DEMO_BASE)
    assert code == 2
    assert "NVIDIA GeForce RTX 4090: 8.8 of 24.0 GiB are in use" in err
    monkeypatch.setattr("harness.doctor.card.metadata.version", lambda name: "2.13.0+cpu")  # whichever build is here
    given = ["rehearse", "--mix", mix, "--config", RECIPE, "--base", DEMO_BASE, "--shared-card"]
    code, _, err = run(capsys, *given)
    assert code == 2, "no 7B is trained on a CPU by mistake"
    assert re.search(r"torch.*without CUDA", err), err


def test_the_card_and_why_stand_on_record_and_do_not_bar_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, before="exit 9")
    mix = write_small_mix(tmp_path / "05_mix")

    def launch(*given: Any) -> Child:
        return fake(save="1,3")(*given)

    request = TrainRequest(mix=mix, config=RECIPE, base=DEMO_BASE, budget="60s", rehearsal=False)
    run_train(request, Console(), launch=launch)
    train = read_manifest(tmp_path)["train"]
    assert (train["card"], train["card_how"]) == (
        "cpu", "no GPU: nvidia-smi ended with exit code 9; `card=` names another",
    )  # fmt: skip
    install(tmp_path, monkeypatch, gpu=RTX_4090)
    with pytest.raises(ConfigError, match=r"was started on cpu, but this machine has rtx4090 \(NVIDIA .* Give `card="):
        run_train(request, Console(), launch=launch)
    named = TrainRequest(mix=mix, config=RECIPE, card="cpu", base=DEMO_BASE, budget="60s", rehearsal=False)
    run_train(named, Console(), launch=launch)
