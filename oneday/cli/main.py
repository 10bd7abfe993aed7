"""Runs the command line. Parses, opens files, passes things in; every decision stands in the packages.

Exit codes: 0 finished, 2 something the user can mend, 3 interrupted and resumable, 1 a bug.
"""

import shlex
import sys

import click

from oneday.cli import curation, doctor, looking, results, submission, training  # noqa: F401  (they register their commands)
from oneday.cli.app import app


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; turns errors into one line and an exit code."""
    from curation.errors import Interrupted, OnedayError

    try:
        code = app(arguments, standalone_mode=False)
    except (OnedayError, Interrupted) as e:
        code = _fail(str(e), interrupted=isinstance(e, Interrupted))
    except click.UsageError as e:
        where = e.ctx.command_path if e.ctx else "oneday"
        code = _fail(f"{e.format_message()} See {where} --help.")
    except BrokenPipeError:  # the reader of our output has enough
        sys.stderr.close()
        code = 0
    except OSError as e:
        code = _fail(f"{e.filename or 'the system'}: {e.strerror or e}. Check path, permissions and space.")
    except ModuleNotFoundError as e:
        code = _fail(f"{e.name} is not installed. pip install 'oneday-llm[train,serve]'.")
    if code == EXIT_SIGINT:
        code = _fail("finished stages are kept.", interrupted=True)
    sys.exit(code if isinstance(code, int) else 0)


EXIT_SIGINT = 130
"""What typer makes of a KeyboardInterrupt."""


def _fail(message: str, *, interrupted: bool = False) -> int:
    """One line on stderr, and the exit code."""
    if not interrupted:
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
        return 2
    command = " ".join(["oneday", *map(shlex.quote, sys.argv[1:])])
    print(f"interrupted: {message} Go on with the same command: {command}", file=sys.stderr)
    return 3
