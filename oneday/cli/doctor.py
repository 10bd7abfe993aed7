"""Looking at the machine: `doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from oneday.cli.app import Json, app


@app.command(short_help="Is this machine ready? What is wrong, and what mends it.")
def doctor(
    card: Annotated[str | None, typer.Option(help="Profile to check against. Default: the card found, or cpu.")] = None,
    base: Annotated[str | None, typer.Option(help="Base model folder: is it here, whole, under which licence.")] = None,
    run: Annotated[Path, typer.Option(help="Folder whose disk a run would use.")] = Path(),
    hub: Annotated[bool, typer.Option("--hub", help="Ask the model hub whether it can be reached.")] = False,
    json: Json = False,
) -> None:
    """Checks this machine for a run: one line each, OK, note, warning or PROBLEM, with its mend.

    Without --hub no network is used. Exit code 2 if there is a problem; warnings and notes are none.

    Examples: oneday doctor
              oneday doctor --card rtx4090 --base models/Mistral-7B-v0.1 --run runs/200k
    """
    from oneday.commands.doctor import DoctorRequest, run_doctor
    from oneday.display.console import Console

    run_doctor(DoctorRequest(card=card, base=base, run=run, hub=hub), Console(json_line=json))
