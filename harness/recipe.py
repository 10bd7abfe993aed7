"""Recipes: YAML files with a typed subset of Axolotl's keys.

    recipe = read_recipe(Path("axolotl_configs/tiny_cpu.yml"))

Axolotl silently ignores unknown keys; in a recipe they are errors.

Where it sits: **recipe** + mix + card -> axolotl_document -> axolotl_process.
"""

import importlib.util
from pathlib import Path
from typing import Any, Literal, get_args

import orjson
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from harness.budget.gpu_profile import GpuProfile
from harness.errors import ConfigError


class AxolotlConfig(BaseModel):
    """The keys that a recipe may hold, in Axolotl's spelling. Their values are recorded in the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    base_model: str | None = None
    """Default base model; the option `base` overrides it."""
    overrides_of_model_config: dict[str, Any] | None = None

    adapter: Literal["qlora", "lora"]
    """Required: without it Axolotl trains all weights."""
    load_in_4bit: bool
    """True for qlora, false for lora; derived from `adapter` if it is left out."""
    lora_r: int = Field(gt=0)
    lora_alpha: int = Field(gt=0)
    lora_dropout: float = Field(ge=0, lt=1)
    lora_target_linear: bool = False
    lora_target_modules: list[str] | None = None
    """`lora_target_linear` adapts all linear layers, `lora_target_modules` only those it names."""
    lora_qkv_kernel: bool | None = None
    lora_o_kernel: bool | None = None
    lora_mlp_kernel: bool | None = None

    liger_rope: bool | None = None
    liger_rms_norm: bool | None = None
    liger_glu_activation: bool | None = None
    liger_fused_linear_cross_entropy: bool | None = None
    """Liger's kernels. The last one never materialises all logits, which saves 6 to 9 GB at 2 x 8192 tokens
    (computed)."""

    sequence_len: int = Field(gt=0)
    sample_packing: bool = True
    eval_sample_packing: bool = True
    pad_to_sequence_len: bool = True
    attn_implementation: Literal["auto", "sdpa", "eager", "flex_attention", "flash_attention_2"]
    """Required: without it Axolotl lets packed samples attend to each other (logits differed by 0.77, measured).
    `auto`, which Axolotl does not know, is flash_attention_2 on a GPU with the flash-attn package, else sdpa."""
    train_on_inputs: Literal[False] = False

    micro_batch_size: int = Field(gt=0)
    gradient_accumulation_steps: int = Field(gt=0)
    num_epochs: float = Field(gt=0)
    optimizer: Literal["paged_adamw_32bit", "paged_adamw_8bit", "adamw_torch", "adamw_torch_fused"]
    lr_scheduler: Literal["cosine", "linear"]
    """Shape of the decay. Its horizon follows from the budget, not from the epochs: see harness/budget/schedule.py."""
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup_steps: int = Field(ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    cosine_min_lr_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Learning rate at the horizon as a share of the peak; it also applies to a linear decay."""
    neftune_noise_alpha: float | None = Field(default=None, ge=0)
    neftune_mode: Literal["per_sample", "birbal"] = "per_sample"
    """`per_sample` scales the noise by each sample's length, as in the paper; `birbal` by the packed row's length, as
    upstream. Axolotl does not know this key."""
    gradient_accumulation_mode: Literal["token_weighted", "birbal"] = "token_weighted"
    """`token_weighted` gives each answer token of a step the same weight; `birbal` each micro-batch, as upstream.
    Axolotl does not know this key."""

    bf16: bool | Literal["auto"] = "auto"
    tf32: bool = False
    gradient_checkpointing: bool = False
    gradient_checkpointing_kwargs: dict[str, Any] | None = None
    torch_compile: bool | None = None

    logging_steps: int = Field(default=1, gt=0)
    eval_steps: int = Field(gt=0)
    save_steps: int = Field(gt=0)
    save_total_limit: int = Field(default=10, gt=1)
    """Number of checkpoints to keep; the best and the newest are always kept."""
    seed: int = Field(default=2023, ge=0, lt=2**32)

    @property
    def uses_liger(self) -> bool:
        """Whether the recipe enables any of Liger's kernels."""
        return any(value for name, value in self if name.startswith("liger_"))

    @field_validator("*", mode="before")
    @classmethod
    def _is_json_value(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses YAML values that JSON cannot hold (sets, bytes, huge numbers), and `true` for a number."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and {int, float} & {kind, *get_args(kind)}:
            raise ValueError(f"{str(value).lower()} is not a number")
        try:
            orjson.dumps(value)
        except TypeError as e:
            raise ValueError(f"JSON cannot hold this value ({e})") from e
        return value

    @model_validator(mode="before")
    @classmethod
    def _names_adapter_and_layers(cls, raw: Any) -> Any:
        """Requires `adapter` and its layers, and checks or derives `load_in_4bit`."""
        if not isinstance(raw, dict):
            return raw
        adapter = raw.get("adapter")
        if adapter is None:
            raise ValueError("adapter is missing: Axolotl would train all weights. Write adapter: qlora, or lora")
        if not raw.get("lora_target_linear") and not raw.get("lora_target_modules"):
            raise ValueError(
                "the layers of the adapter are missing. Write lora_target_linear: true, or name lora_target_modules"
            )
        four_bit = raw.get("load_in_4bit", adapter == "qlora")
        if isinstance(four_bit, bool) and four_bit != (adapter == "qlora"):
            raise ValueError(f"adapter: {adapter} with load_in_4bit: {str(four_bit).lower()}. Only qlora loads 4 bits")
        return {**raw, "load_in_4bit": four_bit}

    @property
    def adapted_layers(self) -> str:
        """The layers that get an adapter, in words."""
        return "all linear layers" if self.lora_target_linear else ", ".join(self.lora_target_modules or [])

    @model_validator(mode="after")
    def _saves_what_it_evaluates(self) -> "AxolotlConfig":
        if self.eval_steps != self.save_steps:
            raise ValueError(
                f"eval_steps {self.eval_steps} and save_steps {self.save_steps} differ, so that the step with the best "
                "evaluation may have no checkpoint. Make them equal"
            )
        return self


def with_attention(recipe: AxolotlConfig, card: GpuProfile) -> AxolotlConfig:
    """The recipe with `attn_implementation: auto` resolved for this machine."""
    if recipe.attn_implementation != "auto":
        return recipe
    chosen = "flash_attention_2" if card.is_gpu and has_flash_attn() else "sdpa"
    return recipe.model_copy(update={"attn_implementation": chosen})


def has_flash_attn() -> bool:
    """Whether the flash-attn package is installed."""
    return importlib.util.find_spec("flash_attn") is not None


def recipe_for(card: GpuProfile) -> Path:
    """The recommended recipe for a card."""
    if not card.is_gpu:
        return Path("axolotl_configs/tiny_cpu.yml")
    name = "a100_40gb" if card.memory_gib >= LARGE_GIB else "4090"
    return Path(f"axolotl_configs/mistral_7b_qlora_{name}.yml")


LARGE_GIB = 40.0
"""Memory that the A100 recipe is made for; smaller cards get the recipe of the RTX 4090."""


class _UniqueKeys(yaml.SafeLoader):
    """Refuses duplicate keys, of which PyYAML would use the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Raises ConstructorError if a key occurs twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                mark = node.value[number][0].start_mark
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} occurs twice", mark)
        return super().construct_mapping(node, deep)


def find_recipe(path: Path) -> Path:
    """The file itself, or the shipped recipe of that name, so that `axolotl_configs/x.yml` works from any folder."""
    shipped = Path(__file__).resolve().parent.parent / "axolotl_configs" / path.name
    return shipped if not path.exists() and path.parent.name in ("", "axolotl_configs") and shipped.exists() else path


def read_recipe(path: Path) -> AxolotlConfig:
    """Reads and checks a recipe.

    Raises:
        ConfigError: The file is unreadable, or has an unknown key or a wrong value; the message names the key.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)  # a SafeLoader
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read ({e}). `config=` takes a recipe of axolotl_configs/.") from e
    except yaml.YAMLError as e:
        problem = " ".join(str(e).replace('"<unicode string>", ', "").split())
        raise ConfigError(f"{path}: not YAML ({problem}). Mend the file.") from e
    except RecursionError as e:
        raise ConfigError(f"{path}: nested too deeply. A recipe is a flat mapping; mend the file.") from e
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: not a recipe, which is a mapping of Axolotl's keys. See axolotl_configs/.")
    unknown = sorted(str(key) for key in set(raw) - set(AxolotlConfig.model_fields))
    if unknown:
        raise ConfigError(
            f"{path}: unknown key '{unknown[0]}'. Axolotl would ignore it. Remove it, or add it to AxolotlConfig "
            "(harness/recipe.py)."
        )
    try:
        return AxolotlConfig(**raw)
    except ValidationError as e:
        first = e.errors()[0]
        key = ".".join(map(str, first["loc"]))
        where = f"{path}: {key}" if key else str(path)
        raise ConfigError(f"{where}: {first['msg'].removeprefix('Value error, ')}. Mend the value.") from e


def check_card(recipe: AxolotlConfig, card: GpuProfile) -> None:
    """Refuses a recipe that the card cannot run.

    Raises:
        ConfigError: The message names the key and the value to use.
    """
    if card.is_gpu:
        return
    problem = None
    if recipe.optimizer.startswith("paged_"):
        problem = f"optimizer {recipe.optimizer} needs a GPU; use adamw_torch"
    elif recipe.bf16 is True:
        problem = "bf16: true needs a GPU; use auto"
    elif recipe.uses_liger:
        problem = "liger_ kernels need a GPU; leave them out"
    elif recipe.attn_implementation == "flash_attention_2":
        problem = "attn_implementation flash_attention_2 needs a GPU; use sdpa"
    if problem:
        raise ConfigError(f"`card=cpu`: {problem}, or use axolotl_configs/tiny_cpu.yml.")
