from pathlib import Path

import pytest

from core.encoding.rendering import Loss
from core.example.layout import Layout
from harness.data.template import Template
from harness.errors import ConfigError
from harness.keys.sources import RecipeData, recipe_data
from harness.keys.table import KeyTable
from harness.recipe import read_recipe, recipe_of

RECIPES = Path(__file__).parents[2] / "data" / "recipes"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("qlora", RecipeData(files=("tatsu-lab/alpaca",), template=Template.ALPACA, validation_share=0.1)),
        (
            "lora",
            RecipeData(
                files=("chats.jsonl",),
                template=Template.CHAT,
                notes=("chat_template counts for nothing: conversations are rendered by the base's own chat template, "
                       "or by ChatML",),
            ),
        ),
        ("completion", RecipeData(files=("books/",), layout=Layout.TEXT)),
        ("pretraining", RecipeData(files=("allenai/c4/en",), layout=Layout.TEXT)),
    ],
)  # fmt: skip
def test_the_rows_of_a_recipe_are_given_to_the_readers(name: str, found: RecipeData) -> None:
    assert recipe_data(read_recipe(RECIPES / f"{name}.yml")) == found


def recipe_with(**source: object) -> RecipeData:
    return recipe_data(recipe_of(KeyTable.of({"learning_rate": 1e-4, "datasets": [{"path": "x.jsonl", **source}]})))


def test_what_is_not_taken_is_named() -> None:
    found = recipe_with(split="train[:10%]", type={"field_instruction": "q"}, shards=4)
    assert found.notes == (
        "x.jsonl: split train[:10%] is not taken, but all rows of the file or of the split train",
        "x.jsonl: fields and formats of its type count for nothing; rows are read by their columns",
        "x.jsonl: shards count for nothing; rows are read by their columns",
    )


def test_loss_on_the_prompt_is_taken() -> None:
    raw = {"learning_rate": 1e-4, "train_on_inputs": True, "datasets": [{"path": "x.jsonl", "revision": "v1"}]}
    found = recipe_data(recipe_of(KeyTable.of(raw)))
    assert (found.loss, found.files) == (Loss.ALL, ("x.jsonl@v1",))


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({"data_files": ["a.json"]}, "x.jsonl with data_files: single files of the hub are not read"),
        ({"type": "completion", "field": "body"}, "x.jsonl with texts in body: they are read from text, content"),
        ({"path": None}, "datasets: an entry has no path"),
    ],
)
def test_rows_that_cannot_be_read_are_refused(source: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        recipe_with(**source)
