"""The model card: what a run's result is, from its manifest.

Where it sits: manifest + pick -> **README.md** of an export.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.comparison import OVERALL
from core.model.quantisation import Quantisation
from harness.budget.duration import pretty
from submission.export.loading import Loading, how_to_load
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a model card tells."""

    manifest: Mapping[str, Any]
    """`manifest.json` of the run."""
    picked: Mapping[str, Any]
    """`picked.json` of the run."""
    name: str
    base_name: str
    """As the hub knows it."""
    base_licence: str | None
    """As the base's own card has it; it binds what was made from it."""
    quantisation: Quantisation
    """How the base was kept in training."""
    weights: str
    """`lora_adapter`, `trained` (all weights), or the type of merged weights."""
    gguf: str | None = None
    """Name of the GGUF file."""
    has_modelfile: bool = False
    is_eager: bool = False
    """Attention has to be computed by the eager kernel, because torch's leaves a bound out."""
    is_changed: bool = False
    """The weights are merged into another base than the one in training."""
    prompts: str
    """A sentence about the template of the prompts."""
    agreement: Mapping[str, Any] | None = None
    """Merged weights against base and adapter."""
    measured: Measured | None = None
    """The written folder as another program loads it."""
    program: str = ""
    """The other program."""
    scores: Sequence[Mapping[str, Any]] = ()
    """Base against tuned, by group."""
    command: str
    """The command that made the export."""

    @property
    def lora_rank(self) -> int:
        """The adapter's rank; 0 if it is not recorded."""
        rank = self.manifest.get("train", {}).get("recipe", {}).get("lora_r")
        return rank if isinstance(rank, int) else 0


def model_card(facts: CardFacts) -> str:
    """Markdown with the front matter that hubs read."""
    from huggingface_hub import ModelCard

    train = facts.manifest.get("train", {})
    sections = [
        f"# {facts.name}",
        _what(facts, train),
        _measured(facts),
        "**The base is another one than in training**: these weights are not the model that the run picked."
        if facts.is_changed
        else "",
        f"## Load it\n\n{how_to_load(_loading(facts))}",
        _data(facts.manifest.get("curate") or facts.manifest.get("data", {})),
        _training(train, facts.picked),
        _scores(facts.scores),
        _limits(facts),
        _again(facts.manifest.get("versions", {}), facts.command),
    ]
    body = "\n\n".join(section for section in sections if section)
    return str(ModelCard(f"---\n{_metadata(facts).to_yaml()}\n---\n\n{body}\n"))


def _metadata(facts: CardFacts) -> Any:
    """The hub's own record, which checks its fields; scores become its `model-index`."""
    from huggingface_hub import EvalResult, ModelCardData

    library = "gguf" if facts.gguf else "peft" if facts.weights == "lora_adapter" else "transformers"
    method = "qlora" if facts.quantisation.is_quantised else "lora" if facts.lora_rank else "full-weights"
    overall = [s for s in facts.scores if s["group"] == OVERALL]
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type="held-out",
            dataset_name=f"{s['num']} held-out questions of the run",
            metric_type="score",
            metric_name="mean score",
            metric_value=s["tuned"],
            metric_args={"base": s["base"], "interval_of_difference": [s["low"], s["high"]]},
        )
        for s in overall
    ]
    return ModelCardData(
        base_model=facts.base_name,
        base_model_relation=_RELATION[library],
        library_name=library,
        license=facts.base_licence or None,
        datasets=_hub_datasets(facts.manifest.get("data", {})) or None,
        pipeline_tag="text-generation",
        tags=[method, "axolotl", "oneday"],
        model_name=facts.name if results else None,
        eval_results=results or None,
    )


_RELATION = {"gguf": "quantized", "peft": "adapter", "transformers": "finetune"}


def _hub_datasets(section: Mapping[str, Any]) -> list[str]:
    """The files of own data that are data sets of the hub: OWNER/NAME, and no path that exists."""
    names = [str(name).partition("@")[0] for name in section.get("files") or ()]
    return [n for n in names if re.fullmatch(r"[\w.-]+/[\w.-]+", n) and not Path(n).exists() and "." not in n[-6:]]


def _loading(facts: CardFacts) -> Loading:
    return Loading(
        name=facts.name,
        base=facts.base_name if "/" in facts.base_name else f"PATH/TO/{facts.base_name}",
        quantisation=facts.quantisation,
        is_adapter=facts.weights == "lora_adapter",
        lora_rank=facts.lora_rank,
        is_eager=facts.is_eager,
        gguf=facts.gguf,
        has_modelfile=facts.has_modelfile,
    )


def _what(facts: CardFacts, train: Mapping[str, Any]) -> str:
    kinds = {"lora_adapter": "A LoRA adapter (PEFT)", "trained": "A model, all of its weights trained,"}
    kind = kinds.get(facts.weights, f"Merged weights ({facts.weights})")
    if facts.gguf:
        kind = f"A GGUF file ({facts.weights})"
    text = (
        f"{kind} of {facts.picked['checkpoint']}, trained on `{facts.base_name}` within one budget on one card "
        f"({train.get('card', 'unknown')}). {facts.prompts}"
    )
    agreement = facts.agreement
    if agreement:
        text += (
            f"\n\nAgainst base and adapter, over {agreement['num_positions']:,} positions of the validation set: "
            f"largest difference of a logit {agreement['largest_difference']:.2g}, same most likely token at "
            f"{agreement['top_1']:.2%}."
        )
    return text


def _measured(facts: CardFacts) -> str:
    if facts.measured is None:
        return ""
    return f"This folder was loaded by {facts.program} and {described(facts.measured)}."


def _limits(facts: CardFacts) -> str:
    tested = (
        f"{facts.program} loaded this export; the other programs named above were not run on it."
        if (facts.measured)
        else "No other program was run on this export."
    )
    return (
        "## Limits\n\n"
        "- The model was chosen by its validation loss on rows like those of its training. Nothing here measures "
        "whether it is safe, factual or fair; those limits are at least those of its base.\n"
        "- A figure without an interval is a single measurement.\n"
        f"- {tested}"
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
        f"everything that decided the result: parameters, seeds, hashes of model and rows, versions.{stack} "
        "`oneday reproduce manifest.json --base BASE --mix MIX` repeats the run and compares every figure."
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
