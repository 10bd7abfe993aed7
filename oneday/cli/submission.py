"""Served and scored: `serve`, `try`, `score`, `helm`."""

from pathlib import Path
from typing import Annotated

import typer

from oneday.cli.app import BaseChanged, Json, app

Precision = Annotated[str | None, typer.Option(help="fp32, bf16 or 4bit. Default: as trained.")]


@app.command(short_help="Serve a checkpoint over HTTP for HELM.")
def serve(
    checkpoint: Annotated[Path, typer.Option(help="Run, adapter or model folder.")] = Path("runs/demo"),
    base: Annotated[Path | None, typer.Option(help="Base model folder. Default: the checkpoint's.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    precision: Precision = None,
    base_changed: BaseChanged = False,
    overlong: Annotated[
        str, typer.Option(help="Prompts beyond the window: left-truncate or refuse.")
    ] = "left-truncate",
    compat: Annotated[str | None, typer.Option(help="birbal: wrap and cut as the winner's server did.")] = None,
    max_batch: Annotated[int, typer.Option(min=1, max=256, help="Requests answered together.")] = 16,
    max_waiting: Annotated[int, typer.Option(min=1, max=100_000, help="Then 503 and Retry-After.")] = 256,
    deadline: Annotated[str, typer.Option(help="Longest time to an answer: 10m.")] = "10m",
) -> None:
    """Serves /process, /tokenize, /decode as HELM and the challenge ask for them; /health and /ready beside them.

    Example: oneday serve --checkpoint runs/200k --port 8080
    """
    from oneday.commands.serve import ServeRequest, run_serve
    from oneday.display.console import Console

    request = ServeRequest(
        checkpoint=checkpoint, base=base, host=host, port=port, precision=precision, base_changed=base_changed,
        overlong=overlong, compat=compat, max_batch=max_batch, max_waiting=max_waiting, deadline=deadline,
    )  # fmt: skip
    run_serve(request, Console())


@app.command("try", short_help="Ask once.")
def try_(
    prompt: Annotated[str, typer.Argument(help="The instruction.")],
    text: Annotated[str, typer.Option("--input", help="The input that goes with it.")] = "",
    checkpoint: Annotated[Path, typer.Option(help="Run, adapter or model folder.")] = Path("runs/demo"),
    base: Annotated[Path | None, typer.Option(help="Base model folder. Default: the checkpoint's.")] = None,
    precision: Precision = None,
    base_changed: BaseChanged = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, max=4096, help="Length of the answer.")] = 128,
    raw: Annotated[bool, typer.Option("--raw", help="Pass the prompt verbatim, without the template.")] = False,
) -> None:
    """Asks once, in the template that the model was trained on.

    Example: oneday try "Write the opposite of the last word, as one word." --input "The plate of Fay is hot."
    """
    from oneday.commands.serve import TryRequest, run_try
    from oneday.display.console import Console

    request = TryRequest(
        prompt=prompt, text=text, checkpoint=checkpoint, base=base, precision=precision, base_changed=base_changed,
        max_new_tokens=max_new_tokens, raw=raw,
    )  # fmt: skip
    typer.echo(run_try(request, Console()))


@app.command(short_help="The challenge's score from HELM results.")
def score(
    tables: Annotated[list[Path], typer.Argument(help="Tables (.json, .csv) or suite folders of helm-summarize.")],
    against: Annotated[Path | None, typer.Option(help="The field to put them into: a table or folder too.")] = None,
    rule: Annotated[str, typer.Option(help="published or helm: how a column becomes win rates.")] = "published",
    plot: Annotated[Path | None, typer.Option(help="Draw the field into this SVG file.")] = None,
    json: Json = False,
) -> None:
    """HELM results -> win rates -> mean win rates -> geometric means -> the challenge's final score.

    TABLES are .json or .csv files, or suite folders of helm-summarize. The published rule gives back the challenge's
    96 figures; HELM's is the one of its own tables.

    Examples: oneday score 4090_full_ranks.json --plot scores.svg
              oneday score benchmark_output/runs/mine --against 4090_full_ranks.json --rule helm
    """
    from oneday.commands.score import run_score
    from oneday.display.console import Console

    run_score(tables, against=against, rule=rule, plot=plot, console=Console(json_line=json))


@app.command(short_help="Run the real HELM against a checkpoint.")
def helm(
    suite: Annotated[str, typer.Option(help="simple, open, hidden, all (both), or a file of entries.")] = "simple",
    checkpoint: Annotated[
        Path | None, typer.Option(help="Run, adapter or model folder to serve. Default: runs/demo, else the demo base.")
    ] = None,
    base: Annotated[Path | None, typer.Option(help="Base model folder. Default: the checkpoint's.")] = None,
    precision: Precision = None,
    base_changed: BaseChanged = False,
    url: Annotated[str | None, typer.Option(help="Ask a server that runs already instead.")] = None,
    instances: Annotated[
        int | None, typer.Option(min=1, help="At most so many of each entry. Default: its own; 10 for simple.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Requests at once.")] = 4,
    gsm8k: Annotated[
        Path | None, typer.Option(help="Folder with GSM8K's train.jsonl and, if at hand, test.jsonl.")
    ] = None,
    scenarios: Annotated[Path | None, typer.Option(help="Folder with data as HELM keeps it: mmlu/data, ...")] = None,
    out: Annotated[Path, typer.Option(help="Folder for HELM's results.")] = Path("runs/helm"),
    environment: Annotated[Path, typer.Option(help="Folder for HELM itself.")] = Path(".helm"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done.")] = False,
    json: Json = False,
) -> None:
    """Runs the real HELM, in an environment of its own, against our server; the same command resumes.

    simple needs no data. open and hidden are the challenge's own scenarios, for those who have a network or the data:
    submission/helm/run_specs.conf lists them and says what goes where.

    Examples: oneday helm --gsm8k ../shared/data/gsm8k
              oneday helm --suite open --checkpoint runs/200k --instances 20
    """
    from oneday.commands.helm import HelmRequest, run_helm_command
    from oneday.display.console import Console

    request = HelmRequest(
        suite=suite, checkpoint=checkpoint, base=base, precision=precision, base_changed=base_changed, url=url,
        num_instances=instances, num_threads=threads, gsm8k=gsm8k, scenarios=scenarios, out=out,
        environment=environment, dry_run=dry_run,
    )  # fmt: skip
    run_helm_command(request, Console(json_line=json))
