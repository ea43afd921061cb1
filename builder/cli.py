"""The program ``armwheels``: assembles its commands, and turns errors into exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import typer
from rich.markup import escape

from builder.commands import channels
from builder.commands.bench import bench
from builder.commands.build import build, plan
from builder.commands.console import err
from builder.commands.lock import lock
from builder.commands.machine import doctor, python, targets
from builder.commands.nightly import nightly
from builder.commands.wheels import audit, publish, verify
from builder.errors import (
    ArmwheelsError,
    as_disk_error,
)

app = typer.Typer(
    name="armwheels",
    help="Build Python wheels tuned for each Arm server CPU, check them, and publish them on an index.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
PANELS: Mapping[str, Sequence[Callable[..., None]]] = {
    "Build": (plan, nightly, build),
    "Check and measure": (audit, verify, bench),
    "Publish": (publish, *channels.COMMANDS),
    "Machine and pins": (doctor, targets, python, lock),
}
for panel, commands in PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)


def main() -> None:
    """Run the command; an :class:`ArmwheelsError` ends it with that error's exit code."""
    try:
        app()
    except ArmwheelsError as error:
        _end(error)
    except OSError as error:
        if (full := as_disk_error(error)) is None:
            raise
        _end(full)


def _end(error: ArmwheelsError) -> NoReturn:
    err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
    sys.exit(error.exit_code)
