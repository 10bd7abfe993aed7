"""What the doctor says of torch, of the card and of the kernels that a step runs on it.

    attempt("CUDA", cuda, machine)    # "driver 550.54.14 is too old for CUDA 13.0, which needs 580: ..."

Installed is not the same as working: on a card each kernel computes something small that is known beforehand.

Where it sits: beside doctor.py. Everything heavy is imported by the check that needs it.
"""

import importlib
import importlib.util
import math
from collections.abc import Callable
from typing import Any

from harness.budget.memory import MISTRAL_7B, recipe_peak_memory
from harness.doctor.builds import NEEDS_CARD, needed_driver
from harness.doctor.card import MOST_OCCUPIED_GIB, Gpu, check_gpu
from harness.doctor.doctor import Check, Finding, Machine, in_one_line, note, ok, problem, warning
from harness.recipe import AxolotlConfig, find_recipe, has_flash_attn, read_recipe, recipe_for

LARGEST_NF4_ERROR = 0.1
"""Of the values tried, in [-1, 1]: 0.034 measured on a CPU; a wrong code or scale is off by more."""


def torch_build(machine: Machine) -> Finding:
    """Which torch, for which CUDA."""
    try:
        import torch
    except (ImportError, OSError) as e:
        return problem(f"torch cannot be imported ({in_one_line(e)})", "pip install 'oneday-llm[train]'")
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    what = f"torch {torch.__version__}, a {build} build"
    if machine.card.is_gpu and not torch.version.cuda:
        version = torch.__version__.partition("+")[0]
        mend = f"pip install --force-reinstall 'torch=={version}' --index-url https://pypi.org/simple"
        return problem(f"{what}, but the run is for {machine.card.name}", mend)
    return ok(what)


def card(machine: Machine) -> Finding:
    """Which card, and whether it is what its profile says.

    Raises:
        ConfigError: none, or a smaller one than named.
    """
    gpu = machine.gpu
    if not machine.card.is_gpu:
        return note(f"{gpu.name} stays unused: the profile is cpu") if gpu else ok("none: the profile is cpu")
    check_gpu(machine.card, gpu, shared=True)
    assert gpu is not None
    unknown = "" if machine.card.has_speed else ", whose speed is not known before a rehearsal"
    return ok(f"{gpu.described}, driver {gpu.driver or 'unknown'}; profile {machine.card.name}{unknown}")


def users(machine: Machine) -> Finding | None:
    """Who else uses it."""
    gpu = machine.gpu
    if gpu is None:
        return None
    if math.isnan(gpu.used_gib):
        return note("the driver does not tell what is in use")
    by = f" by {'; '.join(gpu.processes[:3])}" if gpu.processes else ""
    what = f"{gpu.used_gib:.1f} of {gpu.total_gib:.1f} GiB are in use{by}"
    if machine.card.is_gpu and gpu.used_gib > MOST_OCCUPIED_GIB:
        return warning(what, "End that, or train with `shared_card=true`.")
    return ok(what)


def card_memory(machine: Machine) -> Finding | None:
    """What is free on it, against what the card's recommended recipe needs with a 7B base."""
    gpu = machine.gpu
    if gpu is None or not machine.card.is_gpu or math.isnan(gpu.total_gib - gpu.used_gib):
        return None
    recipe, name = _recipe(machine)
    need = recipe_peak_memory(recipe, MISTRAL_7B).gib
    free = min(gpu.total_gib - gpu.used_gib, machine.card.memory_gib)
    what = f"{free:.1f} GiB for us; {name} needs {need:.1f} with a 7B base (computed, to 1.5)"
    if free < need:
        return warning(what, "Free the card, or train with `auto_fit=true`.")
    return ok(what)


def cuda(machine: Machine) -> Finding | None:
    """Whether torch's CUDA runs with this driver."""
    import torch

    return cuda_runs(torch, machine.gpu) if machine.card.is_gpu and torch.version.cuda else None


def cuda_runs(torch: Any, gpu: Gpu | None) -> Finding:
    """A product on the card; what the driver has against it, if it fails."""
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
            "See that nvidia-smi works and the card is free; then restart the container or the machine.",
        )
    if total != 16.0**3:
        return problem(f"a product on the card came out as {total:g}, not {16**3}", "Do not train on this card.")
    return ok(f"CUDA {version} computes with driver {driver}")


def bf16(machine: Machine) -> Finding | None:
    """What a step computes in."""
    if not machine.card.is_gpu:
        return note("a CPU computes in fp32")
    import torch

    if not torch.cuda.is_available():
        return note(NEEDS_CARD)
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        return problem("the card has none, and the recipes are for it", "Take an RTX 30, an A100 or newer.")
    return ok("the card has it")


def four_bit(machine: Machine) -> Finding:
    """Whether bitsandbytes' native library loads, and NF4 there and back is what it should be."""
    from core.model.libraries import quieten

    quieten()  # and offline: on a CPU bitsandbytes would ask the hub for a kernel when it is imported
    import torch

    device = "cuda" if _on_card(machine) else "cpu"
    try:
        import bitsandbytes
        from bitsandbytes import functional

        weights = torch.linspace(-1, 1, 4096, device=device).reshape(64, 64)
        packed, state = functional.quantize_4bit(weights, quant_type="nf4", compress_statistics=True)
        error = float((functional.dequantize_4bit(packed, state) - weights).abs().max())
    except Exception as e:  # it raises whatever its loader met
        return problem(
            f"4-bit weights fail on {device} ({in_one_line(e)})",
            "pip install --force-reinstall bitsandbytes; python -m bitsandbytes says more.",
        )
    if not error < LARGEST_NF4_ERROR:
        return problem(f"NF4 and back is off by {error:.3f} on {device}", "pip install --force-reinstall bitsandbytes")
    return ok(f"bitsandbytes {bitsandbytes.__version__}: NF4 and back on {device}, off by {error:.3f} at most")


def attention(machine: Machine) -> Finding:
    """What attn_implementation `auto` comes to here, and whether it keeps packed samples apart."""
    if not machine.card.is_gpu:
        return ok("auto is sdpa with a mask that keeps packed samples apart")
    if has_flash_attn():
        mend = "pip uninstall flash-attn (auto is torch's varlen kernel then), or install a build for this torch."
        return _proved(machine, "auto is flash_attention_2", _flash_attn, mend)
    import torch

    if importlib.util.find_spec("torch.nn.attention.varlen") is None:
        return warning(
            f"auto is sdpa, but torch {torch.__version__} has no varlen kernel: a dense mask, 1.3 to 1.5 times slower",
            "Install the torch of constraints.txt, or flash-attn.",
        )
    return _proved(machine, "auto is sdpa with torch's varlen kernel", _varlen, "Install flash-attn for this torch.")


def _flash_attn(torch: Any) -> bool:
    attend = importlib.import_module("flash_attn").flash_attn_varlen_func
    return attends_apart(torch, attend, device="cuda")


def _varlen(torch: Any) -> bool:
    from torch.nn.attention.varlen import varlen_attn

    return attends_apart(torch, varlen_attn, device="cuda")


def attends_apart(torch: Any, attend: Callable[..., Any], *, device: str) -> bool:
    """Whether eight samples of one token each get their own value back, as they must."""
    query, key, value = torch.randn(3, 8, 2, 64, device=device, dtype=torch.bfloat16)
    bounds = torch.arange(9, device=device, dtype=torch.int32)
    return bool(torch.allclose(attend(query, key, value, bounds, bounds, 1, 1), value, atol=0.01))


def liger(machine: Machine) -> Finding:
    """Liger's kernels, where the card's recipe asks for them."""
    if not machine.card.is_gpu:
        return note(NEEDS_CARD)
    recipe, name = _recipe(machine)
    if importlib.util.find_spec("liger_kernel") is None:
        say = problem if recipe.uses_liger else warning
        return say(
            f"not installed; {name} {'asks' if recipe.uses_liger else 'does not ask'} for it",
            "pip install liger-kernel",
        )
    used = f"{name} {'uses' if recipe.uses_liger else 'does not use'} it"
    return _proved(machine, used, _rms_norm, "Mend Triton, or leave the liger_ keys out of the recipe.")


def _rms_norm(torch: Any) -> bool:
    norm = importlib.import_module("liger_kernel.ops.rms_norm").LigerRMSNormFunction.apply
    ones = torch.ones(2, 64, device="cuda", dtype=torch.bfloat16)
    return bool(torch.allclose(norm(2 * ones, ones[0], 1e-6), ones, atol=0.01))


def fused_lora(machine: Machine) -> Finding:
    """Axolotl's fused LoRA kernels, on unless a recipe says no."""
    if not machine.card.is_gpu:
        return note("they need a GPU; plain PEFT computes LoRA here")
    recipe, name = _recipe(machine)
    off = False in (recipe.lora_qkv_kernel, recipe.lora_o_kernel, recipe.lora_mlp_kernel)
    mend = "Mend Triton, or set lora_qkv_kernel, lora_o_kernel and lora_mlp_kernel to false."
    return _proved(machine, f"{name} {'switches them off' if off else 'has them on'}", _swiglu, mend)


def _swiglu(torch: Any) -> bool:
    from axolotl.kernels.swiglu import swiglu_forward

    ones = torch.ones(1, 2, 64, device="cuda", dtype=torch.bfloat16)
    return bool(torch.allclose(swiglu_forward(ones, ones), torch.sigmoid(ones), atol=0.01))


def _proved(machine: Machine, what: str, compute: Callable[[Any], bool], mend: str) -> Finding:
    """What was computed on the card came out right."""
    import torch

    if not _on_card(machine):
        return note(f"{what}; {NEEDS_CARD}")
    try:
        right = compute(torch)
    except Exception as e:  # a compiler, a loader or a kernel fails in its own way
        return problem(f"{what}, and fails: {in_one_line(e)}", mend)
    return ok(f"{what}; works") if right else problem(f"{what}, and computes something else", mend)


def _on_card(machine: Machine) -> bool:
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
