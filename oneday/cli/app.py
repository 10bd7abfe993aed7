"""The console command's root, and the options that several commands share."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import click
import typer
from typer.core import TyperGroup

EPILOG = "A first look: oneday demo. On your card: oneday curate, oneday train, oneday serve."

ORDER = (
    "demo", "doctor", "curate", "rehearse", "plan", "train", "watch", "pick", "compare", "evaluate", "report", "ledger",
    "export", "serve", "try", "helm", "score", "reproduce",
)  # fmt: skip
"""As a day goes."""


class Group(TyperGroup):
    """Commands in their order, with examples that stand as they were written."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As a day goes, not as modules are imported."""
        return sorted(super().list_commands(ctx), key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Its examples are not wrapped: a line can be copied."""
        command = super().get_command(ctx, cmd_name)
        if command is not None and command.help:
            command.help = command.help.replace("\n\nExample", "\n\n\b\nExample")
        return command


app = typer.Typer(
    name="oneday",
    cls=Group,
    help="One LLM, one GPU, one day: choose the data, train inside the budget, serve the result.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _cards() -> Iterable[str]:
    from harness.budget.gpu_profile import CARDS

    return CARDS


Json = Annotated[bool, typer.Option("--json", help="End with one machine-readable line.")]
Redo = Annotated[bool, typer.Option("--redo", help="Throw away stages that were made with other inputs.")]
Mix = Annotated[Path | None, typer.Option(help="Folder with train.jsonl and validation.jsonl.")]
Config = Annotated[Path | None, typer.Option(help="Recipe. Default: the card's recommended one.")]
CardName = Annotated[
    str | None,
    typer.Option(
        help="cpu, rtx4090, a100-40gb, a100-80gb, h100-80gb, h200, or NAME-MEMORYgb. Default: the card that is here.",
        autocompletion=lambda: list(_cards()),
    ),
]
RunFolder = Annotated[Path | None, typer.Option(help="Run folder. Default: the one that holds the mix.")]
BaseChanged = Annotated[
    bool, typer.Option("--base-changed-on-purpose", help="Take another base than the one in training.")
]
BaseFolder = Annotated[Path | None, typer.Option(help="Base model folder. Default: the mix's, or the recipe's.")]


def _version(value: bool) -> None:
    if value:
        from core.manifest import versions

        typer.echo(", ".join(f"{name} {version}" for name, version in versions().items()))
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Versions.")] = False,
) -> None:
    """One LLM, one GPU, one day: choose the data, train inside the budget, serve the result."""
