"""Runs the command line. Parses, opens files, passes things in; every decision stands in the packages.

Exit codes: 0 finished, 2 something the user can mend, 3 interrupted and resumable, 1 a bug.
"""

import contextlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from core.errors import Interrupted, OnedayError
from core.threads import wait_briefly
from oneday.cli.app import app
from oneday.cli.spelling import spelled


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits with its exit code."""
    wait_briefly(os.environ)
    given = sys.argv[1:] if arguments is None else arguments
    if wrong := next((text for text in given if not _is_text(text)), None):
        sys.exit(_fail(f"argument {wrong[:200]!a}: not valid Unicode. Rename that file or folder in UTF-8."))
    sys.exit(exit_code(lambda: app(given, prog_name="oneday", standalone_mode=False), given))


def exit_code(work: Callable[[], object], given: Sequence[str]) -> int:
    """Runs `work` and returns the exit code. An error is printed in one line."""
    try:
        with interrupts_kept():
            code = work()
    except Interrupted as e:
        code = _interrupted(str(e), given)
    except OnedayError as e:
        code = _fail(str(e))
    except (click.Abort, KeyboardInterrupt):  # before a command has begun, or while it ends
        code = _interrupted("finished stages are kept.", given)
    except click.exceptions.NoArgsIsHelpError as e:
        print(e.format_message())
        code = 2
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
    return code if isinstance(code, int) else 0


@contextlib.contextmanager
def interrupts_kept() -> Iterator[None]:
    """SIGTERM acts like Ctrl-C; and either, where it falls into a finaliser, comes again a moment later.

    From there Python lets no exception out. Libraries that compile patterns on import run thousands of finalisers: 2 of
    6 interrupts were lost so in a short curation (measured).
    """
    before = sys.unraisablehook
    handler = signal.signal(signal.SIGTERM, _interrupt)

    def hook(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            # SIGTERM, for a shell's background job ignores SIGINT
            again = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGTERM))
            again.daemon = True
            again.start()
        else:
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _is_text(argument: str) -> bool:
    """No NUL, and no bytes beside UTF-8, which Python hands on as surrogates: no path, no JSON can hold them."""
    return not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in argument)


LONGEST_WORD = 300
"""Characters; a path of 5,000 is cut in its middle."""


def _one_line(message: str) -> str:
    """As a terminal can show it: control characters, which a file's name or content may bring, stand as escapes."""
    words = [w if len(w) <= LONGEST_WORD else f"{w[: LONGEST_WORD // 2]}…{w[-100:]}" for w in message.split()]
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(words))


def _fail(message: str) -> int:
    """One line on stderr, and the exit code."""
    print(f"error: {_one_line(spelled(message))}", file=sys.stderr)
    return 2


def _interrupted(message: str, given: Sequence[str]) -> int:
    """Prints how to continue and returns the exit code."""
    command = " ".join(["oneday", *map(shlex.quote, given)])
    print(f"interrupted: {message} Go on with the same command: {command}", file=sys.stderr)
    return 3
