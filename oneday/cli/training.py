"""Training: `rehearse`, `plan`, `train`, `pick`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from oneday.cli.app import BaseChanged, BaseFolder, CardName, Config, Json, Mix, Redo, RunFolder, app


@app.command(short_help="Train inside the budget; the same command resumes.")
def train(
    mix: Mix = None,
    config: Config = None,
    card: CardName = None,
    budget: Annotated[str, typer.Option(help="Wall-clock from the start of training to the pick: 24h, 90m.")] = "24h",
    base: BaseFolder = None,
    run: RunFolder = None,
    clock: Annotated[str, typer.Option(help="strict charges the time a run lay down, compute does not.")] = "strict",
    track: Annotated[
        list[str] | None,
        typer.Option(
            help="tensorboard, wandb, mlflow or trackio. May be repeated. Default: none.",
            autocompletion=lambda: ["tensorboard", "wandb", "mlflow", "trackio"],
        ),
    ] = None,
    follow_plan: Annotated[Path | None, typer.Option(help="The 07_train/plan.jsonl of a run to repeat.")] = None,
    auto_fit: Annotated[bool, typer.Option("--auto-fit", help="Take smaller settings if memory is too small.")] = False,
    average: Annotated[int, typer.Option(min=0, max=100, help="Try the average of so many of the best.")] = 0,
    rehearsal: Annotated[bool, typer.Option(help="Measure first whether and how it fits.")] = True,
    shared_card: Annotated[bool, typer.Option("--shared-card", help="Others may use the card.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Go on when this terminal is closed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done.")] = False,
    redo: Redo = False,
    json: Json = False,
) -> None:
    """Trains with Axolotl inside the budget; the same command resumes an interrupted run.

    Example: oneday train --mix runs/200k/05_mix --config axolotl_configs/mistral_7b_qlora_4090.yml --card rtx4090
    """
    from oneday.commands.train import TrainRequest, run_detached, run_train
    from oneday.display.console import Console

    request = TrainRequest(
        mix=mix, config=config, card=card, budget=budget, base=base, run=run, clock=clock, follow_plan=follow_plan,
        dry_run=dry_run, redo=redo, auto_fit=auto_fit, average=average, shared_card=shared_card, rehearses=rehearsal,
        track=tuple(track or ()),
    )  # fmt: skip
    if detach and not dry_run:
        run_detached(request, Console(json_line=json))
    else:
        run_train(request, Console(json_line=json))


@app.command(short_help="Measure what this run costs here, before the clock.")
def rehearse(
    mix: Mix = None,
    config: Config = None,
    card: CardName = None,
    base: BaseFolder = None,
    run: RunFolder = None,
    shared_card: Annotated[bool, typer.Option("--shared-card", help="Others may use the card.")] = False,
    redo: Redo = False,
    json: Json = False,
) -> None:
    """Measures what start, step, evaluation and save cost here, and whether the worst batch fits. Nothing is charged.

    Example: oneday rehearse --mix runs/200k/05_mix --config axolotl_configs/mistral_7b_qlora_4090.yml --card rtx4090
    """
    from oneday.commands.plan import run_rehearse
    from oneday.commands.train import TrainRequest
    from oneday.display.console import Console

    request = TrainRequest(
        mix=mix, config=config, card=card, base=base, run=run, redo=redo, shared_card=shared_card
    )  # fmt: skip
    run_rehearse(request, Console(json_line=json))


@app.command(short_help="How far a budget goes: steps, epochs, finish.")
def plan(
    mix: Mix = None,
    config: Config = None,
    card: CardName = None,
    budget: Annotated[str, typer.Option(help="24h, 90m.")] = "24h",
    base: BaseFolder = None,
    run: RunFolder = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="The paper's 200K mix, from the card's profile.")] = False,
    json: Json = False,
) -> None:
    """Shows how far a budget goes: steps, epochs, finish, and what the paper's mixes would need.

    From the run's rehearsal if there is one, else from the card's profile, marked as an estimate.

    Examples: oneday plan --mix runs/200k/05_mix --card rtx4090
              oneday plan --dry-run --card a100-40gb --budget 24h
    """
    from oneday.commands.plan import run_plan
    from oneday.commands.train import TrainRequest
    from oneday.display.console import Console

    request = TrainRequest(
        mix=mix, config=config, card=card, budget=budget, base=base, run=run, dry_run=dry_run
    )  # fmt: skip
    run_plan(request, Console(json_line=json))


@app.command(short_help="Pick the checkpoint with the lowest validation loss.")
def pick(
    folder: Annotated[Path, typer.Argument(help="Run folder, or a folder of PEFT checkpoints.")],
    time: Annotated[str | None, typer.Option(help="At most so long, publishing included: 10m.")] = None,
    average: Annotated[int, typer.Option(min=0, max=100, help="Try the average of so many of the best.")] = 0,
    base: Annotated[Path | None, typer.Option(help="Base model folder. Default: the run's, the adapter's.")] = None,
    validation: Annotated[Path | None, typer.Option(help="Rows to measure on. Default: the run's.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, bf16 or 4bit. Default: as trained.")] = None,
    base_changed: BaseChanged = False,
    uncharged: Annotated[bool, typer.Option("--uncharged", help="Outside of the run's budget; noted there.")] = False,
    seed: Annotated[int, typer.Option(help="Of the order of rows.")] = 2023,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done.")] = False,
    json: Json = False,
) -> None:
    """Picks the checkpoint with the lowest validation loss; its LoRA adapter goes to 08_pick/adapter.

    Losses that the trainer measured are taken; the other checkpoints are raced over random validation rows. In a run
    the time is charged to its budget.

    Examples: oneday pick runs/200k --time 10m --average 3
              oneday pick their_output --validation rows.jsonl --base models/Mistral-7B-v0.1 --precision 4bit
    """
    from oneday.commands.pick import PickRequest, run_pick_within_its_time
    from oneday.display.console import Console

    request = PickRequest(
        folder=folder, time=time, average=average, base=base, validation=validation, precision=precision,
        base_changed=base_changed, uncharged=uncharged, seed=seed, dry_run=dry_run,
    )  # fmt: skip
    run_pick_within_its_time(request, sys.argv[1:], Console(json_line=json))
