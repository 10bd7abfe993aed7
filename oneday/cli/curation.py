"""`oneday demo`, and choosing the data: `oneday curate`."""

from pathlib import Path
from typing import Annotated

import typer

from oneday.cli.app import Group, Json, Redo, app

curate_app = typer.Typer(cls=Group, rich_markup_mode=None, invoke_without_command=True)
app.add_typer(curate_app, name="curate", short_help="Choose the data by what the base gets wrong.")


@app.command(short_help="The main job on embedded defaults, offline, in four minutes.")
def demo(
    run: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/demo"),
    budget: Annotated[
        str | None, typer.Option(help="Training budget. Default: 2m30s, on a slow machine up to 15m.")
    ] = None,
    retain: Annotated[float, typer.Option(help="Share of rows that the base already gets right; 0 forgets.")] = 0.25,
    redo: Redo = False,
    json: Json = False,
) -> None:
    """The main job on embedded defaults: offline, CPU, about five minutes. Run it again to resume or to look.

    Example: oneday demo --run runs/demo
    """
    from oneday.demo.demo import run_demo
    from oneday.display.console import Console

    run_demo(run, budget=budget, retain=retain, redo=redo, console=Console(json_line=json))


@curate_app.callback()
def curate(
    ctx: typer.Context,
    tasks: Annotated[
        list[Path] | None, typer.Option(help="Folder or file of NI tasks, or JSON lines of your own. May be repeated.")
    ] = None,
    base: Annotated[Path | None, typer.Option(help="Folder of the base model.")] = None,
    run: Annotated[
        Path | None, typer.Option(help="Run folder. Default: runs/MIX, or runs/ and the name of your file.")
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="recommended, birbal-paper or birbal-scripts.",
            autocompletion=lambda: ["recommended", "birbal-paper", "birbal-scripts"],
        ),
    ] = "recommended",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of any choice of the preset. May be repeated.")
    ] = None,
    mix: Annotated[
        str | None,
        typer.Option(
            help="200k, 400k or 700k: all sources of the paper's Table 1. Default: what --tasks and --source name.",
            autocompletion=lambda: ["200k", "400k", "700k"],
        ),
    ] = None,
    scale: Annotated[float, typer.Option(help="Scales Table 1's rows, not your own; 0.01 takes a hundredth.")] = 1.0,
    take_all: Annotated[
        bool, typer.Option("--take-all", help="Keep all rows of your own, whatever the base makes of them.")
    ] = False,
    own_share: Annotated[
        float | None, typer.Option(help="Share of the mix that is rows of your own: 0.3. Default: all there are.")
    ] = None,
    fit: Annotated[str | None, typer.Option(help="Size the mix so that training fills this budget: 24h.")] = None,
    tokens_per_s: Annotated[float | None, typer.Option(help="With --fit: what the card trains.")] = None,
    train_share: Annotated[
        float | None, typer.Option(help="With --fit: part of the budget that trains. Default: 0.92.")
    ] = None,
    without: Annotated[str, typer.Option(help="Sources to leave out, by comma.")] = "",
    source: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE, NAME=hub or NAME=hub@REVISION. May be repeated.")
    ] = None,
    hub: Annotated[bool, typer.Option("--hub", help="Fetch what is not found from the datasets hub.")] = False,
    against: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE of an evaluation suite that no row may repeat. May be repeated.")
    ] = None,
    licences: Annotated[str | None, typer.Option(help="all, commercial or known.")] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Folder or file that counts tokens, or none. Default: the base's.")
    ] = None,
    instances_per_task: Annotated[
        int | None, typer.Option(min=1, max=10_000_000, help="Instances asked per task.")
    ] = None,
    task_list: Annotated[
        Path | None, typer.Option(help="File of task names to take instead of the rules; birbal: the winner's 462.")
    ] = None,
    kinds: Annotated[Path | None, typer.Option(help="Overrides: lines of `task exact_match|generation`.")] = None,
    predictor: Annotated[
        str, typer.Option(help="transformers, openai, replay, or ray: before one of them.")
    ] = "transformers",
    predictions: Annotated[list[Path] | None, typer.Option(help="Stored predictions, with replay.")] = None,
    url: Annotated[str | None, typer.Option(help="With openai: http://HOST:PORT/v1.")] = None,
    model: Annotated[str | None, typer.Option(help="With openai: the model's name there.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=65_536, help="With openai: most requests in flight.")] = 64,
    ray_address: Annotated[
        str | None, typer.Option(help="With ray: auto, or HOST:PORT. Default: this machine.")
    ] = None,
    ray_workers: Annotated[
        int | None, typer.Option(min=1, max=65_536, help="With ray. Default: one per GPU or machine.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=65_536, help="Prompts per forward pass.")] = 32,
    precision: Annotated[str | None, typer.Option(help="fp32, bf16 or 4bit. Default: bf16 on a GPU.")] = None,
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="Stop asking a task once its bucket is certain.")
    ] = False,
    normaliser: Annotated[str | None, typer.Option(help="strict, stripped, normalised or words-and-numbers.")] = None,
    rouge: Annotated[str | None, typer.Option(help="rouge-score, rouge or words-and-numbers.")] = None,
    empty: Annotated[str | None, typer.Option(help="What an empty prediction scores: zero or reference.")] = None,
    retain: Annotated[float | None, typer.Option(help="Share of rows that the base already gets right.")] = None,
    shots: Annotated[int | None, typer.Option(min=0, max=1_000, help="At most so many shots. Default: all.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=1_024, help="Processes that score. Default: one per core.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of every draw.")] = 2023,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print prompts, tokens, time and cost; ask nothing.")
    ] = False,
    prompts_per_s: Annotated[float | None, typer.Option(min=1e-9, help="With --dry-run: the engine's speed.")] = None,
    price_per_hour: Annotated[float | None, typer.Option(min=0, help="With --dry-run: of the machine.")] = None,
    price_per_million_tokens: Annotated[str | None, typer.Option(help="With --dry-run: IN or IN,OUT.")] = None,
    diff: Annotated[str | None, typer.Option(help="Print how another preset differs, in choices and rows.")] = None,
    stability: Annotated[
        bool, typer.Option("--stability", help="Print what another score or seed would change.")
    ] = False,
    check: Annotated[Path | None, typer.Option(help="List every problem of a task file, folder or own data.")] = None,
    verify: Annotated[Path | None, typer.Option(help="Recompute every hash of a run folder.")] = None,
    redo: Redo = False,
    json: Json = False,
) -> None:
    """NI tasks -> few-shot predictions of the base model -> scores -> buckets -> samples -> mix.

    Examples: oneday curate --tasks natural-instructions/tasks --base models/Mistral-7B-v0.1 --mix 200k --run runs/200k
              oneday curate --tasks mine.jsonl --base models/Mistral-7B-v0.1 --run runs/mine
    """
    if ctx.invoked_subcommand is not None:
        return
    from core.generation.engine import Engine
    from oneday.commands import curate as commands
    from oneday.commands import curation_questions as questions
    from oneday.display.console import Console

    console = Console(json_line=json)
    request = commands.CurateRequest(
        tasks=tasks or [],
        engine=Engine(
            name=predictor,
            base=base,
            predictions=tuple(predictions or ()),
            batch_size=batch_size,
            precision=commands.precision_of(precision),
            url=url,
            sends_key=url is not None,
            model=model,
            concurrency=concurrency,
            ray_address=ray_address,
            ray_workers=ray_workers,
        ),
        run=run or commands.default_run(mix, tasks or []),
        preset=preset,
        settings=set_ or [],
        mix=mix,
        scale=scale,
        without=without,
        sources=source or [],
        hub=hub,
        against=against or [],
        tokenizer=tokenizer,
        instances_per_task=instances_per_task,
        task_list=task_list,
        kinds=kinds,
        licences=licences,
        normaliser=normaliser,
        rouge=rouge,
        empty=empty,
        retain=retain,
        take_all=take_all,
        own_share=own_share,
        shots=shots,
        adaptive=adaptive,
        fit=fit,
        tokens_per_s=tokens_per_s,
        train_share=train_share,
        workers=workers,
        seed=seed,
        redo=redo,
    )
    if check is not None:
        questions.run_check(check, console)
    elif verify is not None:
        questions.run_verify(verify, console)
    elif diff is not None:
        questions.run_diff(request, diff, console)
    elif stability:
        questions.run_stability(request, console)
    elif dry_run:
        prices = questions.Prices(
            prompts_per_s=prompts_per_s, per_million_tokens=price_per_million_tokens, per_hour=price_per_hour
        )
        questions.run_dry(request, prices, console)
    else:
        commands.run_curate(request, console)


@curate_app.command("score")
def curate_score(
    predictions: Annotated[Path, typer.Option(help="JSON lines with task, id, references, prediction.")],
    rouge: Annotated[str, typer.Option(help="rouge-score, rouge or words-and-numbers.")] = "rouge-score",
    empty: Annotated[str, typer.Option(help="What an empty prediction scores: zero or reference.")] = "zero",
    normaliser: Annotated[str, typer.Option(help="strict, stripped, normalised or words-and-numbers.")] = "normalised",
    json: Json = False,
) -> None:
    """Scores stored predictions, without model or task files.

    Example: oneday curate score --predictions predictions.jsonl --rouge rouge --empty zero --json
    """
    from oneday.commands.curation_questions import run_score
    from oneday.display.console import Console

    run_score(predictions, rouge=rouge, empty=empty, normaliser=normaliser, console=Console(json_line=json))
