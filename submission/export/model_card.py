"""The model card: what a run's result is, from its manifest.

Where it sits: manifest + pick -> **README.md** of an export.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.budget.duration import pretty
from harness.keys.objective import loss_unit
from submission.export.card_facts import CardFacts
from submission.export.card_metadata import metadata
from submission.export.loading import Loading, how_to_load
from submission.export.other_program import described


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
        _licence(facts.base_licence),
        _data(facts.manifest.get("curate") or facts.manifest.get("data", {})),
        _training(train, facts.picked),
        _scores(facts.scores),
        _limits(facts),
        _again(facts.manifest.get("versions", {}), facts.command),
    ]
    body = "\n\n".join(section for section in sections if section)
    return str(ModelCard(f"---\n{metadata(facts).to_yaml()}\n---\n\n{body}\n"))


def _loading(facts: CardFacts) -> Loading:
    return Loading(
        name=facts.name,
        base=facts.base.as_argument,
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
        f"{kind} of {facts.picked['checkpoint']}, trained on `{facts.base.text}` within one budget on one card "
        f"({train.get('card', 'unknown')}). {facts.prompts} {facts.base.told}"
    ).rstrip()
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


def _licence(licence: str | None) -> str:
    told = f"The base's licence is {licence}." if licence else "The folder of the base names no licence."
    return f"## Licence\n\n{told} It binds what was made from the base; the table below has the licences of the rows."


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
        ("validation loss", f"{picked['validation_loss']:.4f} ({loss_unit(recipe)})"),
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
