"""Shell completion: `oneday --show-completion` and `oneday --install-completion`.

click generates a script for bash, zsh and fish. A shell that sources it asks `oneday` for completions.

Where it sits: below the root of the command line.
"""

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from core.errors import OnedayError

VARIABLE = "_ONEDAY_COMPLETE"
"""The variable by which the script asks for completions. The name follows click's convention."""

STARTS = {"bash": ".bashrc", "zsh": ".zshrc"}
"""The file that a shell reads at start. fish reads a folder of scripts instead."""


def completion_options() -> list[click.Parameter]:
    """`--install-completion` and `--show-completion`."""
    about = {"is_flag": True, "is_eager": True, "expose_value": False}
    return [
        click.Option(["--install-completion"], callback=_install, help="Install completion for this shell.", **about),
        click.Option(["--show-completion"], callback=_show, help="Print the completion script.", **about),
    ]


def _show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(_script(ctx, _shell()))
        ctx.exit()


def _install(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        shell = _shell()
        click.echo(f"completion for {shell} installed in {install(shell, _script(ctx, shell), home=Path.home())}")
        click.echo("It takes effect in the next terminal.")
        ctx.exit()


def install(shell: str, script: str, *, home: Path) -> Path:
    """Writes the script below the home folder and makes the shell source it. Running it twice changes nothing more."""
    name = "oneday.fish" if shell == "fish" else f"oneday-completion.{shell}"
    path = home / ".config" / ("fish/completions" if shell == "fish" else "oneday") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script, encoding="utf-8")
    if shell in STARTS:
        start, line = home / STARTS[shell], f"source {path}\n"
        before = start.read_text(encoding="utf-8") if start.is_file() else ""
        if line not in before:
            start.write_text(f"{before}{line}", encoding="utf-8")
    return path


def _shell() -> str:
    name = Path(os.environ.get("SHELL", "")).name
    if get_completion_class(name) is None:
        raise OnedayError(f"SHELL is {name or 'not set'}: no completion for it. Start bash, zsh or fish.")
    return name


def _script(ctx: click.Context, shell: str) -> str:
    kind = get_completion_class(shell)
    assert kind is not None
    return kind(ctx.command, {}, "oneday", VARIABLE).source()
