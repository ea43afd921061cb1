"""The command ``armwheels``: the one place where an error becomes an exit code."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from builder.errors import ArmwheelsError

app = typer.Typer(
    name="armwheels",
    help="Wheels cross-compiled and tuned for each Arm server CPU, proven and published.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)


def main() -> None:
    """Run the command; an :class:`ArmwheelsError` ends it with that error's exit code."""
    try:
        app()
    except ArmwheelsError as error:
        err.print(f"[bold red]error:[/] {error}", highlight=False, markup=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("interrupted; run the same command again to go on from here")
        sys.exit(130)
