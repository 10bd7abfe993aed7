"""A stage of a study: one kind of training with its settings, in Axolotl's spelling where Axolotl has the key.

    stage = Stage(name="sft", kind="sft", data=..., weights="full", learning_rate=2e-5, num_epochs=3)
    stage.settings()["lr_scheduler"]      # "cosine": defaults are filled in, keys without effect are left out

Where it sits: study.py holds the stages, arm.py changes them, identity.py hashes their settings.
"""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, model_validator

from studies.data import StageData
from studies.document import Strict

BASE = "base"
"""The parent of a stage that starts from the base model."""


class Kind(StrEnum):
    """What a stage does."""

    CPT = "cpt"
    """Goes on with pre-training, on plain text."""
    SFT = "sft"
    """Supervised fine-tuning, on conversations."""
    FEEDBACK = "feedback"
    """The same on responses that people rated positive."""
    DPO = "dpo"
    """Direct preference optimisation. Its reference is its parent."""


_LORA = frozenset({"lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"})
_DPO = frozenset({"beta", "max_prompt_tokens"})


class Stage(Strict):
    """One stage."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    kind: Kind
    parent: str | None = None
    """A stage, or `base`. None: the stage before; of the first, the base."""
    data: StageData

    weights: Literal["full", "lora", "qlora"]
    """What is trained. Required, because it is never guessed."""
    lora_r: int = Field(default=16, gt=0)
    lora_alpha: int = Field(default=32, gt=0)
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    lora_target_modules: tuple[str, ...] = ()
    """Empty: all linear layers."""

    loss: Literal["all", "responses", "last"] | None = None
    """Which tokens of a conversation count: all, those of every response, or those of the last one. None: the
    responses; of cpt, all."""
    learning_rate: float = Field(gt=0)
    lr_scheduler: Literal["cosine", "linear", "constant", "polynomial", "inverse_sqrt"] = "cosine"
    lr_end: float = Field(default=0.0, ge=0, lt=1)
    """The rate at the end of a cosine, linear or polynomial decay, as a share of `learning_rate`."""
    warmup_ratio: float = Field(default=0.0, ge=0, lt=1)
    warmup_steps: int | None = Field(default=None, ge=0)
    num_epochs: float | None = Field(default=None, gt=0)
    max_steps: int | None = Field(default=None, gt=0)
    """The declared length: epochs or optimizer steps, one of both."""
    micro_batch_size: int = Field(default=1, gt=0)
    gradient_accumulation_steps: int = Field(default=1, gt=0)
    sequence_len: int = Field(default=2048, gt=0)
    sample_packing: bool = True
    excess_length_strategy: Literal["auto", "drop", "truncate", "split"] = "auto"
    """Of an example longer than `sequence_len`. `auto`: text is split, and other examples are dropped."""
    optimizer: str = "adamw_torch"
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    neftune_noise_alpha: float | None = Field(default=None, gt=0)
    gradient_checkpointing: bool = True
    eval_steps: int = Field(default=64, gt=0)
    """Optimizer steps between two evaluations, each with a checkpoint."""

    axolotl: dict[str, Any] = Field(default_factory=dict)
    """Further keys of Axolotl, given to it as they are."""

    beta: float | None = Field(default=None, gt=0)
    """Of DPO."""
    max_prompt_tokens: int | None = Field(default=None, gt=0)
    """Pairs with a longer prompt are left out."""

    @model_validator(mode="after")
    def _has_one_length(self) -> "Stage":
        if (self.num_epochs is None) == (self.max_steps is None):
            raise ValueError("give num_epochs or max_steps, one of both")
        if self.warmup_steps is not None and self.warmup_ratio > 0:
            raise ValueError("warmup_steps and warmup_ratio are both given; take one of them away")
        if self.lr_end and self.lr_scheduler in ("constant", "inverse_sqrt"):
            raise ValueError(f"lr_end has no effect with lr_scheduler: {self.lr_scheduler}; take it away")
        return self

    @model_validator(mode="after")
    def _sets_nothing_without_effect(self) -> "Stage":
        given = self.model_fields_set
        if self.kind is Kind.DPO:
            self._check_dpo(given)
        elif useless := sorted(given & _DPO):
            raise ValueError(f"{useless[0]} is a key of kind dpo, and this stage is {self.kind}; take it away")
        if self.kind is Kind.CPT and self.loss not in (None, "all"):
            raise ValueError(f"loss: {self.loss}: plain text has no responses; take loss away")
        if (self.data.build == "preferences") != (self.kind is Kind.DPO):
            raise ValueError(f"data.build {self.data.build} does not fit kind {self.kind}")
        return self

    def _check_dpo(self, given: set[str]) -> None:
        if self.beta is None:
            raise ValueError("kind dpo needs beta")
        if self.neftune_noise_alpha is not None:
            raise ValueError("neftune_noise_alpha does nothing under kind dpo; take it away")
        if self.loss is not None:
            raise ValueError("loss has no effect under kind dpo; take it away")
        if "sample_packing" in given and self.sample_packing:
            raise ValueError("sample_packing has no effect under kind dpo: pairs are not packed; take it away")

    @property
    def unused(self) -> list[str]:
        """Keys that were given and have no effect. An arm may inherit such; a study may not say them."""
        return sorted(self.model_fields_set & _LORA) if self.weights == "full" else []

    @property
    def packs(self) -> bool:
        """Whether several samples share a row; pairs never do."""
        return self.sample_packing and self.kind is not Kind.DPO

    @property
    def batch_sequences(self) -> int:
        """Rows of an optimizer step; with packing a row holds several samples."""
        return self.micro_batch_size * self.gradient_accumulation_steps

    @property
    def batch_tokens(self) -> int:
        """Slots for tokens of an optimizer step."""
        return self.batch_sequences * self.sequence_len

    def settings(self) -> dict[str, Any]:
        """What decides the training besides data, parent and seed: defaults filled in, keys without effect left out."""
        found = self.model_dump(mode="json", exclude={"name", "parent", "data"})
        found["loss"] = (
            None if self.kind is Kind.DPO else self.loss or ("all" if self.kind is Kind.CPT else "responses")
        )
        found["sample_packing"] = self.packs
        left_out = (_LORA if self.weights == "full" else frozenset()) | (frozenset() if self.beta else _DPO)
        return {key: value for key, value in found.items() if key not in left_out and value is not None}
