"""LoRA adapters for the tests, written by PEFT itself: the more noise one has, the worse it is."""

from pathlib import Path

import torch

from core.model.language_model import LanguageModel


def write_adapters(folder: Path, base: Path, noises: dict[str, float], *, rank: int = 4) -> list[Path]:
    """One adapter for each name. Noise 0 leaves the base as it is."""
    from peft import LoraConfig, get_peft_model

    model = LanguageModel.load(base).model
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    tuned = get_peft_model(model, config)
    written = []
    for number, (name, noise) in enumerate(noises.items()):
        torch.manual_seed(number)
        for key, tensor in tuned.named_parameters():
            if "lora_" in key:
                tensor.data = torch.randn_like(tensor) * (noise if "lora_B" in key else 1.0)
        tuned.save_pretrained(folder / name)
        written.append(folder / name)
    return written
