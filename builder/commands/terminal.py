"""The consoles of all commands."""

from __future__ import annotations

import sys

from rich.console import Console

_NO_LIMIT = 100_000


def make_console(*, stderr: bool = False) -> Console:
    """A console that breaks lines on a terminal alone: what reads a file or a pipe reads whole lines."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, emoji=False, width=None if stream.isatty() else _NO_LIMIT)


out = make_console()
err = make_console(stderr=True)
