"""The program ``armwheels-index``: loads the command that is run, and turns errors into exit codes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module

import typer
from rich.console import Console
from rich.markup import escape

from index_server.errors import IndexServerError

COMMANDS: Mapping[
    str, tuple[str, str]
] = {  # its module in index_server.commands, and the arguments of an example
    "serve": ("serve", "--port 8080"),
    "token": ("tokens", "--name nightly --scope upload:numpy --scope move:nightly"),
    "tokens": ("tokens", ""),
    "revoke": ("tokens", "nightly"),
    "check": ("check", "--deep"),
    "collect": ("upkeep", "--dry-run"),
    "backup": ("copies", "file:/mnt/backup"),
    "restore": ("copies", "file:/mnt/backup"),
    "leases": ("upkeep", "--days 1"),
    "mirror": ("upkeep", "pandas --target neoverse-v1 --python cp313"),
    "tuf": ("tuf", "status"),
}
err = Console(stderr=True, emoji=False)


def make_app(only: str | None = None) -> typer.Typer:
    """Return the program with all commands, or with the one named ``only``, which starts sooner."""
    app = typer.Typer(
        name="armwheels-index",
        help="Store wheels and serve them, with a separate package index (PEP 503) for each CPU.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)  # one command alone is named on the command line too
    for name, (module, arguments) in COMMANDS.items():
        if only not in COMMANDS or name == only:
            function = getattr(import_module(f"index_server.commands.{module}"), name)
            example = f"Example: [bold]{f'armwheels-index {name} {arguments}'.rstrip()}[/]"
            if isinstance(function, typer.Typer):
                app.add_typer(function, name=name, epilog=example)
            else:
                app.command(name, epilog=example)(function)
    return app


def main() -> None:
    """Run the command. On an :class:`IndexServerError`, print the message and exit with the error's exit code."""
    try:
        make_app(sys.argv[1] if len(sys.argv) > 1 else None)()
    except IndexServerError as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
