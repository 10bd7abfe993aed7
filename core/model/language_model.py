"""A causal language model from local files. No other module loads weights outside the trainer.

    model = LanguageModel.load(Path("oneday/demo/demo_base"))
    model.generate(["### Instruction:\\nSay hello.\\n\\n### Response:\\n"], max_new_tokens=8, stop=("\\n\\n",))

The base is loaded in fp32, bf16, 8 or 4 bits (NF4 with double quantisation, as Axolotl trains), with or without a LoRA
adapter. Nothing is downloaded: a path that is not a local model folder is an error.

Where it sits: below the `transformers` predictor, the picker's loss and the server's engine, so that all three use the
same model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import PredictionError
from core.example.prompt import cut_at_stop
from core.model.attention import group_heads
from core.model.completion import Completion
from core.model.folder import caps_attention, check_model_folder
from core.model.libraries import disable_cpu_repack, quieten
from core.model.lora_adapter import (
    adapter_shape,
    changes_the_base,
    misfit,
    reason,
    set_adapter_weights,
    with_adapter,
)
from core.model.quantisation import Precision, Quantisation
from core.model.token_ids import encode
from core.model.weights import load_checked

if TYPE_CHECKING:
    import torch


_REPLACEMENT, _LONGEST_CHARACTER = "\ufffd", 8
"""The text of an incomplete character, and the largest number of tokens that a character takes."""


@dataclass
class LanguageModel:
    """Weights, tokenizer and device. Build it with `load`."""

    path: Path
    lora_adapter: Path | None
    quantisation: Quantisation
    model: Any
    tokenizer: Any

    @classmethod
    def load(
        cls, path: Path, *, lora_adapter: Path | None = None, precision: Precision | Quantisation | None = None
    ) -> LanguageModel:
        """Loads a model folder.

        Args:
            path: A local transformers folder with a tokenizer.
            lora_adapter: The folder of a PEFT adapter to load.
            precision: Default: bf16 on a GPU, fp32 on a CPU. Give an adapter the precision that it was trained with.
        Raises:
            PredictionError: a folder lacks what it needs.
        """
        check_model_folder(path)
        quieten()
        import torch
        from transformers import AutoTokenizer

        on_gpu = torch.cuda.is_available()
        kept = precision if isinstance(precision, Quantisation) else Quantisation.of(precision, on_gpu=on_gpu)
        try:
            tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
            attention = "eager" if caps_attention(path) else "sdpa"
            model = load_checked(path, attn_implementation=attention, **kept.load_options())
        except PredictionError:
            raise
        except Exception as e:  # a model's files can be wrong in as many ways as there are models
            raise PredictionError(
                f"{path}: cannot be loaded ({reason(e)}). Fetch the model again, or give another one."
            ) from e
        if lora_adapter is not None:
            try:
                model = with_adapter(model, lora_adapter)
            except PredictionError:
                raise
            except Exception as e:  # so can an adapter's
                raise misfit(lora_adapter, path, e) from e
        if on_gpu and not kept.is_quantised:
            model = model.to("cuda")
        disable_cpu_repack(model)
        group_heads(model)
        model.eval()
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        return cls(path=path, lora_adapter=lora_adapter, quantisation=kept, model=model, tokenizer=tokenizer)

    @property
    def precision(self) -> str:
        """`fp32`, `bf16`, `fp16`, `8bit` or `4bit`."""
        return self.quantisation.precision

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        device: torch.device = self.model.device
        return device

    @property
    def context_length(self) -> int:
        """Largest number of tokens that the model was built for."""
        return int(getattr(self.model.config, "max_position_embeddings", 2048))

    @property
    def end_ids(self) -> frozenset[int]:
        """Ids that end an answer: the tokenizer's end token, and those of the model's own generation settings."""
        settings: Any = getattr(self.model, "generation_config", None)
        found: Any = getattr(settings, "eos_token_id", None)
        named = found if isinstance(found, list) else [found]
        return frozenset(i for i in (*named, self.tokenizer.eos_token_id) if i is not None)

    def encode(self, text: str, *, bos: bool = True) -> list[int]:
        """Token ids of a text; the name of a special token in it is ordinary text."""
        return encode(self.tokenizer, text, bos=bos)

    def continuation(self, prompt_ids: Sequence[int], new_ids: Sequence[int]) -> str:
        """The text that `new_ids` add to a prompt, its leading space included.

        A Llama-style tokenizer strips one space at the start of a decoded text, and encodes a rare character as several
        byte tokens. The new tokens are therefore decoded together with the last whole character of the prompt, whose
        text is then removed.
        """
        kept = [i for i in new_ids if i != self.tokenizer.eos_token_id]
        anchor: list[int] = []
        before = ""
        for length in range(1, min(len(prompt_ids), _LONGEST_CHARACTER) + 1):
            anchor = list(prompt_ids[-length:])
            before = self.tokenizer.decode(anchor, skip_special_tokens=False)
            if not before.startswith(_REPLACEMENT):
                break
        after = self.tokenizer.decode([*anchor, *kept], skip_special_tokens=False)
        return str(after[len(before) :])

    def generate(
        self,
        prompts: Sequence[str] | Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
    ) -> list[str]:
        """The texts of `complete`."""
        found = self.complete(prompts, max_new_tokens=max_new_tokens, stop=stop)
        return [completion.text for completion in found]

    def complete(
        self,
        prompts: Sequence[str] | Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        repetition_penalty: float = 1.0,
        ends: Iterable[int] = (),
    ) -> list[Completion]:
        """Greedy answers to one batch of prompts, cut at the first stop string.

        Args:
            prompts: Texts, or token ids. They are padded to the longest, on the left.
            max_new_tokens: Largest number of new tokens per prompt.
            stop: An answer ends before the first of these strings.
            repetition_penalty: Divides the positive logits, and multiplies the negative ones, of the tokens that stand
                in a row's own prompt and answer. 1: no penalty. Source: Keskar et al. 2019, as in transformers.
            ends: Ids that end an answer besides `end_ids`, such as the end of a turn in a chat template.
        """
        import torch

        encoded = [self.encode(p) if isinstance(p, str) else list(p) for p in prompts]
        width = max(map(len, encoded))
        pad = self.tokenizer.pad_token_id
        rows = [[pad] * (width - len(e)) + e for e in encoded]
        masks = [[0] * (width - len(e)) + [1] * len(e) for e in encoded]
        ending = self.end_ids | frozenset(ends)
        mask = torch.tensor(masks, device=self.device)
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=torch.tensor(rows, device=self.device),
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                repetition_penalty=1.0,
                pad_token_id=pad,
                eos_token_id=sorted(ending) or None,
                stopping_criteria=self.stopping(width, stop),
                logits_processor=self._penalising(repetition_penalty, mask),
            )
        new = output[:, width:].tolist()
        return [self.completion(ids, row, ending, stop) for ids, row in zip(encoded, new, strict=True)]

    def completion(
        self, prompt_ids: Sequence[int], row: list[int], ends: frozenset[int], stop: Sequence[str]
    ) -> Completion:
        """The answer that new ids are. They may be padded behind an end token or a stop string."""
        end = next((place for place, token in enumerate(row) if token in ends), None)
        kept = row[:end]
        if end is None:
            while kept and kept[-1] == self.tokenizer.pad_token_id:
                kept.pop()
        whole = self.continuation(prompt_ids, kept)
        text = cut_at_stop(whole, stop)
        is_stopped = end is not None or any(s in whole for s in stop)
        return Completion(text=text, finish="stop" if is_stopped else "length", num_tokens=len(kept))

    def _penalising(self, penalty: float, mask: torch.Tensor) -> Any:
        """A repetition penalty that leaves the padding out, so that a row's answer does not depend on its batch."""
        import torch
        from transformers import LogitsProcessor, LogitsProcessorList

        class RepetitionPenalty(LogitsProcessor):  # type: ignore[misc,unused-ignore]
            def __call__(self, input_ids: Any, scores: Any) -> Any:
                is_own = torch.ones_like(input_ids, dtype=torch.bool)
                is_own[:, : mask.shape[1]] = mask.bool()
                seen = torch.zeros_like(scores, dtype=torch.int32).scatter_add_(1, input_ids, is_own.int()) > 0
                return torch.where(seen, torch.where(scores > 0, scores / penalty, scores * penalty), scores)

        return LogitsProcessorList([RepetitionPenalty()] if penalty != 1.0 else [])

    def stopping(self, width: int, stop: Sequence[str]) -> Any:
        """A criterion that ends a row of `generate` once its text after `width` tokens contains a stop string."""
        import torch
        from transformers import StoppingCriteria, StoppingCriteriaList

        tokenizer = self.tokenizer

        class AtStopString(StoppingCriteria):  # type: ignore[misc,unused-ignore]
            def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
                texts = tokenizer.batch_decode(input_ids[:, width:])
                return torch.tensor([any(s in t for s in stop) for t in texts], device=input_ids.device)

        return StoppingCriteriaList([AtStopString()] if stop else [])

    def load_adapter(self, lora_adapter: Path) -> None:
        """Replaces the adapter. If the new one has the same shape, only the weights are exchanged.

        Raises:
            PredictionError: it is not a readable adapter, or does not fit the base. The model then has no adapter.
        """
        from peft import load_peft_weights
        from safetensors import SafetensorError

        try:
            shape = adapter_shape(lora_adapter)
            weights = load_peft_weights(str(lora_adapter), device=str(self.device))
        except (OSError, ValueError, TypeError, AttributeError, SafetensorError) as e:
            raise misfit(lora_adapter, self.path, e) from e
        try:
            if self.lora_adapter is not None and shape == adapter_shape(self.lora_adapter):
                set_adapter_weights(self.model, weights)
            else:
                self.model = with_adapter(self._bare(), lora_adapter)
                self.model.eval()
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, SafetensorError) as e:
            self._load_anew()  # what PEFT left behind is neither
            raise misfit(lora_adapter, self.path, e) from e
        self.lora_adapter = lora_adapter

    @contextlib.contextmanager
    def without_adapter(self) -> Iterator[None]:
        """Switches the adapter off inside the block."""
        with self.model.disable_adapter() if self.lora_adapter is not None else contextlib.nullcontext():
            yield

    def _bare(self) -> Any:
        """The base without an adapter. It is loaded again if the adapter changed weights of the base itself."""
        if self.lora_adapter is None:
            return self.model
        if changes_the_base(adapter_shape(self.lora_adapter)):
            self._load_anew()
            return self.model
        return self.model.unload()

    def _load_anew(self) -> None:
        import torch

        self.model = None  # a GPU cannot hold two 7B models
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.model, self.lora_adapter = LanguageModel.load(self.path, precision=self.quantisation).model, None
