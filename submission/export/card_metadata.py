"""The front matter of a model card, made by the hub's own classes: what hubs filter and link by.

    metadata(facts).to_yaml()

The hub links `base_model` and `datasets` to its repositories, and knows a closed set of licences, so only names of
repositories and identifiers of that set are written. The text of the card names everything else.

Where it sits: facts of a run -> **front matter** -> model card.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.comparison import OVERALL
from core.run_folder import SAMPLES
from submission.export.card_facts import CardFacts

_LICENCES = """
afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0
cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0
cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0
creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2
fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 h-research intel-research isc lgpl lgpl-2.1 lgpl-3.0
lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 open-mdw
openrail openrail++ osl-3.0 other pddl postgresql unknown unlicense wtfpl zlib
"""
"""Source: the hub's documentation, page "Licenses"."""

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def metadata(facts: CardFacts) -> Any:
    """The hub's own record, which checks its fields; scores become its `model-index`."""
    from huggingface_hub import EvalResult, ModelCardData

    library = "gguf" if facts.gguf else "peft" if facts.weights == "lora_adapter" else "transformers"
    method = "qlora" if facts.quantisation.is_quantised else "lora" if facts.lora_rank else "full-weights"
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
        for s in facts.scores
        if s["group"] == OVERALL
    ]
    is_linked = facts.base.on_hub
    return ModelCardData(
        base_model=facts.base.text if is_linked else None,
        base_model_relation=("adapter" if library == "peft" else "finetune") if is_linked else None,
        library_name=library,
        datasets=_hub_datasets(facts.manifest) or None,
        pipeline_tag="text-generation",
        tags=[method, "axolotl", "oneday"],
        model_name=facts.name if results else None,
        eval_results=results or None,
        **_licence(facts.base_licence),
    )


def _licence(licence: str | None) -> dict[str, str]:
    """A licence that the hub does not know is `other`, with its name."""
    if not licence:
        return {}
    known = licence.lower()
    if known in _LICENCES.split():
        return {"license": known}
    return {"license": "other", "license_name": re.sub(r"[^\w.-]+", "-", known).strip("-")}


def _hub_datasets(manifest: Mapping[str, Any]) -> list[str]:
    """Repositories from which rows came: files of own data named OWNER/NAME, and the sources of a mix."""
    named = [str(name).partition("@")[0] for name in manifest.get("data", {}).get("files") or ()]
    own = [n for n in named if not Path(n).exists() and "." not in n[-6:]]
    sources = manifest.get("curate", {}).get("inputs", {}).get(SAMPLES, {}).get("sources") or {}
    found = [str(source.get("from")) for source in sources.values() if isinstance(source, Mapping)]
    return [name for name in dict.fromkeys([*own, *found]) if _REPOSITORY.fullmatch(name)]
