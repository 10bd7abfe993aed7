"""The doctor's checks of torch, of the card, and of the kernels of a training step.

    run_check("CUDA", cuda, machine)    # "driver 550.54.14 is too old for CUDA 13.0, which needs 580: ..."

On a GPU each kernel computes a small known result, because an installed package may still fail.

Where it sits: beside doctor.py. Heavy libraries are imported by the checks that need them.
"""

import importlib
import importlib.util
import math
from collections.abc import Callable
from typing import Any

from harness.budget.memory import MISTRAL_7B, recipe_peak_memory
from harness.doctor.builds import NEEDS_GPU, needed_driver
from harness.doctor.card import MAX_USED_GIB, Gpu, check_gpu
from harness.doctor.doctor import Check, Finding, Machine, in_one_line, note, ok, problem, warning
from harness.recipe import AxolotlConfig, find_recipe, has_flash_attn, read_recipe, recipe_for

LARGEST_NF4_ERROR = 0.1
"""Largest NF4 error of values in [-1, 1]. It was 0.034 on a CPU (measured); a wrong code or scale gives more."""


def torch_build(machine: Machine) -> Finding:
    """Checks that torch is a build for the card."""
    try:
        import torch
    except (ImportError, OSError) as e:
        return problem(f"torch cannot be imported ({in_one_line(e)})", "pip install 'oneday-llm[train]'")
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    text = f"torch {torch.__version__}, a {build} build"
    if machine.card.is_gpu and not torch.version.cuda:
        version = torch.__version__.partition("+")[0]
        mend = f"pip install --force-reinstall 'torch=={version}' --index-url https://pypi.org/simple"
        return problem(f"{text}, but the run is for {machine.card.name}", mend)
    return ok(text)


def card(machine: Machine) -> Finding:
    """Checks that the GPU is the one of the profile.

    Raises:
        ConfigError: There is no GPU, or it has less memory than the profile.
    """
    gpu = machine.gpu
    if not machine.card.is_gpu:
        return note(f"{gpu.name} is not used: the profile is cpu") if gpu else ok("none: the profile is cpu")
    check_gpu(machine.card, gpu, shared=True)
    assert gpu is not None
    unknown = "" if machine.card.has_speed else ", whose speed is unknown until a rehearsal"
    return ok(f"{gpu.name_and_memory}, driver {gpu.driver or 'unknown'}; profile {machine.card.name}{unknown}")


def users(machine: Machine) -> Finding | None:
    """Checks that no other program uses the card."""
    gpu = machine.gpu
    if gpu is None:
        return None
    if math.isnan(gpu.used_gib):
        return note("the driver does not report the memory in use")
    by = f" by {'; '.join(gpu.processes[:3])}" if gpu.processes else ""
    text = f"{gpu.used_gib:.1f} of {gpu.total_gib:.1f} GiB are in use{by}"
    if machine.card.is_gpu and gpu.used_gib > MAX_USED_GIB:
        return warning(text, "End the other programs, or train with `shared_card=true`.")
    return ok(text)


def card_memory(machine: Machine) -> Finding | None:
    """Compares the card's free memory with the need of its recommended recipe for a 7B base."""
    gpu = machine.gpu
    if gpu is None or not machine.card.is_gpu or math.isnan(gpu.total_gib - gpu.used_gib):
        return None
    recipe, name = _recipe(machine)
    need = recipe_peak_memory(recipe, MISTRAL_7B).gib
    free = min(gpu.total_gib - gpu.used_gib, machine.card.memory_gib)
    text = f"{free:.1f} GiB are free; {name} needs {need:.1f} with a 7B base (computed, to within 1.5)"
    if free < need:
        return warning(text, "Free memory on the card, or train with `auto_fit=true`.")
    return ok(text)


def cuda(machine: Machine) -> Finding | None:
    """Checks that torch's CUDA works with this driver."""
    import torch

    return check_cuda(torch, machine.gpu) if machine.card.is_gpu and torch.version.cuda else None


def check_cuda(torch: Any, gpu: Gpu | None) -> Finding:
    """Multiplies two matrices on the card; on failure, checks whether the driver is too old."""
    driver, version = gpu.driver if gpu else "(none)", torch.version.cuda
    try:
        ones = torch.ones(16, 16, device="cuda")
        total = float((ones @ ones).sum())
    except (RuntimeError, AssertionError) as e:
        oldest, major = needed_driver(version), driver.split(".")[0]
        if major.isdigit() and int(major) < oldest:
            return problem(
                f"driver {driver} is too old for CUDA {version}, which needs {oldest}: {in_one_line(e)}",
                "Update the driver, or install a torch for an older CUDA.",
            )
        return problem(
            f"CUDA {version} does not run with driver {driver}: {in_one_line(e)}",
            "Check that nvidia-smi works and the card is free; then restart the container or the machine.",
        )
    if total != 16.0**3:
        return problem(f"a matrix product on the card gave {total:g} instead of {16**3}", "Do not train on this card.")
    return ok(f"CUDA {version} works with driver {driver}")


def bf16(machine: Machine) -> Finding | None:
    """Checks that the card supports bf16, in which the recipes compute."""
    if not machine.card.is_gpu:
        return note("a CPU computes in fp32")
    import torch

    if not torch.cuda.is_available():
        return note(NEEDS_GPU)
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        return problem("the card does not support bf16, which the recipes use", "Use an RTX 30, an A100 or newer.")
    return ok("the card supports it")


def four_bit(machine: Machine) -> Finding:
    """Checks that bitsandbytes' native library loads, and that an NF4 round trip is accurate."""
    from core.model.libraries import quieten

    quieten()  # it also sets offline mode: on a CPU, importing bitsandbytes would request a kernel from the hub
    import torch

    device = "cuda" if _has_cuda(machine) else "cpu"
    try:
        import bitsandbytes
        from bitsandbytes import functional

        weights = torch.linspace(-1, 1, 4096, device=device).reshape(64, 64)
        packed, state = functional.quantize_4bit(weights, quant_type="nf4", compress_statistics=True)
        error = float((functional.dequantize_4bit(packed, state) - weights).abs().max())
    except Exception as e:  # its loader raises many kinds of exceptions
        return problem(
            f"4-bit weights fail on {device} ({in_one_line(e)})",
            "pip install --force-reinstall bitsandbytes; python -m bitsandbytes gives details.",
        )
    if not error < LARGEST_NF4_ERROR:
        return problem(
            f"an NF4 round trip has an error of {error:.3f} on {device}", "pip install --force-reinstall bitsandbytes"
        )
    return ok(f"bitsandbytes {bitsandbytes.__version__}: the error of an NF4 round trip on {device} is {error:.3f}")


def attention(machine: Machine) -> Finding:
    """Checks that `attn_implementation: auto` keeps packed samples from attending to each other."""
    if not machine.card.is_gpu:
        return ok("auto is sdpa with a mask that isolates packed samples")
    if has_flash_attn():
        mend = "pip uninstall flash-attn (auto is then torch's varlen kernel), or install a build for this torch."
        return _kernel_finding(machine, "auto is flash_attention_2", _flash_attn, mend)
    import torch

    if importlib.util.find_spec("torch.nn.attention.varlen") is None:
        return warning(
            f"auto is sdpa, but torch {torch.__version__} has no varlen kernel: a dense mask, 1.3 to 1.5 times slower",
            "Install the torch of constraints.txt, or flash-attn.",
        )
    mend = "Install flash-attn for this torch."
    return _kernel_finding(machine, "auto is sdpa with torch's varlen kernel", _varlen, mend)


def _flash_attn(torch: Any) -> bool:
    attend = importlib.import_module("flash_attn").flash_attn_varlen_func
    return isolates_samples(torch, attend, device="cuda")


def _varlen(torch: Any) -> bool:
    from torch.nn.attention.varlen import varlen_attn

    return isolates_samples(torch, varlen_attn, device="cuda")


def isolates_samples(torch: Any, attend: Callable[..., Any], *, device: str) -> bool:
    """Whether each of eight packed samples of one token attends only to itself, so that it returns its own value."""
    query, key, value = torch.randn(3, 8, 2, 64, device=device, dtype=torch.bfloat16)
    bounds = torch.arange(9, device=device, dtype=torch.int32)
    return bool(torch.allclose(attend(query, key, value, bounds, bounds, 1, 1), value, atol=0.01))


def liger(machine: Machine) -> Finding:
    """Checks Liger's kernels, which the card's recipe may use."""
    if not machine.card.is_gpu:
        return note(NEEDS_GPU)
    recipe, name = _recipe(machine)
    usage = f"{name} {'uses' if recipe.uses_liger else 'does not use'} it"
    if importlib.util.find_spec("liger_kernel") is None:
        finding = problem if recipe.uses_liger else warning
        return finding(f"not installed; {usage}", "pip install liger-kernel")
    return _kernel_finding(machine, usage, _rms_norm, "Mend Triton, or remove the liger_ keys from the recipe.")


def _rms_norm(torch: Any) -> bool:
    norm = importlib.import_module("liger_kernel.ops.rms_norm").LigerRMSNormFunction.apply
    ones = torch.ones(2, 64, device="cuda", dtype=torch.bfloat16)
    return bool(torch.allclose(norm(2 * ones, ones[0], 1e-6), ones, atol=0.01))


def fused_lora(machine: Machine) -> Finding:
    """Checks Axolotl's fused LoRA kernels, which a recipe may disable."""
    if not machine.card.is_gpu:
        return note("they need a GPU; on a CPU, PEFT computes LoRA")
    recipe, name = _recipe(machine)
    off = False in (recipe.lora_qkv_kernel, recipe.lora_o_kernel, recipe.lora_mlp_kernel)
    mend = "Mend Triton, or set lora_qkv_kernel, lora_o_kernel and lora_mlp_kernel to false."
    return _kernel_finding(machine, f"{name} {'disables' if off else 'uses'} them", _swiglu, mend)


def _swiglu(torch: Any) -> bool:
    from axolotl.kernels.swiglu import swiglu_forward

    ones = torch.ones(1, 2, 64, device="cuda", dtype=torch.bfloat16)
    return bool(torch.allclose(swiglu_forward(ones, ones), torch.sigmoid(ones), atol=0.01))


def _kernel_finding(machine: Machine, usage: str, compute: Callable[[Any], bool], mend: str) -> Finding:
    """The finding of a kernel, for which `compute` returns whether its result on the card is right."""
    import torch

    if not _has_cuda(machine):
        return note(f"{usage}; {NEEDS_GPU}")
    try:
        is_right = compute(torch)
    except Exception as e:  # compilers, loaders and kernels raise many kinds of exceptions
        return problem(f"{usage}; it fails: {in_one_line(e)}", mend)
    return ok(f"{usage}; it works") if is_right else problem(f"{usage}; its result is wrong", mend)


def _has_cuda(machine: Machine) -> bool:
    import torch

    return machine.card.is_gpu and torch.cuda.is_available()


def _recipe(machine: Machine) -> tuple[AxolotlConfig, str]:
    path = find_recipe(recipe_for(machine.card))
    return read_recipe(path), path.name


CHECKS: dict[str, Check] = {
    "torch": torch_build,
    "card": card,
    "card's users": users,
    "card's memory": card_memory,
    "CUDA": cuda,
    "bf16": bf16,
    "4-bit": four_bit,
    "attention": attention,
    "Liger": liger,
    "fused LoRA": fused_lora,
}
