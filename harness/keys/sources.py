"""The rows that a recipe names: its `datasets` as our own readers take them.

    found = recipe_data(recipe)
    found.files           # ("tatsu-lab/alpaca",), as the option `data` takes them

The layout of a record is found by its columns. What a recipe says beyond that is either taken (loss on the prompt, the
template, the share that is held out) or named in `notes`, because it is not.

Where it sits: recipe -> **sources** -> own data, where neither a mix nor data was given.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.encoding.rendering import Loss
from core.example.layout import TEXTS, Layout
from harness.data.template import Template
from harness.errors import ConfigError
from harness.keys.objective import Objective
from harness.recipe import AxolotlConfig, objective

_READ = ("path", "name", "revision", "type", "ds_type", "split")
"""Keys of a data set that are taken as they are."""

_FOUND_BY_LOOKING = (
    "field_messages", "message_field_role", "message_field_content", "message_property_mappings", "field",
    "text_column", "roles", "field_thinking", "template_thinking_key", "trust_remote_code",
)  # fmt: skip
"""Keys that say which columns hold what, which a reader finds by itself."""

_ALPACA, _CHAT = ("alpaca", "jeopardy"), ("chat_template", "sharegpt")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeData:
    """What a recipe's data sets become."""

    files: tuple[str, ...]
    """Paths, or names of the hub, as the option `data` takes them."""
    loss: Loss = Loss.RESPONSES
    template: Template = Template.AUTO
    validation_share: float | None = None
    layout: Layout | None = None
    """None: found by looking."""
    notes: tuple[str, ...] = ()
    """What the recipe says and is not done."""


def recipe_data(recipe: AxolotlConfig) -> RecipeData:
    """The rows that a recipe names.

    Raises:
        ConfigError: It names none, or they cannot be read here.
    """
    sources = [*(recipe.data.get("datasets") or []), *(recipe.data.get("pretraining_dataset") or [])]
    if not sources:
        raise ConfigError("the recipe names no datasets. Write some, or give rows with `data=` or `mix=`.")
    files = tuple(_file(source) for source in sources)
    templates = {_template(source) for source in sources}
    return RecipeData(
        files=files,
        loss=Loss.ALL if recipe.train_on_inputs else Loss.RESPONSES,
        template=templates.pop() if len(templates) == 1 else Template.AUTO,
        layout=Layout.TEXT if objective(recipe) is Objective.COMPLETION else None,
        validation_share=validation_share(recipe),
        notes=tuple(_notes(recipe, sources)),
    )


def _file(source: Any) -> str:
    """A path, or OWNER/NAME/CONFIGURATION@REVISION."""
    if not isinstance(source, Mapping) or not isinstance(source.get("path"), str):
        raise ConfigError("datasets: an entry has no path. Write one: a file, a folder, or a name of the hub.")
    if source.get("data_files"):
        raise ConfigError(
            f"datasets: {source['path']} with data_files: single files of the hub are not read. Fetch them, and write "
            "their path."
        )
    column = source.get("field") or source.get("text_column") or "text"
    if source.get("type") in ("completion", "pretrain") and column not in TEXTS:
        raise ConfigError(
            f"datasets: {source['path']} with texts in {column}: they are read from {', '.join(TEXTS)}. Rename the "
            "column."
        )
    name = f"{source['path']}/{source['name']}" if source.get("name") else source["path"]
    return f"{name}@{source['revision']}" if source.get("revision") else str(name)


def _template(source: Mapping[str, Any]) -> Template:
    kind = source.get("type")
    if isinstance(kind, str) and kind.startswith(_ALPACA):
        return Template.ALPACA
    return Template.CHAT if isinstance(kind, str) and kind.startswith(_CHAT) else Template.AUTO


def _notes(recipe: AxolotlConfig, sources: list[Any]) -> Iterator[str]:
    if recipe.data.get("test_datasets"):
        yield "test_datasets are not read: a part of the rows is held out; a mix can bring a validation file"
    if recipe.val_set_size and recipe.val_set_size >= 1:
        yield f"val_set_size {recipe.val_set_size:g} is a number of rows, and a share is taken: `validation_share=0.05`"
    for source in sources:
        split = source.get("split")
        if split and split != "train":
            yield f"{source['path']}: split {split} is not taken, but all rows of the file or of the split train"
        if isinstance(source.get("type"), Mapping):
            yield f"{source['path']}: fields and formats of its type count for nothing; rows are read by their columns"
        if others := sorted(set(source) - {*_READ, *_FOUND_BY_LOOKING}):
            yield f"{source['path']}: {', '.join(others)} count for nothing; rows are read by their columns"
    yield from rendering_notes(recipe)


def rendering_notes(recipe: AxolotlConfig) -> Iterator[str]:
    """What a recipe says of the rendering of chats and is not done, wherever its rows come from."""
    for key in ("chat_template", "chat_template_jinja", "chat_template_kwargs", "default_system_message", "eot_tokens"):
        if recipe.data.get(key) not in (None, "tokenizer_default", {}, []):
            yield f"{key} counts for nothing: conversations are rendered by the base's own chat template, or by ChatML"


def validation_share(recipe: AxolotlConfig) -> float | None:
    """The share of own rows that a recipe holds out; None: it says none, or a number of rows."""
    share = recipe.val_set_size
    return share if share and share < 1 else None
