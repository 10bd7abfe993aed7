"""What came of a run: `reproduce`, `export`."""

from pathlib import Path
from typing import Annotated

import typer

from oneday.cli.app import BaseChanged, Json, Redo, app


@app.command(short_help="A run again from its manifest, figure by figure.")
def reproduce(
    manifest: Annotated[Path, typer.Argument(help="RUN/manifest.json of the run to repeat.")],
    run: Annotated[Path, typer.Option(help="Folder of the repetition.")] = Path("runs/reproduced"),
    mix: Annotated[Path | None, typer.Option(help="Its mix. Default: 05_mix beside the manifest.")] = None,
    base: Annotated[Path | None, typer.Option(help="Its base model. Default: where it was.")] = None,
    card: Annotated[str | None, typer.Option(help="Default: the one on record.")] = None,
    budget: Annotated[str | None, typer.Option(help="Default: a tenth more than it had.")] = None,
    curate: Annotated[bool, typer.Option("--curate", help="Curate anew, instead of taking the mix by hash.")] = False,
    tasks: Annotated[list[Path] | None, typer.Option(help="With --curate: where the task files are now.")] = None,
    url: Annotated[
        str | None, typer.Option(help="With --curate: where the base is asked now. Only a URL given here gets a key.")
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="With --curate: auto, or HOST:PORT. Default: this machine, whatever is on record."),
    ] = None,
    questions: Annotated[int, typer.Option(min=0, help="Held-out questions to both, served; 0: serve neither.")] = 32,
    redo: Redo = False,
    json: Json = False,
) -> None:
    """Trains a run again by its logged plan and tells figure by figure whether it came out the same.

    Rows and base model are checked by hash first; at the end both checkpoints are served and asked the same.
    Exit code 2 if anything but a version differs beyond its bound.

    Example: oneday reproduce runs/200k/manifest.json --run runs/again --curate
    """
    from oneday.commands.reproduce import ReproduceRequest, run_reproduce
    from oneday.display.console import Console

    request = ReproduceRequest(
        manifest=manifest, run=run, mix=mix, base=base, card=card, budget=budget,
        curate=curate, tasks=tuple(tasks or ()), url=url, ray_address=ray_address, num_questions=questions, redo=redo,
    )  # fmt: skip
    run_reproduce(request, Console(json_line=json))


@app.command(short_help="Adapter or merged weights, with a model card.")
def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    merge: Annotated[str | None, typer.Option(help="fp32 or bf16: merged weights instead of the adapter.")] = None,
    base: Annotated[Path | None, typer.Option(help="Base model folder. Default: the run's.")] = None,
    base_changed: BaseChanged = False,
    check: Annotated[bool, typer.Option(help="Compare merged weights with base and adapter.")] = True,
    push: Annotated[str | None, typer.Option(help="Upload to this repository of the hub: owner/name.")] = None,
    json: Json = False,
) -> None:
    """Writes the picked adapter, or merged weights, with a model card to 09_export.

    Example: oneday export runs/200k --merge bf16
    """
    from oneday.commands.export import run_export
    from oneday.display.console import Console

    run_export(
        run, merge=merge, base=base, base_changed=base_changed, check=check, push=push,
        console=Console(json_line=json),
    )  # fmt: skip
