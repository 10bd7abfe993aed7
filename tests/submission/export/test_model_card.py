"""The model card: its front matter as the hub's classes read it, and what its text says of base and loss."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.utils import validate_repo_id

from core.files import write_json
from harness.base_model import licence_of
from harness.keys.objective import loss_unit
from submission.export.base_name import BaseName, name_of_folder
from submission.export.card_facts import CardFacts
from submission.export.model_card import model_card
from tests.submission.conftest import NF4

HUB_BASE = BaseName(text="org/small", on_hub=True)
SCORES = [
    {"group": "overall", "num": 40, "base": 0.25, "tuned": 0.5, "low": 0.1, "high": 0.4},
    {"group": "tasks", "num": 20, "base": 0.2, "tuned": 0.3, "low": -0.1, "high": 0.3},
]
MANIFEST: dict[str, Any] = {
    "versions": {"torch": "2.13.0"},
    "data": {"files": ["org/rows@c0ffee", "mine.jsonl"]},
    "curate": {
        "counts": {"rows_by_source": {"lima": 10}, "rows_by_spdx": {"MIT": 10}},
        "inputs": {"04_samples": {"sources": {"lima": {"from": "GAIR/lima"}, "quac": {"from": "files"}}}},
    },
    "train": {
        "card": "cpu", "steps": 10, "because": "deadline", "recipe": {"lora_r": 4, "data": {}, "further": {}},
        "ledger": {"budget_s": 100.0, "charged_s": 61.5, "by_phase": {"train": 60.0}},
    },
}  # fmt: skip


def card(**more: Any) -> ModelCard:
    facts = {
        "manifest": MANIFEST, "picked": {"checkpoint": "checkpoint-10", "validation_loss": 0.5, "rule": "lowest"},
        "name": "200k", "base": HUB_BASE, "base_licence": "apache-2.0", "quantisation": NF4, "weights": "lora_adapter",
        "prompts": "Prompts follow the Alpaca template.", "scores": SCORES, "command": "oneday export 200k",
    }  # fmt: skip
    return ModelCard(model_card(CardFacts(**(facts | more))))


@pytest.mark.parametrize(
    ("more", "library", "relation"),
    [
        ({}, "peft", "adapter"),
        ({"weights": "bf16"}, "transformers", "finetune"),
        ({"weights": "f16", "gguf": "200k-f16.gguf", "has_modelfile": True}, "gguf", "finetune"),
    ],
)
def test_the_hubs_reader_finds_all_that_the_card_has_to_say(
    more: Mapping[str, Any], library: str, relation: str
) -> None:
    found = card(**more)
    data = found.data
    assert (data.library_name, data.base_model_relation, data.license) == (library, relation, "apache-2.0")
    assert (data.base_model, data.datasets) == ("org/small", ["org/rows", "GAIR/lima"])
    for name in (data.base_model, *data.datasets):
        validate_repo_id(name)
    (result,) = data.eval_results
    assert (result.metric_value, result.metric_args["interval_of_difference"]) == (0.5, [0.1, 0.4])
    assert ModelCard(str(found)).data.to_dict() == data.to_dict()
    for part in (
        "| lima | 10 |", "| MIT | 10 |", "The base's licence is apache-2.0", "| budget | 1m02s of 1m40s |",
        "| overall | 40 | 0.250 | 0.500 | [+0.100, +0.400] |", "## Limits", "oneday reproduce manifest.json",
        "transformers", "vLLM", "SGLang", "llama.cpp",
    ):  # fmt: skip
        assert part in found.text, part


@pytest.mark.parametrize(
    ("licence", "written"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("Gemma Terms of Use", {"license": "other", "license_name": "gemma-terms-of-use"}),
        (None, {}),
    ],
)
def test_a_licence_that_the_hub_does_not_know_is_other(licence: str | None, written: dict[str, str]) -> None:
    data = card(base_licence=licence).data.to_dict()
    assert {name: value for name, value in data.items() if name.startswith("license")} == written


def test_a_base_that_is_not_on_the_hub_is_named_in_the_text_alone() -> None:
    found = card(base=BaseName(text="sft-checkpoint-40", told="Its base is the model of another run."))
    assert "base_model" not in found.data.to_dict()
    assert "trained on `sft-checkpoint-40` within" in found.text
    assert "Its base is the model of another run." in found.text
    assert 'from_pretrained("PATH/TO/sft-checkpoint-40"' in found.text


def test_a_base_without_a_hub_name_is_called_by_its_parent_by_its_maker_or_by_its_folder(tmp_path: Path) -> None:
    parent = tmp_path / "00_base" / "model"
    parent.mkdir(parents=True)
    assert name_of_folder(parent).text == "model"  # no record beside it: any folder of that name
    record = {"checkpoint": "checkpoint-40", "how": "merged into its base", "run": "sft", "fingerprint": "c0ffee"}
    write_json(tmp_path / "00_base" / "parent.json", record)
    found = name_of_folder(parent)
    assert found.text == "sft-checkpoint-40"
    assert "another run, `sft`: checkpoint-40, merged into its base." in found.told
    write_json(tmp_path / "source.json", {"name": "smollm2-135m", "licence": "Apache-2.0", "packages": {}})
    assert name_of_folder(tmp_path).text == "smollm2-135m"
    assert licence_of(tmp_path) == "Apache-2.0"


@pytest.mark.parametrize(
    ("recipe", "unit"),
    [
        ({"data": {}, "further": {}}, "nats per answer token"),
        ({"data": {"datasets": [{"path": "x", "type": "completion"}]}}, "nats per token"),
        ({"further": {"rl": "dpo", "rl_beta": 0.1}}, "mean of the pairs"),
        (None, "nats per answer token"),
    ],
)
def test_the_unit_of_the_loss_is_that_of_the_objective(recipe: Any, unit: str) -> None:
    assert loss_unit(recipe) == unit
    train = MANIFEST["train"] | {"recipe": recipe or {}}
    assert f"| validation loss | 0.5000 ({unit}) |" in card(manifest=MANIFEST | {"train": train}).text
