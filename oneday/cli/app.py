"""All commands of `oneday`, in the order in which they are used.

A command is a request class and the function that carries it out. Options, help, completion and reference page are made
from the request class.
"""

from typing import Any

import click

from oneday.cli.command import Entry, request_command
from oneday.cli.completion import completion_options
from oneday.requests.building import (
    BuildCleanRequest,
    BuildConversationsRequest,
    BuildersRequest,
    BuildFeedbackRequest,
    BuildMixRequest,
    BuildPreferencesRequest,
    BuildRequest,
    BuildTableRequest,
    BuildTranslateRequest,
    BuildUniformRequest,
    BuildVerdictsRequest,
)
from oneday.requests.curation import (
    CheckRequest,
    CurateRequest,
    DemoRequest,
    DiffRequest,
    ProbeLossesRequest,
    ScorePredictionsRequest,
    StabilityRequest,
    VerifyRequest,
)
from oneday.requests.evaluating import EvaluateRequest, GenerateRequest
from oneday.requests.fetching import BaseRequest
from oneday.requests.looking import CompareRequest, DoctorRequest, LedgerRequest, ReportRequest, WatchRequest
from oneday.requests.studying import StudyRequest
from oneday.requests.submission import (
    ChatRequest,
    ExportRequest,
    HelmRequest,
    PackageRequest,
    ReproduceRequest,
    ScoreRequest,
    ServeRequest,
    TryRequest,
)
from oneday.requests.training import PickRequest, PlanRequest, RehearseRequest, TrainRequest

CURATE = Entry(
    name="curate",
    request=CurateRequest,
    runs="oneday.commands.curation_questions:run_curate_command",
    commands=(
        Entry(name="score", request=ScorePredictionsRequest, runs="oneday.commands.curation_questions:run_score"),
        Entry(name="diff", request=DiffRequest, runs="oneday.commands.curation_questions:run_diff"),
        Entry(name="losses", request=ProbeLossesRequest, runs="oneday.commands.curation_questions:run_losses"),
        Entry(name="stability", request=StabilityRequest, runs="oneday.commands.curation_questions:run_stability"),
    ),
    renamed={
        "--check": "oneday check VALUE",
        "--verify": "oneday verify VALUE",
        "--diff": "oneday curate diff VALUE, with the same options",
        "--stability": "oneday curate stability, with the same options",
    },
)

BUILDS: tuple[type[BuildRequest], ...] = (
    BuildMixRequest,
    BuildUniformRequest,
    BuildTableRequest,
    BuildConversationsRequest,
    BuildPreferencesRequest,
    BuildFeedbackRequest,
    BuildVerdictsRequest,
    BuildTranslateRequest,
    BuildCleanRequest,
)

BUILD = Entry(
    name="build",
    request=BuildersRequest,
    runs="oneday.commands.build:run_builders",
    commands=tuple(Entry(name=kind.kind, request=kind, runs="oneday.commands.build:run_build") for kind in BUILDS),
)

COMMANDS = (
    Entry(name="demo", request=DemoRequest, runs="oneday.demo.demo:run_demo"),
    Entry(name="doctor", request=DoctorRequest, runs="oneday.commands.doctor:run_doctor"),
    Entry(name="base", request=BaseRequest, runs="oneday.commands.training.base:run_base"),
    Entry(name="check", request=CheckRequest, runs="oneday.commands.check:run_check"),
    CURATE,
    BUILD,
    Entry(name="rehearse", request=RehearseRequest, runs="oneday.commands.training.plan:run_rehearse"),
    Entry(name="plan", request=PlanRequest, runs="oneday.commands.training.plan:run_plan"),
    Entry(name="train", request=TrainRequest, runs="oneday.commands.training.train:run_train_command"),
    Entry(name="watch", request=WatchRequest, runs="oneday.display.live_view:run_watch"),
    Entry(name="pick", request=PickRequest, runs="oneday.commands.training.pick:run_pick_within_its_time"),
    Entry(name="compare", request=CompareRequest, runs="oneday.commands.compare:run_compare"),
    Entry(name="generate", request=GenerateRequest, runs="oneday.commands.evaluation.generate:run_bounded"),
    Entry(name="evaluate", request=EvaluateRequest, runs="oneday.commands.evaluation.evaluate:run_evaluate"),
    Entry(name="study", request=StudyRequest, runs="oneday.commands.studying.study:run_study_command"),
    Entry(name="report", request=ReportRequest, runs="oneday.commands.report:run_report"),
    Entry(name="ledger", request=LedgerRequest, runs="oneday.display.training:run_ledger"),
    Entry(name="verify", request=VerifyRequest, runs="oneday.commands.curation_questions:run_verify"),
    Entry(name="export", request=ExportRequest, runs="oneday.commands.export:run_export"),
    Entry(name="package", request=PackageRequest, runs="oneday.commands.package:run_package"),
    Entry(name="serve", request=ServeRequest, runs="oneday.commands.serve:run_serve"),
    Entry(name="try", request=TryRequest, runs="oneday.commands.serve:run_try"),
    Entry(name="chat", request=ChatRequest, runs="oneday.commands.chat:run_chat"),
    Entry(name="helm", request=HelmRequest, runs="oneday.commands.helm:run_helm_command"),
    Entry(name="score", request=ScoreRequest, runs="oneday.commands.score:run_score"),
    Entry(name="reproduce", request=ReproduceRequest, runs="oneday.commands.reproduce:run_reproduce"),
)


class Root(click.Group):
    """Lists commands in the order of `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of `COMMANDS`, not alphabetically."""
        return list(self.commands)


def _show_versions(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from core.manifest import versions

        click.echo(", ".join(f"{name} {version}" for name, version in versions().items()))
        ctx.exit()


def make_app() -> Root:
    """Builds the root with all commands."""
    version = click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_show_versions, help="Versions."
    )
    about: dict[str, Any] = {
        "help": "One LLM, one GPU, one day: choose the data, train inside the budget, serve the result.",
        "epilog": "A first look: oneday demo. On your card: oneday curate, oneday train, oneday serve.",
        "context_settings": {"help_option_names": ["-h", "--help"]},
    }
    root = Root("oneday", no_args_is_help=True, params=[version, *completion_options()], **about)
    for entry in COMMANDS:
        root.add_command(request_command(entry))
    return root


app = make_app()
