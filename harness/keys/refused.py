"""What a recipe may ask for that a day cannot give: by key, with the reason and the mend.

    refusals({"fsdp": ["full_shard"], "fsdp_config": {...}})
    # ["fsdp, fsdp_config: made for several GPUs, and a run has one. Remove these keys"]

Where it sits: below the table of a recipe's keys.
"""

from collections.abc import Mapping
from typing import Any

SEVERAL_GPUS = "made for several GPUs, and a run has one. Remove {them}"
IMAGES = "made for images or sound, and a run trains on text. Take a recipe for text"
MERGING = "merges the adapter into the base during training, so that the adapter alone is not what was trained"
LISA = "draws the layers that are trained from a generator that a resume leaves in another state"
KEEPS_THE_BASE = (True, False, "true", "false", "gaussian", "orthogonal")
"""Values of `peft_init_lora_weights` that begin with an adapter of no effect, or with one that only adds. The others,
such as `pissa` and `olora`, take a part of the base's weights into the adapter, or read data before the training."""
LOFTQ = "changes the base's weights, so that the adapter alone is not what was trained. Remove it"
INIT = "begins from another adapter, which no command of ours does yet. Merge it first and train on the merged model"
TRAINER = "names a trainer of its own, and the budget lives in ours. Remove {them}"
ONLINE = "generates answers during training, which has no plan of its batches"
ONEBIT = "trains weights of one bit, which no checkpoint of ours can hold"

_GROUPS: Mapping[str, str] = {
    SEVERAL_GPUS: """fsdp fsdp_config fsdp_version deepspeed deepcompile fp8_enable_fsdp_float8_all_gather
        tensor_parallel_size context_parallel_size sequence_parallel_degree dp_shard_size dp_replicate_size
        heads_k_stride ring_attn_func expert_parallel_size qlora_sharded_model_loading""",
    IMAGES: "processor_type processor_kwargs image_size image_resize_algorithm role_boundaries",
    MERGING: """relora relora_prune_ratio relora_prune_method relora_cpu_offload jagged_restart_steps
        jagged_restart_warmup_steps jagged_restart_anneal_steps""",
    LISA: "lisa_n_layers lisa_step_interval lisa_layers_attribute",
    INIT: "lora_model_dir",
    TRAINER: "trainer_cls",
    ONEBIT: "use_onebitllms",
}

REFUSED: Mapping[str, str] = {key: reason for reason, keys in _GROUPS.items() for key in keys.split()}
"""Why, by key."""

REFUSED_PLUGINS: Mapping[str, str] = {
    "axolotl.integrations.kd": "distils from a teacher's logits, which the tokenised rows do not hold",
    "axolotl.integrations.hatchery": "trains on a server elsewhere",
    "axolotl.integrations.nemo_gym": ONLINE,
    "axolotl.integrations.expert_parallel": SEVERAL_GPUS,
    "axolotl.integrations.mora": "trains an adapter that is not LoRA, which no command of ours loads",
}
"""Why, by the plugin's package."""

_SIZES = [
    "tensor_parallel_size",
    "context_parallel_size",
    "sequence_parallel_degree",
    "dp_shard_size",
    "dp_replicate_size",
    "expert_parallel_size",
]
"""Keys that ask for nothing where they are 1."""


def refusals(values: Mapping[str, Any], plugins: Mapping[str, str]) -> list[str]:
    """Why a recipe cannot be trained, one text for each reason, all its keys named.

    Args:
        values: The recipe's keys that hold something.
        plugins: Names of its plugins, by package.
    """
    found: dict[str, list[str]] = {}
    for key, value in values.items():
        if key in REFUSED and value and not (key in _SIZES and value == 1):
            found.setdefault(REFUSED[key], []).append(key)
    for package, name in plugins.items():
        if package in REFUSED_PLUGINS:
            found.setdefault(REFUSED_PLUGINS[package], []).append(name.rpartition(".")[2])
    peft = values.get("peft")
    if isinstance(peft, Mapping) and peft.get("loftq_config"):
        found.setdefault(LOFTQ, []).append("peft.loftq_config")
    if values.get("peft_init_lora_weights", True) not in KEEPS_THE_BASE:
        found.setdefault(LOFTQ, []).append("peft_init_lora_weights")
    if values.get("reinit_weights") and values.get("adapter"):
        found.setdefault(LOFTQ, []).append("reinit_weights")
    return [
        f"{', '.join(keys)}: {reason.format(them='these keys' if len(keys) > 1 else 'this key')}"
        for reason, keys in found.items()
    ]
