"""Recipes: any Axolotl YAML, read without Axolotl.

    recipe = read_recipe(Path("axolotl_configs/tiny_cpu.yml"))

The keys that the harness itself works with are typed fields; the others are handed to Axolotl as they are. What becomes
of each key is sorted by `harness/keys`: a few are decided by the day and overruled.

Where it sits: **recipe** + mix + card -> axolotl_document -> axolotl_process.
"""

import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from core.model.folder import caps_attention
from harness.budget.curve import Curve, curve_of
from harness.budget.gpu_profile import GpuProfile
from harness.budget.rate import BASE_RATE, FormulaRate, formula_rate
from harness.errors import ConfigError
from harness.keys.needs import gpu_keys
from harness.keys.objective import PAIRED, Objective, check_trained, objective_of
from harness.keys.refused import refusals
from harness.keys.schema import schema, yaml_text
from harness.keys.table import KeyTable
from harness.keys.weights import Weights, check_layers, weights_of
from harness.keys.yaml_file import read_mapping

EVALS_PER_EPOCH = 4
"""Evaluations in a pass over the rows where a recipe says nothing: what most of Axolotl's examples say."""


DEFAULT_BETA = 0.1
"""Of a preference objective where a recipe says nothing: TRL's."""


AUTO = "auto"


class AxolotlConfig(BaseModel):
    """A recipe's keys, in Axolotl's spelling and with Axolotl's defaults. Their values are recorded in the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    base_model: str | None = None
    """Default base model; the option `base` overrides it."""
    overrides_of_model_config: dict[str, Any] | None = None

    adapter: Literal["qlora", "lora"] | None = None
    """None: all weights are trained."""
    load_in_4bit: bool = False
    load_in_8bit: bool = False
    lora_r: int | None = Field(default=None, gt=0)
    lora_alpha: int | None = Field(default=None, gt=0)
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    lora_target_linear: bool = False
    lora_target_modules: list[str] | str | None = None
    """`lora_target_linear` adapts all linear layers, `lora_target_modules` only those it names or matches."""
    lora_qkv_kernel: bool | None = None
    lora_o_kernel: bool | None = None
    lora_mlp_kernel: bool | None = None

    liger_rope: bool | None = None
    liger_rms_norm: bool | None = None
    liger_glu_activation: bool | None = None
    liger_fused_linear_cross_entropy: bool | None = None
    """Liger's kernels. The last one never materialises all logits, which saves 6 to 9 GB at 2 x 8192 tokens
    (computed)."""
    plugins: list[str] = Field(default_factory=list)
    """Plugins of Axolotl besides Liger's."""

    sequence_len: int = Field(default=512, gt=0)
    sample_packing: bool = False
    eval_sample_packing: bool | None = None
    """None: as `sample_packing`."""
    pad_to_sequence_len: bool | None = None
    attn_implementation: str = "auto"
    """`auto`, which Axolotl does not know, is flash_attention_2 on a GPU with the flash-attn package, else sdpa. It is
    the default, because without a value Axolotl lets packed samples attend to each other (logits differed by 0.77,
    measured)."""
    train_on_inputs: bool = False

    micro_batch_size: int = Field(default=1, gt=0)
    gradient_accumulation_steps: int = Field(default=1, gt=0)
    num_epochs: float = Field(default=1.0, gt=0)
    max_steps: int | None = Field(default=None, gt=0)
    """No more steps than these are planned; `num_epochs` then counts for nothing, as in Axolotl."""
    optimizer: str = "adamw_torch_fused"
    lr_scheduler: str = "cosine"
    """Shape of the decay. Its horizon follows from the budget, not from the epochs: see harness/budget/curve.py."""
    lr_scheduler_kwargs: dict[str, Any] | None = None
    learning_rate: float = Field(gt=0)
    learning_rate_auto: bool = False
    """Written `learning_rate: auto`. The rate is then a formula's, around which the run probes."""
    weight_decay: float = Field(default=0.0, ge=0)
    warmup_steps: int | None = Field(default=None, ge=0)
    """None, and no `warmup_ratio`: 3 % of the first horizon, 100 steps at most, as Axolotl's builder does."""
    warmup_ratio: float | None = Field(default=None, ge=0, lt=1)
    lr_quadratic_warmup: bool = False
    max_grad_norm: float = Field(default=1.0, gt=0)
    cosine_min_lr_ratio: float = Field(default=0.0, ge=0, le=1)
    """Learning rate at the horizon as a share of the peak; it also applies to a linear decay."""
    cosine_constant_lr_ratio: float = Field(default=0.0, ge=0, le=1)
    neftune_noise_alpha: float | None = Field(default=None, ge=0)
    neftune_mode: Literal["per_sample", "birbal"] = "per_sample"
    """`per_sample` scales the noise by each sample's length, as in the paper; `birbal` by the packed row's length, as
    upstream. Axolotl does not know this key."""
    gradient_accumulation_mode: Literal["token_weighted", "birbal"] = "token_weighted"
    """`token_weighted` gives each answer token of a step the same weight; `birbal` each micro-batch, as upstream.
    Axolotl does not know this key."""

    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Decay per step of an exponential moving average of the adapter, which every checkpoint holds beside its own
    weights, and which the picker tries with `average`. None: it is not kept. Axolotl does not know this key."""

    bf16: bool | Literal["auto"] = "auto"
    tf32: bool | Literal["auto"] | None = None
    gradient_checkpointing: bool | Literal["offload", "offload_disk"] = False
    gradient_checkpointing_kwargs: dict[str, Any] | None = None
    torch_compile: bool | Literal["auto"] | None = None

    logging_steps: int = Field(default=1, gt=0)
    eval_steps: float | None = Field(default=None, gt=0)
    """Steps between evaluations, or below 1 their share of the run's steps."""
    evals_per_epoch: int | None = Field(default=None, ge=0)
    save_total_limit: int = Field(default=10, gt=0)
    """Number of checkpoints to keep; the best and the newest are always kept."""
    val_set_size: float | None = Field(default=None, ge=0)
    seed: int = Field(default=42, ge=0, lt=2**32)

    data: dict[str, Any] = Field(default_factory=dict)
    """The keys that say where rows come from and how they are rendered."""
    further: dict[str, Any] = Field(default_factory=dict)
    """The other keys, which are handed to Axolotl as they are."""

    @property
    def uses_liger(self) -> bool:
        """Whether the recipe enables any of Liger's kernels."""
        given = [*((name, value) for name, value in self), *self.further.items()]
        return any(value for name, value in given if name.startswith("liger_"))

    @property
    def weights(self) -> Weights:
        """What is trained."""
        return weights_of(self.model_dump(include={"adapter", "load_in_4bit", "load_in_8bit"}))

    @property
    def is_paired(self) -> bool:
        """Whether pairs of answers are trained, against a reference."""
        return self.further.get("rl") in PAIRED

    @property
    def measured_beta(self) -> float | None:
        """The beta of a loss on pairs that the picker can measure; None for every other loss."""
        plain = self.further.get("rl") == "dpo" and not any(key.startswith("dpo_") for key in self.further)
        return float(self.further.get("rl_beta") or DEFAULT_BETA) if plain else None

    @property
    def adapted_layers(self) -> str:
        """The layers that get an adapter, in words."""
        if self.lora_target_linear:
            return "all linear layers"
        named = self.lora_target_modules or self.further.get("lora_target_parameters") or []
        return named if isinstance(named, str) else ", ".join(named)

    def curve(self) -> Curve:
        """The shape of the learning rate.

        Raises:
            ConfigError: The recipe names none that is a function of the planned schedule.
        """
        return curve_of(self.model_dump())

    def planned(self, steps_per_epoch: float, num_steps: int) -> "AxolotlConfig":
        """The recipe with `eval_steps` as a number of steps, for a run whose batches are known."""
        if self.eval_steps is None:
            wished = steps_per_epoch / (self.evals_per_epoch or EVALS_PER_EPOCH)
        else:
            wished = self.eval_steps * num_steps if self.eval_steps < 1 else self.eval_steps
        return self.model_copy(update={"eval_steps": max(1, math.ceil(wished))})

    @property
    def evaluation_interval(self) -> int:
        """Steps from an evaluation and save to the next, of a recipe that is `planned` or names them."""
        assert self.eval_steps is not None, "the batches are known"
        return int(self.eval_steps)

    @property
    def target_modules(self) -> list[str]:
        """The names in `lora_target_modules`; a pattern is none."""
        return self.lora_target_modules if isinstance(self.lora_target_modules, list) else []

    @field_validator("*", mode="before")
    @classmethod
    def _is_json_value(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses YAML values that JSON cannot hold (sets, bytes, huge numbers), and `true` for a number."""
        kind = cls.model_fields[str(info.field_name)].annotation
        parts = {kind, *get_args(kind)}
        if isinstance(value, bool) and {int, float} & parts and bool not in parts:
            raise ValueError(f"{str(value).lower()} is not a number")
        try:
            orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
        except TypeError as e:
            raise ValueError(f"JSON cannot hold this value ({e})") from e
        return value


DATA_KEYS = (
    "datasets", "test_datasets", "pretraining_dataset", "chat_template", "chat_template_jinja", "chat_template_kwargs",
    "default_system_message", "eot_tokens",
)  # fmt: skip
"""Keys that say where rows come from and how they are rendered. They are read before the trainer starts."""


def recipe_of(table: KeyTable) -> AxolotlConfig:
    """The recipe of sorted keys.

    Raises:
        ConfigError: It asks for what the harness cannot train, or a value is out of range.
    """
    asked = objective_of(table.values)
    if why := [*refusals(table.values, table.plugins), *(f"{p}. Mend the value" for p in table.problems)]:
        raise ConfigError(f"{'. '.join(why)}.")
    check_trained(asked, table.values)
    if weights_of(table.values).is_adapter:
        check_layers(table.values)
    recipe = _typed(table)
    recipe.curve()
    if recipe.ema_decay is not None and not recipe.weights.is_adapter:
        raise ConfigError(
            "ema_decay: the average is kept of an adapter, and this recipe trains all weights. Remove it."
        )
    if recipe.optimizer not in schema().optimizers:
        near = schema().nearest_optimizer(recipe.optimizer)
        raise ConfigError(f"optimizer: {recipe.optimizer} is none of Axolotl's. Use {near}.")
    return recipe


def _typed(table: KeyTable) -> AxolotlConfig:
    values = dict(table.values)
    if values.get("adapter") == "qlora":
        values["load_in_4bit"] = True
    if values.get("learning_rate") == AUTO:
        values |= {"learning_rate": BASE_RATE, "learning_rate_auto": True}
    fields = set(AxolotlConfig.model_fields) - {"data", "further"}
    typed = {key: value for key, value in values.items() if key in fields}
    data = {key: value for key, value in values.items() if key in DATA_KEYS}
    further = {key: value for key, value in values.items() if key not in typed and key not in data}
    try:
        return AxolotlConfig(**typed, plugins=list(table.plugins.values()), data=data, further=further)
    except ValidationError as e:
        first = e.errors()[0]
        key = ".".join(map(str, first["loc"][:1]))
        said = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{key}: {said}. Mend the value." if key else f"{said}.") from e


def with_rate(recipe: AxolotlConfig, config: Mapping[str, object]) -> tuple[AxolotlConfig, FormulaRate]:
    """A recipe with `learning_rate: auto` with the formula's rate for a base of this `config.json`."""
    found = formula_rate(
        config,
        is_adapter=recipe.weights.is_adapter,
        alpha=recipe.lora_alpha,
        rank=recipe.lora_r if recipe.further.get("peft_use_rslora") else None,
    )
    return recipe.model_copy(update={"learning_rate": found.rate}), found


def read_recipe(path: Path) -> AxolotlConfig:
    """Reads and checks a recipe.

    Raises:
        ConfigError: The file is unreadable, or asks for what the harness cannot train; the message names the key.
    """
    raw = read_mapping(path)
    try:
        return recipe_of(KeyTable.of(raw))
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from e


def objective(recipe: AxolotlConfig) -> Objective:
    """What the recipe's loss is computed on."""
    return objective_of({**recipe.data, **recipe.further})


def with_attention(recipe: AxolotlConfig, card: GpuProfile, base: Path | None = None) -> AxolotlConfig:
    """The recipe with `attn_implementation: auto` resolved for this machine and, where it is known, this base."""
    if recipe.attn_implementation != "auto":
        return recipe
    chosen = "eager" if base is not None and caps_attention(base) else "sdpa"
    if card.is_gpu and has_flash_attn():
        chosen = "flash_attention_2"
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


def find_recipe(path: Path) -> Path:
    """The file itself, or the shipped recipe of that name, so that `axolotl_configs/x.yml` works from any folder."""
    shipped = Path(__file__).resolve().parent.parent / "axolotl_configs" / path.name
    return shipped if not path.exists() and path.parent.name in ("", "axolotl_configs") and shipped.exists() else path


def asked_of(recipe: AxolotlConfig) -> Mapping[str, Any]:
    """The recipe's keys with values, as Axolotl spells them."""
    dumped = recipe.model_dump(exclude={"data", "further"}, exclude_none=True)
    return {**dumped, **recipe.data, **recipe.further}


def check_card(recipe: AxolotlConfig, card: GpuProfile) -> None:
    """Refuses a recipe that the card cannot run.

    Raises:
        ConfigError: The message names every key that needs a GPU.
    """
    if card.is_gpu:
        return
    asked = asked_of(recipe)
    if found := gpu_keys(asked):
        named = ", ".join(f"{key}: {yaml_text(asked[key])}" for key in found)
        raise ConfigError(
            f"`card=cpu`: the recipe needs a GPU for {named}. Take these keys out, with optimizer: adamw_torch and "
            "attn_implementation: sdpa, or use axolotl_configs/tiny_cpu.yml."
        )
