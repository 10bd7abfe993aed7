"""An export as another program loads it: measured after it is written, against the run's own server.

    other = Transformers(exported=folder, base=base, quantisation=kept)
    found = measure(prompts, base=base, lora_adapter=adapter, quantisation=kept, other=other)
    found.top_1, found.num_same_answers

The other program is transformers with PEFT, called as the model card says and without this project's loader, or
llama.cpp (llama_cpp/program.py). It also reads the tokenizer from the export. It answers one prompt at a time, while
the server answers all of them in one batch.

Where it sits: written export -> **measurement** -> model card.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from core.model.folder import caps_attention
from core.model.language_model import LanguageModel
from core.model.libraries import give_back
from core.model.quantisation import Precision, Quantisation
from core.model.token_ids import leading_ids
from submission.engine.engine import Engine
from submission.engine.job import Completion, Job
from submission.engine.request import GenerationRequest
from submission.errors import ExportError

NUM_PROMPTS = 64
NEW_TOKENS = 32
"""Length of the greedy answers that are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How much an export may differ."""

    largest_difference: float
    top_1: float


SAME_NUMBERS = Bound(largest_difference=1e-2, top_1=0.98)
"""Weights and sums in fp32."""

ROUNDED = Bound(largest_difference=1.0, top_1=0.9)
"""Weights or sums in bf16, which keeps 8 bits. A 4-bit base belongs here too: on CPUs with AVX512-BF16 bitsandbytes
computes it in bf16 unless a program switches that off, as ours does. Logits of the demo base then differ by 0.055
(measured)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """An export against the run's server."""

    num_prompts: int
    num_texts: int
    """Prompts that are plain texts, which the exported tokenizer has to encode. The others are given to both as ids."""
    num_same_ids: int
    """Texts that it encodes as the server does."""
    largest_difference: float
    """Of a logit of the answer's first token."""
    top_1: float
    """Share of prompts whose most likely first token is the same."""
    num_same_answers: int
    """Prompts whose greedy answers are the same text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a program gives for each prompt: the logits of the first token, and a greedy answer."""

    ids: list[list[int]]
    logits: list[torch.Tensor]
    texts: list[str]


Prompts = Sequence[Sequence[int]]
"""Ids as the run trained on them."""


class OtherProgram(Protocol):
    """A program that loads an export."""

    @property
    def name(self) -> str:
        """As messages and the model card call it."""

    def answers(self, prompts: Prompts, texts: Sequence[str | None]) -> Answers:
        """Loads the export and asks it.

        Args:
            texts: The prompts as texts, for the export's tokenizer to encode; None: the ids are given instead.
        """


def measure(
    prompts: Prompts, *, base: Path, lora_adapter: Path | None, quantisation: Quantisation, other: OtherProgram
) -> Measured:
    """Asks both programs, one after the other, because a GPU may not hold two models.

    Args:
        base: The base in training, or the model of a run that trained all weights.
        lora_adapter: The picked adapter.
        quantisation: Of the base in training.
    """
    texts, ours = _by_server(prompts, base, lora_adapter, quantisation)
    give_back()
    theirs = other.answers(prompts, texts)
    give_back()
    pairs = list(zip(ours.logits, theirs.logits, strict=True))
    is_text = [text is not None for text in texts]
    return Measured(
        num_prompts=len(prompts),
        num_texts=sum(is_text),
        num_same_ids=sum(t and a == b for t, a, b in zip(is_text, ours.ids, theirs.ids, strict=True)),
        largest_difference=max(_largest_difference(a, b) for a, b in pairs),
        top_1=sum(int(a.argmax()) == int(b.argmax()) for a, b in pairs) / len(pairs),
        num_same_answers=sum(a == b for a, b in zip(ours.texts, theirs.texts, strict=True)),
    )


def _largest_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Over the tokens that both have: some programs pad the vocabulary, some do not."""
    shared = min(len(a), len(b))
    return float((a[:shared] - b[:shared]).abs().max())


def described(measured: Measured) -> str:
    """The figures in a clause, for the card and the console."""
    return (
        f"compared with the run's server on {measured.num_prompts} validation prompts: largest difference of a logit "
        f"{measured.largest_difference:.2g}, same most likely first token at {measured.top_1:.1%}, same greedy answers "
        f"(up to {NEW_TOKENS} tokens) for {measured.num_same_answers}"
    )


def check(measured: Measured, bound: Bound, folder: Path, program: str) -> None:
    """Refuses an export that another program does not load as the model that was picked.

    Raises:
        ExportError: worse than the bound.
    """
    told = (
        f"largest difference of a logit {measured.largest_difference:.2g} (bound {bound.largest_difference:g}), "
        f"same most likely token at {measured.top_1:.1%} (bound {bound.top_1:.0%}), "
        f"same ids for {measured.num_same_ids} of {measured.num_texts} texts"
    )
    is_same = measured.num_same_ids == measured.num_texts
    if measured.largest_difference > bound.largest_difference or measured.top_1 < bound.top_1 or not is_same:
        raise ExportError(
            f"{folder}: loaded by {program}, it is another model than the run's: {told}. Nothing was exported; "
            "`check=false` exports it all the same."
        )


def bound_of(quantisation: Quantisation, merged: Precision | None) -> Bound:
    """The bound for an export.

    Args:
        merged: The type of merged weights; None: an adapter, whose base the other program loads as in training.
    """
    is_exact = merged == "fp32" if quantisation.load_in_4bit else merged in (None, "fp32")
    return SAME_NUMBERS if is_exact and quantisation.compute_dtype == "float32" else ROUNDED


def _by_server(
    prompts: Prompts, base: Path, adapter: Path | None, quantisation: Quantisation
) -> tuple[list[str | None], Answers]:
    """The prompts as texts, where they are texts, and the answers."""
    model = LanguageModel.load(base, lora_adapter=adapter, precision=quantisation)
    engine = Engine(model)
    jobs = [engine.prepare(GenerationRequest(prompt=tuple(ids), max_new_tokens=NEW_TOKENS)) for ids in prompts]
    done: dict[int, Completion | Exception] = {}

    def note(job: Job, result: Completion | Exception) -> None:
        done[id(job)] = result

    engine.run(jobs, note)
    answers = []
    for job in jobs:
        completion = done[id(job)]
        if isinstance(completion, Exception):
            raise completion
        answers.append(completion.text)
    logits = [_last_logits(model.model, ids) for ids in prompts]
    texts = [_as_text(model.tokenizer, list(ids)) for ids in prompts]
    return texts, Answers(ids=[list(ids) for ids in prompts], logits=logits, texts=answers)


def _as_text(tokenizer: Any, ids: list[int]) -> str | None:
    """The text that a plain call of the tokenizer encodes as these ids; None where they hold special tokens."""
    head = leading_ids(tokenizer)
    text = str(tokenizer.decode(ids[len(head) :], skip_special_tokens=False))
    return text if tokenizer(text)["input_ids"] == ids else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformers:
    """Loads an export as the model card says. Only the options of the quantisation come from this project."""

    exported: Path
    base: Path | None
    """None: the export holds whole weights."""
    quantisation: Quantisation
    name: str = "transformers and PEFT"

    def answers(self, prompts: Prompts, texts: Sequence[str | None]) -> Answers:
        """See `OtherProgram`."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.exported, local_files_only=True)
        model = _loaded(self.exported, self.base, self.quantisation)
        pairs = zip(texts, prompts, strict=True)
        read = [tokenizer(text)["input_ids"] if text is not None else list(ids) for text, ids in pairs]
        found = []
        for ids in read:
            asked = torch.tensor([ids], device=model.device)
            with torch.inference_mode():
                new = model.generate(
                    input_ids=asked, attention_mask=torch.ones_like(asked), max_new_tokens=NEW_TOKENS, do_sample=False,
                    pad_token_id=tokenizer.eos_token_id,
                )  # fmt: skip
            found.append(_text(tokenizer, ids, new[0].tolist()[len(ids) :]))
        return Answers(ids=read, logits=[_last_logits(model, ids) for ids in read], texts=found)


def _loaded(exported: Path, base: Path | None, kept: Quantisation) -> Any:
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"attn_implementation": "eager"} if caps_attention(base or exported) else {}
    if base is None:
        model: Any = AutoModelForCausalLM.from_pretrained(exported, dtype="auto", local_files_only=True, **options)
    else:
        from peft import PeftModel

        whole = AutoModelForCausalLM.from_pretrained(base, local_files_only=True, **options, **kept.load_options())
        model = PeftModel.from_pretrained(whole, exported)
    is_placed = base is not None and kept.load_in_4bit
    return (model.to("cuda") if torch.cuda.is_available() and not is_placed else model).eval()


def _text(tokenizer: Any, prompt_ids: list[int], new_ids: list[int]) -> str:
    """What the new ids add to the prompt, without the end token."""
    new_ids = [i for i in new_ids if i != tokenizer.eos_token_id]
    before = tokenizer.decode(prompt_ids, skip_special_tokens=False)
    return str(tokenizer.decode([*prompt_ids, *new_ids], skip_special_tokens=False)[len(before) :])


def _last_logits(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """Shape [vocabulary]."""
    with torch.inference_mode():
        found: torch.Tensor = (
            model(input_ids=torch.tensor([list(ids)], device=model.device)).logits[0, -1].float().cpu()
        )
    return found
