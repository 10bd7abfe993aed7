"""What a model can do: `evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from oneday.cli.app import Json, app


@app.command(short_help="Recorded responses in, scores with intervals out.")
def evaluate(
    suite: Annotated[
        str,
        typer.Argument(
            help="ifeval, ifeval-fi; language, spelling, relevance, judge, modifiers; drcd, fgc, ttqa, penguins, "
            "tmmlu, xsum-tc, imdb-tc."
        ),
    ],
    items: Annotated[Path, typer.Option(help="The suite's items: their file, or a folder that holds it.")],
    responses: Annotated[Path, typer.Option(help="The responses to score.")],
    against: Annotated[
        Path | None, typer.Option(help="Other responses to the same items: adds paired differences.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results. Default: runs/scores/SUITE-RESPONSES.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Count items without a response as failed, instead of stopping.")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of the suite: KEY=VALUE, as letter_rule=upstream.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    json: Json = False,
) -> None:
    """Scores recorded responses of any model, without a model and without a network.

    Writes scores.json, items.jsonl and report.html. Responses are JSON lines with suite, language and id, or task and
    id, or key or prompt; or one TC-Eval document.

    Example: oneday evaluate ifeval --items input_data.jsonl --responses gpt4_responses.jsonl
    """
    from oneday.commands.evaluate import EvaluateRequest, run_evaluate
    from oneday.display.console import Console

    request = EvaluateRequest(
        suite=suite, items=items, responses=responses, against=against, out=out, partial=partial,
        set=tuple(set_ or ()), seed=seed,
    )  # fmt: skip
    run_evaluate(request, Console(json_line=json))
