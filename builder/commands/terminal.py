"""The consoles of all commands, and the end of a program."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

from builder.errors import ArmwheelsError, as_disk_error, with_true_cause

INTERNAL = 70
"""Exit code of a fault of the program itself (sysexits.h, EX_SOFTWARE)."""
_NO_LIMIT = 100_000


def make_console(*, stderr: bool = False) -> Console:
    """A console that breaks lines on a terminal alone: what reads a file or a pipe reads whole lines."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, emoji=False, width=None if stream.isatty() else _NO_LIMIT)


out = make_console()
err = make_console(stderr=True)


def run(program: Callable[[], None]) -> None:
    """Run a program; an :class:`ArmwheelsError` ends it with a message and that error's exit code.

    Any other error is a fault of the program. Python would end it with 1, which is the code of a verdict.
    """
    try:
        program()
    except ArmwheelsError as error:
        _end(with_true_cause(error))
    except Exception as error:
        if isinstance(error, OSError) and (full := as_disk_error(error)) is not None:
            _end(full)
        traceback.print_exc()
        sys.exit(INTERNAL)


def say_error(error: ArmwheelsError) -> None:
    """Print the message of an error."""
    err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)


def _end(error: ArmwheelsError) -> NoReturn:
    say_error(error)
    sys.exit(error.exit_code)
