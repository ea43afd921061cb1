"""The program ``armwheels``: loads the command that is run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module

import typer

from builder.commands.terminal import run

PANELS: Mapping[str, Mapping[str, str]] = {  # by the heading in the help: each command with its module
    "Build": {
        "plan": "build",
        "nightly": "nightly",
        "build": "build",
        "watch": "watch",
    },
    "Nights": {"worker": "worker", "engine": "schedule", "logs": "logs", "report": "logs"},
    "Check and measure": {
        "audit": "wheels",
        "survey": "survey",
        "verify": "wheels",
        "bench": "bench",
        "libraries": "libraries",
    },
    "Publish": {
        "variant": "variant",
        "publish": "wheels",
        "snapshot": "channels",
        "promote": "channels",
        "approve": "channels",
        "rollback": "channels",
        "history": "channels",
        "yank": "channels",
        "quarantine": "channels",
        "image": "image",
    },
    "Machine and pins": {"doctor": "machine", "targets": "machine", "python": "machine", "lock": "lock"},
    "Recipes": {"recipe": "recipe"},
    "Schedules": {"schedule": "schedule"},  # the help lists groups of commands last
}


def make_app(only: str | None = None) -> typer.Typer:
    """Return the program with all commands, or with the one named ``only``, which starts sooner."""
    app = typer.Typer(
        name="armwheels",
        help="Build Python wheels tuned for each Arm server CPU, check them, and publish them on an index.",
        no_args_is_help=True,
        add_completion=False,
        # typer draws boxes of 80 columns around the errors of arguments; a file or a pipe gets whole lines.
        rich_markup_mode="rich" if sys.stderr.isatty() else None,
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)  # one command alone is named on the command line too
    known = {name for commands in PANELS.values() for name in commands}
    for panel, commands in PANELS.items():
        for name, module in commands.items():
            if only not in known or name == only:
                function = getattr(import_module(f"builder.commands.{module}"), name)
                if isinstance(function, typer.Typer):
                    app.add_typer(function, name=name, rich_help_panel=panel)
                else:
                    app.command(name, rich_help_panel=panel)(function)
    return app


def main() -> None:
    """Run the command; an error ends it with that error's exit code."""
    run(lambda: make_app(sys.argv[1] if len(sys.argv) > 1 else None)())
