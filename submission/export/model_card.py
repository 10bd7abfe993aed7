"""The model card: what a run's result is, from its manifest.

Where it sits: manifest + pick -> **README.md** of an export.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from core.model.quantisation import Quantisation
from harness.budget.duration import pretty
from submission.export.other_program import Measured, described


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    rows_by_source: Mapping[str, int] = field(default_factory=dict)
    rows_by_spdx: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Curated:
    counts: _Counts = _Counts()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spent:
    budget_s: float
    charged_s: float
    by_phase: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    recipe: Mapping[str, Any] = field(default_factory=dict)
    ledger: _Spent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What of a manifest is told here."""

    versions: Mapping[str, str] = field(default_factory=dict)
    curate: _Curated = _Curated()
    train: _Trained = _Trained()


ALL_TRAINED = "all trained"
"""In place of the type of merged weights: nothing was merged."""


def model_card(
    manifest: Mapping[str, Any],
    picked: Mapping[str, Any],
    *,
    name: str,
    base_name: str,
    base_licence: str | None,
    quantisation: Quantisation,
    merged: str | None,
    is_changed: bool = False,
    is_eager: bool = False,
    agreement: Mapping[str, Any] | None,
    measured: Measured | None = None,
    scores: Sequence[Mapping[str, Any]],
    command: str,
) -> str:
    """Markdown with the front matter that hubs read.

    Args:
        manifest: `manifest.json` of the run.
        picked: `picked.json` of the run.
        base_name: As the hub knows it.
        base_licence: As the base's own card has it; it binds what was made from it.
        quantisation: How the base was kept in training.
        merged: The type of merged weights, or `ALL_TRAINED`; None: an adapter.
        is_changed: The weights are merged into another base than the one in training.
        is_eager: Attention has to be computed by the eager kernel, because torch's leaves a bound out.
        agreement: Merged weights against base and adapter.
        measured: The written folder as another program loads it.
        scores: Base against tuned, by group.
        command: That made the export.
    """
    train = manifest.get("train", {})
    sections = [
        f"# {name}",
        _what(picked, train, base_name, merged, agreement),
        f"This folder was loaded by transformers and PEFT and {described(measured)}." if measured else "",
        _changed(merged, is_changed),
        _load(base_name, quantisation, merged, EAGER * is_eager),
        _data(manifest.get("curate") or manifest.get("data", {})),
        _training(train, picked),
        _scores(scores),
        _again(manifest.get("versions", {}), command),
    ]
    return _front(base_name, base_licence, merged) + "\n\n".join(section for section in sections if section) + "\n"


def _front(base_name: str, licence: str | None, merged: str | None) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        base_model=base_name,
        library_name="transformers" if merged else "peft",
        license=licence or None,
        pipeline_tag="text-generation",
        tags=["qlora", "axolotl", "oneday"],
    )
    return f"---\n{data.to_yaml()}\n---\n\n"


def _what(
    picked: Mapping[str, Any],
    train: Mapping[str, Any],
    base_name: str,
    merged: str | None,
    agreement: Mapping[str, Any] | None,
) -> str:
    kind = f"Merged weights ({merged})" if merged else "A LoRA adapter (PEFT)"
    kind = "A model, all of its weights trained," if merged == ALL_TRAINED else kind
    text = (
        f"{kind} of {picked['checkpoint']}, trained on `{base_name}` within one budget on one card "
        f"({train.get('card', 'unknown')}). Prompts follow the Alpaca template: `### Instruction:`, `### Input:`, "
        "`### Response:`."
    )
    if agreement:
        text += (
            f"\n\nAgainst base and adapter, over {agreement['num_positions']:,} positions of the validation set: "
            f"largest difference of a logit {agreement['largest_difference']:.2g}, same most likely token at "
            f"{agreement['top_1']:.2%}."
        )
    return text


def _changed(merged: str | None, is_changed: bool) -> str:
    if not (merged and is_changed):
        return ""
    return "**The base is another one than in training**: these weights are not the model that the run picked."


_MERGED = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".", dtype="auto"{option})
tokenizer = AutoTokenizer.from_pretrained(".")
```"""

_ADAPTER = """\
```python
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer{imported}

base = AutoModelForCausalLM.from_pretrained("{base}", dtype=torch.{dtype}{option})
model = PeftModel.from_pretrained(base, ".")
tokenizer = AutoTokenizer.from_pretrained(".")
```"""

_FOUR_BIT = """, quantization_config=BitsAndBytesConfig(
    load_in_4bit=True, bnb_4bit_quant_type="{quant_type}", bnb_4bit_use_double_quant={double_quant},
    bnb_4bit_compute_dtype=torch.{compute_dtype},
)"""


EAGER = ', attn_implementation="eager"'
_EIGHT_BIT = ", quantization_config=BitsAndBytesConfig(load_in_8bit=True)"


def _load(base_name: str, kept: Quantisation, merged: str | None, attention: str) -> str:
    """Code that loads it as it was trained."""
    if merged:
        return f"## Load it\n\nIn this folder:\n\n{_MERGED.format(option=attention)}"
    quantised = (_FOUR_BIT.format(**asdict(kept)) if kept.load_in_4bit else _EIGHT_BIT) if kept.is_quantised else ""
    code = _ADAPTER.format(
        imported=", BitsAndBytesConfig" if quantised else "",
        base=base_name if "/" in base_name else f"PATH/TO/{base_name}",
        dtype=kept.compute_dtype,
        option=attention + quantised,
    )
    return (
        f"## Load it\n\nIn training the base was kept so: {kept.describe()}. Kept in another way, base and adapter are "
        f"another model. `trained_base.json` says the same to programs. In this folder:\n\n{code}"
    )


def _data(section: Mapping[str, Any]) -> str:
    counts = section.get("counts", {})
    if not counts:
        return "## Data\n\nNot curated by this run; the hashes of its rows stand in `manifest.json`."
    sources = [(source, f"{rows:,}") for source, rows in counts.get("rows_by_source", {}).items()]
    licences = [(licence, f"{rows:,}") for licence, rows in counts.get("rows_by_spdx", {}).items()]
    return "\n\n".join(["## Data", _table(("source", "rows"), sources), _table(("licence of a row", "rows"), licences)])


def _training(train: Mapping[str, Any], picked: Mapping[str, Any]) -> str:
    recipe, ledger = train.get("recipe", {}), train.get("ledger", {})
    lora = f"r {recipe.get('lora_r')}, alpha {recipe.get('lora_alpha')}, dropout {recipe.get('lora_dropout')}"
    rows = [
        ("LoRA", lora) if recipe.get("lora_r") else ("weights", "all trained"),
        ("optimizer", f"{recipe.get('optimizer')}, {recipe.get('learning_rate')}, {recipe.get('lr_scheduler')}"),
        ("steps", f"{train.get('steps')} ({train.get('because')})"),
        ("validation loss", f"{picked['validation_loss']:.4f} nats per answer token"),
        ("why this checkpoint", str(picked["rule"])),
    ]
    if ledger:
        rows.append(("budget", f"{pretty(ledger['charged_s'])} of {pretty(ledger['budget_s'])}"))
        rows += [(f"budget: {phase}", pretty(spent)) for phase, spent in ledger["by_phase"].items()]
    return "## Training\n\n" + _table(("what", "value"), rows)


def _scores(scores: Sequence[Mapping[str, Any]]) -> str:
    if not scores:
        return "## Scores\n\nNone measured yet."
    rows = [
        (s["group"], str(s["num"]), f"{s['base']:.3f}", f"{s['tuned']:.3f}", f"[{s['low']:+.3f}, {s['high']:+.3f}]")
        for s in scores
    ]
    return "## Scores\n\n" + _table(("group", "n", "base", "tuned", "95 % interval of the difference"), rows)


def _again(versions: Mapping[str, str], command: str) -> str:
    stack = f" Versions: {', '.join(f'{n} {v}' for n, v in versions.items())}." if versions else ""
    return (
        "## Made with\n\n"
        f"oneday: `{command}`. `manifest.json` beside this file holds "
        f"everything that decided the result: parameters, seeds, hashes of model and rows, versions.{stack}"
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
