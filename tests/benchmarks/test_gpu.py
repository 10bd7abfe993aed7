"""The GPU benchmarks on the CPU: that the scripts work, and no figure."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks.gpu import base, kit, rehearsal
from benchmarks.gpu.base import SHAPES, write_base
from benchmarks.gpu.lines import Lines
from benchmarks.gpu.rehearsal import MICRO_BATCH_TIMES, SETTINGS
from benchmarks.gpu.setting import write_rows
from benchmarks.gpu.training import _lines, compare_repeated_steps, repeated_steps
from harness.axolotl_process import Launcher
from harness.budget.gpu_profile import get_gpu_profile
from harness.budget.rehearse import rehearse
from harness.data.dataset import read_mix
from harness.recipe import AxolotlConfig, find_recipe, read_recipe, recipe_for

ROOT = Path(__file__).parents[2]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def run_all(out: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "benchmarks/gpu/all.sh", "--tiny", "--out", str(out), "--scratch", str(out.parent), *arguments]
    surroundings = {**os.environ, "PYTHON": sys.executable, "KIT": str(out / "no-kit"), **environment}
    return subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, check=False)


# --- the command


@pytest.mark.slow
def test_each_part_writes_its_line_and_how_it_ended(tmp_path: Path) -> None:
    """The parts that this leaves out are called below, in this process, which has their libraries already."""
    done = run_all(tmp_path / "out", "--parts", "levers", "selection")
    lines = read(tmp_path / "out" / "lines.jsonl")
    log = (tmp_path / "out" / "log.txt").read_text()
    assert done.returncode == 0, done.stderr + log[-3000:]
    ended = {line["part"]: line["ended"] for line in lines if "ended" in line}
    assert ended == {"levers": "well", "selection": "well", "all": ["well"] * 2}
    for line in lines:
        assert {"part", "command", "card", "date", "versions"} <= set(line)
        assert line["versions"]["axolotl"] == "0.19.0"
    figures = {(line["part"], line["measured"]): line for line in lines if "measured" in line}
    agreed = [line for line in lines if line.get("measured") == "agreement" and "lever" in line]
    assert [(line["lever"], line["agrees"]) for line in agreed] == [("dense", True)]
    (control,) = [line for line in lines if "control" in line]
    assert not control["agrees"], "samples that see each other would pass for equal"
    medians = figures["levers", "levers"]["medians"]["dense"]
    assert (medians["rounds"], medians["hardware_utilisation"]) == (2, None)
    assert medians["tokens_per_s"] > 0
    assert figures["levers", "grid"]["fits"]
    assert "not part of the project yet" in figures["selection", "selection"]["left_out"]
    assert list(tmp_path.glob("oneday-gpu-*")) == []


@pytest.mark.timed
def test_a_part_that_cannot_import_or_takes_too_long_ends_alone(tmp_path: Path) -> None:
    """A torch that cannot be imported in the first part, and never is in the second; the third has no time left."""
    broken = tmp_path / "broken" / "torch"
    broken.mkdir(parents=True)
    sleeper = f"subprocess.Popen(['sleep', '{PLAIN_SLEEP}'], start_new_session=True)"
    (broken / "__init__.py").write_text(
        "import subprocess, sys, time\n"
        "if 'levers' in sys.argv: raise ImportError('no torch here')\n"
        f"{sleeper}\ntime.sleep(99)\n"
    )
    started = time.monotonic()
    done = run_all(
        tmp_path / "out", "--seconds", "5", "--parts", "levers", "lora", "selection", PYTHONPATH=str(broken.parent)
    )  # fmt: skip
    ended = {line["part"]: line for line in read(tmp_path / "out" / "lines.jsonl") if "ended" in line}
    assert done.returncode == 1
    assert ended["all"]["ended"] == ["failed", "too long", "left out"]
    assert "no torch here" in ended["levers"]["last_words"]
    assert "0 s are left" in ended["selection"]["why"]
    assert time.monotonic() - started < 16
    assert not _is_running(PLAIN_SLEEP), "what a killed part had started goes on"


PLAIN_SLEEP = "98.7654"
"""Names the process among all others."""


def _is_running(word: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes().split(b"\0"):
                return True
        except OSError:
            continue
    return False


def test_a_command_that_is_cut_off_keeps_the_lines_that_were_done(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "benchmarks.gpu.all", "--tiny", "--out", str(out), "--scratch", str(tmp_path)]
    child = subprocess.Popen(
        [*command, "--parts", "selection", "winner"], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    path = out / "lines.jsonl"
    while not (path.is_file() and '"part": "selection", "ended"' in path.read_text()):
        assert time.monotonic() < until
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert [line["part"] for line in read(path)] == ["all", "selection", "selection"]


# --- its parts


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[ModuleType], list[dict[str, Any]]]:
    """Calls a part's script in this process, tiny and without a card; returns its lines."""

    def run_part(module: ModuleType) -> list[dict[str, Any]]:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        monkeypatch.setattr(sys, "argv", [module.__name__, "--tiny", "--work", str(tmp_path)])
        assert not module.main()
        return read(tmp_path / "lines.jsonl")

    return run_part


@pytest.mark.slow
def test_the_rehearsal_script_writes_its_line(
    call: Callable[[ModuleType], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, axolotl: Launcher
) -> None:
    monkeypatch.setattr(rehearsal, "rehearse", partial(rehearse, launch=axolotl))
    (line,) = call(rehearsal)
    assert line["fits"]
    assert line["tokens_per_s"] > 0
    assert line["gflop_per_token"] > 0
    assert line["hardware_utilisation"] is None
    assert line["peak_by_phase_gib"] == {}
    assert set(line["computed_peak_gib"]) == {"whole", "weights", "trained", "buffers", "activations"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_lora_script_writes_its_line(
    call: Callable[[ModuleType], list[dict[str, Any]]], without_triton: set[str]
) -> None:
    from benchmarks.gpu import lora

    (line,) = call(lora)
    assert (line["measured"], line["tokens_per_s"] > 0) == ("lora", True)


@pytest.mark.slow
def test_the_base_script_writes_its_line(call: Callable[[ModuleType], list[dict[str, Any]]]) -> None:
    (line,) = call(base)
    assert (line["folder"], line["gib"] > 0) == ("base-tiny", True)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_a_recipe_and_ours_is_the_recommended_one(name: str) -> None:
    recipe = read_recipe(find_recipe(Path("mistral_7b_qlora_4090.yml")))
    changed = AxolotlConfig(**(recipe.model_dump() | SETTINGS[name]))
    differs = {key for key, value in changed if value != getattr(recipe, key)}
    assert differs == set() if name == "ours" else {"lora_qkv_kernel", "liger_fused_linear_cross_entropy"} <= differs


def test_the_larger_card_is_asked_for_more_because_its_recipe_is_the_smaller_ones() -> None:
    small, large = (read_recipe(find_recipe(recipe_for(get_gpu_profile(card)))) for card in MICRO_BATCH_TIMES)
    assert small.model_dump(exclude={"seed"}) == large.model_dump(exclude={"seed"})


def test_rows_are_spread_as_the_mix(tmp_path: Path) -> None:
    write_rows(tmp_path, train=2000, validation=20)
    lengths = json.loads((tmp_path / "lengths.json").read_text())
    assert 200 < sum(lengths) / len(lengths) < 350
    assert len(list(read_mix(tmp_path / "train.jsonl"))) == 2000


@pytest.mark.slow
def test_the_random_base_is_a_model_that_loads_with_the_real_tokenizer(tmp_path: Path, monkeypatch: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setattr("benchmarks.gpu.base.SHARD_BYTES", 1 << 20)
    write_base(tmp_path / "base", "tiny", tokenizer=None)
    assert len(list((tmp_path / "base").glob("*.safetensors"))) > 2
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base", local_files_only=True)
    assert model.dtype == torch.bfloat16
    assert model.config.num_hidden_layers == SHAPES["tiny"]["num_hidden_layers"]
    weights = {name: p.float() for name, p in model.named_parameters()}
    assert all(0.018 < p.std() < 0.022 for name, p in weights.items() if "norm" not in name)
    assert all((p == 1).all() for name, p in weights.items() if "norm" in name)
    layers = [weights[f"model.layers.{n}.self_attn.q_proj.weight"] for n in (0, 1)]
    assert not torch.equal(*layers)
    assert AutoTokenizer.from_pretrained(tmp_path / "base")("two rivers")["input_ids"][0] == 1


def test_steps_trained_twice_are_found_and_compared(tmp_path: Path) -> None:
    def line(step: int, batch: str, loss: float) -> dict[str, Any]:
        return {"step": step, "batch": batch, "lr": 0.1, "loss": loss}

    lines = [line(1, "a", 3.0), line(2, "b", 2.0), line(3, "c", 1.0), line(2, "b", 2.01), line(3, "c", 1.0)]
    assert [before["step"] for before, _ in repeated_steps(lines)] == [2, 3]
    path = tmp_path / "07_train" / "batches.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(part) + "\n" for part in lines) + '{"step": 4, "ba')
    assert _lines(tmp_path) == lines
    found = compare_repeated_steps(tmp_path)
    assert (found["steps_trained_twice"], found["batches_equal"], found["within_noise"]) == ([2, 3], True, True)
    assert found["losses_differ_by"] == pytest.approx(0.005)
    path.write_text("".join(json.dumps(part) + "\n" for part in [*lines[:3], line(2, "x", 2.5)]))
    found = compare_repeated_steps(tmp_path)
    assert (found["batches_equal"], found["within_noise"]) == (False, False)
    path.write_text(json.dumps(lines[0]) + "\n")
    assert not compare_repeated_steps(tmp_path)["batches_equal"], "nothing was compared"


def test_a_line_is_json_whatever_a_card_gave(tmp_path: Path) -> None:
    Lines(path=tmp_path / "x" / "lines.jsonl", part="p").write(speed=float("nan"), gib=1 / 3, of={"a": (1.23456789,)})
    (line,) = read(tmp_path / "x" / "lines.jsonl")
    assert (line["speed"], line["gib"], line["of"]) == ("nan", 0.33333, {"a": [1.2346]})


# --- the kit


def test_every_package_of_the_kit_has_a_pin() -> None:
    pins = kit.pinned_versions((ROOT / "constraints.txt").read_text())
    names = (*kit.AXOLOTL, *kit.OURS, *kit.SOURCE_ONLY, "bitsandbytes", "mistral-common")
    assert [name for name in names if name not in pins] == []


def test_a_made_wheel_installs_and_a_damaged_or_double_one_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "kit"
    folder.mkdir()
    kit.write_wheel(folder / "wandb-0.0.0-py3-none-any.whl", {"wandb/__init__.py": b"x = 1\n"})
    kit.check_wheels(folder)
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(tmp_path / "s")]
    subprocess.run([*command, *map(str, folder.glob("*.whl"))], check=True, capture_output=True)
    assert (tmp_path / "s" / "wandb" / "__init__.py").read_text() == "x = 1\n"
    kit.write_wheel(folder / "wandb-0.0.1-py3-none-any.whl", {"wandb/__init__.py": b"x = 2\n"})
    with pytest.raises(SystemExit, match="wandb is a duplicate"):
        kit.check_wheels(folder)


def test_bitsandbytes_keeps_one_cuda_library(tmp_path: Path) -> None:
    libraries = [f"bitsandbytes/libbitsandbytes_{name}.so" for name in ("cuda118", "cuda130", "cpu")]
    wheel = tmp_path / "bitsandbytes-0.50.2-py3-none-any.whl"
    kit.write_wheel(wheel, {"bitsandbytes/__init__.py": b"", **dict.fromkeys(libraries, b"code")})
    (tmp_path / "kit").mkdir()
    kit.strip_bitsandbytes(wheel, tmp_path / "kit")
    with zipfile.ZipFile(tmp_path / "kit" / wheel.name) as stripped:
        kept = set(stripped.namelist())
    assert libraries[1] in kept
    assert libraries[2] in kept
    assert libraries[0] not in kept


def test_what_travels_is_the_tree_without_ignored_files_and_the_kit(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("runs/\n.gpu-kit/\n")
    for name, mib in (("code.py", 1), ("runs/big", 3), (".gpu-kit/a.whl", 2)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"0" * (mib << 20))
    assert kit.total_mib(tmp_path / ".gpu-kit", tmp_path) == pytest.approx(3, abs=0.001)
    assert kit.total_mib(ROOT / "no-kit") < kit.LIMIT_MIB - 48, "the kit has 45 MiB: the tree is too large to go along"


# --- the model in this process


@pytest.fixture
def without_triton(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The Triton kernels under Axolotl's and Liger's functions, in plain torch; names those that were called.

    Axolotl's attention is taken out of the class again: other tests have Mistral models too.
    """
    import axolotl.kernels.lora as fused
    import liger_kernel.transformers.functional as functional
    import liger_kernel.transformers.rms_norm as rms_norm
    import liger_kernel.transformers.rope as rope
    import torch
    from torch.nn.functional import cross_entropy, silu
    from transformers.models.mistral.modeling_mistral import MistralAttention, rotate_half

    called = set()

    def swiglu(gate: Any, up: Any) -> Any:
        called.add("fused_lora")
        return silu(gate.float()).to(gate.dtype) * up

    def swiglu_backward(grad: Any, gate: Any, up: Any) -> Any:
        sigmoid = torch.sigmoid(gate.float())
        activated = (sigmoid * gate.float()).to(gate.dtype)
        of_gate = grad.float() * up.float() * sigmoid * (1 + gate.float() * (1 - sigmoid))
        return activated * up, of_gate.to(gate.dtype), grad * activated

    class Norm:
        @staticmethod
        def apply(x: Any, weight: Any, eps: float, *rest: Any) -> Any:
            called.add("liger_norm")
            wide = x.float()
            return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)

    class Rope:
        @staticmethod
        def apply(q: Any, k: Any, cos: Any, sin: Any, *rest: Any) -> Any:
            called.add("liger_rope")
            cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
            return q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin

    def loss(hidden: Any, weight: Any, target: Any, *rest: Any, **more: Any) -> Any:
        called.add("liger_loss")
        return cross_entropy((hidden @ weight.t()).float(), target, ignore_index=-100)

    monkeypatch.setattr(fused, "swiglu_forward", swiglu)
    monkeypatch.setattr(fused, "swiglu_backward", swiglu_backward)
    monkeypatch.setattr(rms_norm, "LigerRMSNormFunction", Norm)
    monkeypatch.setattr(rope, "LigerRopeFunction", Rope)
    monkeypatch.setattr(functional, "liger_fused_linear_cross_entropy", loss)
    forward = MistralAttention.forward
    yield called
    MistralAttention.forward = forward
    if hasattr(MistralAttention, "_original_forward"):
        del MistralAttention._original_forward


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_each_switch_brings_its_kernel_in_and_takes_it_out_and_all_compute_the_same(without_triton: set[str]) -> None:
    from benchmarks.gpu.model import OURS, Kernels, LoraModel
    from benchmarks.gpu.steps import Stepper, agreement, forward_backward, packed

    model = LoraModel.build("tiny", lora_r=8, four_bit=False, dropout=0.0)
    made = packed(random.Random(1), rows=2, sequence_len=256, vocab=32_000)
    plain = Kernels(attention="dense")
    reference = forward_backward(model, plain, made)
    assert without_triton == set()
    expected = {
        "fused_lora": {"fused_lora"}, "liger_norm": {"liger_norm", "liger_rope"}, "liger_loss": {"liger_loss"}
    }  # fmt: skip
    for switch, kernels in expected.items():
        without_triton.clear()
        assert agreement(reference, forward_backward(model, plain.but(**{switch: True}), made))["agrees"], switch
        assert without_triton == kernels
    without_triton.clear()
    ours = OURS.but(attention="dense", checkpointing=False)
    assert agreement(reference, forward_backward(model, ours, made))["agrees"]
    assert len(without_triton) == 4
    without_triton.clear()
    again = agreement(reference, forward_backward(model, plain, made))
    assert (again["loss_differs_by"], without_triton) == (0.0, set())
    leaking = agreement(reference, forward_backward(model, plain.but(attention="causal"), made))
    assert not leaking["agrees"], leaking

    step = Stepper(model)
    assert step(made).grad_norm > 0
    for name, parameter in model.adapters.items():
        if "layers.1.mlp.up_proj.lora_B" in name:
            parameter.data.zero_()
    with pytest.raises(AssertionError, match=r"1 adapters whose gradient is zero .*layers\.1\.mlp\.up_proj\.lora_A"):
        step(made)
