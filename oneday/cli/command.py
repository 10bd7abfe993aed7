"""Builds a click command from a request class: options, checks, help and completion.

    command = request_command(Entry(name="ledger", request=LedgerRequest, runs="oneday.display.training:run_ledger"))

`--help` shows the options that people use, in panels; `--help-all` shows every one.

Where it sits: requests -> **command** -> app.
"""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from core.errors import Interrupted, OnedayError
from oneday.cli.spelling import spelled
from oneday.requests.request import GENERAL, Request, RequestField, listed, named_values, request_fields, summary

ALL = "oneday.help_all"
"""Key in `ctx.meta`: the user gave `--help-all`."""

COMMANDLINE = click.core.ParameterSource.COMMANDLINE

LAST = "help"
"""Panel of the options that are no fields, such as `--help`; shown after the general options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A command: its request class and the function that carries it out."""

    name: str
    request: type[Request]
    runs: str
    """`module:function`. It is called with the request and the console, and imported only when the command runs."""
    commands: "tuple[Entry, ...]" = ()
    """Subcommands. The command also runs without one."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Options of earlier versions -> what the user types instead."""


class OneOf(click.ParamType[Any]):
    """A value of a closed set, or of a set that is only suggested."""

    name = "text"

    def __init__(self, f: RequestField) -> None:
        self.field = f

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Returns the value.

        Raises:
            OnedayError: it is not in the closed set.
        """
        known = self.field.values
        if known and value not in known:
            use = listed(known) if len(known) == 2 else ", ".join(known)
            raise OnedayError(f"{self.field.flag} {value[:40]}: unknown. Use {use}.")
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The values that start with what was typed."""
        known = self.field.values or named_values(self.field.option.suggests)
        return [CompletionItem(value) for value in known if value.startswith(incomplete)]


class RequestOption(click.Option):
    """The option of a field. Its help is read from the source when it is shown."""

    def __init__(self, f: RequestField) -> None:
        flag = f"{f.flag}/{f.negative_flag}" if f.negative_flag else f.flag
        is_many = f.num_values == -1
        super().__init__(
            [f.name, flag],
            type=_type(f),
            required=f.is_required,
            multiple=is_many,
            nargs=1 if is_many else f.num_values,
            is_flag=f.kind is bool or None,  # with False click takes an option without its value for a flag
            show_default=True,
            **_default(f),
        )
        self.field = f

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Flags and help."""
        self.help = self.field.text + " May be repeated." * self.multiple
        return super().get_help_record(ctx)


class RequestArgument(click.Argument):
    """The positional argument of a field."""

    def __init__(self, f: RequestField) -> None:
        super().__init__([f.name], type=_type(f), required=f.is_required, nargs=f.num_values, **_default(f))
        self.field = f

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Name and help."""
        return self.make_metavar(ctx), self.field.text


def _default(f: RequestField) -> dict[str, Any]:
    """Empty without a default: click would treat a default of None as a value."""
    return {} if f.is_required or f.num_values == -1 or f.default is None else {"default": f.default}


def _type(f: RequestField) -> click.ParamType[Any]:
    option = f.option
    if option.one_of or option.suggests or f.literals:
        return OneOf(f)
    if option.low is None and option.high is None:
        return click.Path(path_type=Path) if f.kind is Path else click.types.convert_type(f.kind)
    bounds: Any = (option.low, option.high)
    return click.IntRange(*bounds) if f.kind is int else click.FloatRange(*bounds)


class RequestCommand(click.Command):
    """A command whose help groups options in panels."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the arguments, the panels and the number of rare options that are not shown."""
        panels: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        num_left_out = 0
        for param in self.get_params(ctx):
            option = param.field.option if isinstance(param, RequestOption) else None
            if option and option.is_rare and not ctx.meta.get(ALL):
                num_left_out += 1
            elif record := param.get_help_record(ctx):
                is_last = option is None and isinstance(param, click.Option)
                panel = option.panel if option else LAST if is_last else "Arguments"
                panels.setdefault(panel, []).append(record)
        last = [*panels.pop(GENERAL, []), *panels.pop(LAST)]
        for heading, records in {**panels, GENERAL: last}.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
        if num_left_out:
            formatter.write_paragraph()
            formatter.write_text(
                f"{ctx.command_path} --help-all shows {num_left_out} more; docs/reference.md explains every choice."
            )


class RequestGroup(RequestCommand, click.Group):
    """A command with subcommands that also runs without one."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options, then the subcommands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def request_command(entry: Entry) -> RequestCommand:
    """Builds the command of an entry."""

    def call(**values: Any) -> None:
        context = click.get_current_context()
        if context.invoked_subcommand is None:
            _run(entry, entry.request(**values))
        elif given := [name for name in values if context.get_parameter_source(name) is COMMANDLINE]:
            behind = f"{context.command_path} {context.invoked_subcommand}"
            raise click.UsageError(f"--{given[0].replace('_', '-')} stands behind the command: {behind} ...", context)

    parameters: list[click.Parameter] = [
        RequestArgument(f) if f.option.is_argument else RequestOption(f) for f in request_fields(entry.request)
    ]
    parameters += map(_renamed, entry.renamed.items())
    parameters.append(_help_all(hidden=not any(f.option.is_rare for f in request_fields(entry.request))))
    text = inspect.cleandoc(entry.request.__doc__ or "").replace("\n\nExample", "\n\n\b\nExample")
    about: dict[str, Any] = {"params": parameters, "callback": call, "help": text, "short_help": summary(entry.request)}
    if not entry.commands:
        return RequestCommand(entry.name, **about)
    group = RequestGroup(entry.name, invoke_without_command=True, **about)
    for inner in entry.commands:
        group.add_command(request_command(inner))
    return group


def _run(entry: Entry, request: Request) -> None:
    """Carries the request out. The fields that an error names are replaced by options."""
    from oneday.display.console import Console

    module, _, name = entry.runs.partition(":")
    console = Console(json_line=getattr(request, "json", False), spelled=lambda text: spelled(text, entry.request))
    try:
        getattr(importlib.import_module(module), name)(request, console)
    except (OnedayError, Interrupted) as e:
        e.args = (spelled(str(e), entry.request),)
        raise
    except KeyboardInterrupt as e:
        raise Interrupted("finished stages are kept.") from e


def _renamed(names: tuple[str, str]) -> click.Option:
    old, new = names

    def refuse(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value is not None and value is not False:
            raise click.UsageError(f"{old} is a command now: {new.replace('VALUE', str(value))}.", ctx)

    return click.Option(
        [old], is_flag="VALUE" not in new or None, hidden=True, expose_value=False, is_eager=True, callback=refuse
    )


def _help_all(*, hidden: bool) -> click.Option:
    def show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            ctx.meta[ALL] = True
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()

    return click.Option(
        ["--help-all"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        hidden=hidden,
        help="Show every option and exit.",
    )
