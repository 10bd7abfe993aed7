"""Runs the command line. Parses, opens files, passes things in; every decision stands in the packages.

Exit codes: 0 finished, 2 something the user can mend, 3 interrupted and resumable, 1 a bug.
"""

import contextlib
import os
import select
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from core.errors import Interrupted, OnedayError
from core.threads import choose_waiting
from oneday.cli.app import app
from oneday.cli.spelling import spelled


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits with its exit code."""
    choose_waiting(os.environ)
    given = sys.argv[1:] if arguments is None else arguments
    if wrong := next((text for text in given if not _is_text(text)), None):
        sys.exit(_fail(f"argument {wrong[:200]!a}: not valid Unicode. Rename that file or folder in UTF-8."))
    sys.exit(exit_code(lambda: app(given, prog_name="oneday", standalone_mode=False), given))


def exit_code(work: Callable[[], object], given: Sequence[str]) -> int:
    """Runs `work` and returns the exit code. An error is printed in one line."""
    try:
        with interrupts_kept():
            code = work()
    except (click.Abort, KeyboardInterrupt):  # before a command has begun, or while it ends
        code = _interrupted("finished stages are kept.", given)
    except SystemExit as e:
        code = _after_broken_pipe(e)
    except Exception as e:
        told = _told(e, given)
        if told is None:
            raise  # a bug: a traceback and exit code 1
        code = told
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


def _told(error: Exception, given: Sequence[str]) -> int | None:
    """Says in one line what the user can do, and returns the exit code; None: nothing, the error is a bug."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print(error.format_message())
        return 2
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else "oneday"
        return _fail(f"{error.format_message()} See {where} --help.")
    if isinstance(error, Interrupted):
        return _interrupted(str(error), given)
    if isinstance(error, OnedayError):
        return _fail(str(error))
    found = _users_error(error)
    return _fail(str(found)) if found else None


def _users_error(error: Exception) -> OnedayError | None:
    """An error of the operating system or of an import as one that the user can mend."""
    from core.extras import missing_package
    from core.files import users_error

    if isinstance(error, OSError):
        return users_error(error)
    return missing_package(error) if isinstance(error, ModuleNotFoundError) else None


def _after_broken_pipe(end: SystemExit) -> int:
    """0 where the reader of our output has enough.

    click ends at every broken pipe with exit code 1 and no message. The broken pipe of a child is a bug.
    """
    broken = end.__context__
    if not isinstance(broken, BrokenPipeError):
        raise end
    if not _nobody_reads():
        raise broken
    return 0


def _nobody_reads() -> bool:
    """Whether the reader of our output has ended: the kernel reports an error on its pipe then."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a stream without a file
            poll.register(stream.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


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
    # CPython notes an interrupt that leaves an `exec` of text, with which dataclasses are made, as one that nobody
    # handled, and ends the process by SIGINT instead of with our code. The next `exec` takes the note back.
    exec("")  # noqa: S102
    return 3
