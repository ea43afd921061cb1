"""The commands ``armwheels logs`` and ``armwheels report``."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from builder.commands.terminal import out
from builder.errors import ConfigError
from builder.index.local import open_index
from builder.settings import home_dir

NightOption = Annotated[
    str | None, typer.Option("--night", metavar="NIGHT", help="Id of the night. Default: the newest one.")
]
_LOOK = 2.0  # seconds between two looks at a log that grows


def logs(
    build: Annotated[str, typer.Argument(metavar="BUILD", help="Build id, as `armwheels plan` prints it.")],
    night: NightOption = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on printing what is added, until Ctrl-C.")
    ] = False,
) -> None:
    """Print the log of a build from the index: what each stage did, and the output of its compile.

    Example: armwheels logs numpy-2.4.6-cp313-neoverse-v1-openblas --follow
    """
    with open_index(home_dir(), write=False) as index:
        last = ""
        while True:
            text, last = index.log(build, night, last)
            typer.echo(text, nl=False)
            if not follow:
                return
            time.sleep(_LOOK)


def report(
    night: Annotated[
        str | None, typer.Argument(metavar="[NIGHT]", help="Id of the night. Default: the newest one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of Markdown.")] = False,
) -> None:
    """Print the report of a night as Markdown: what is missing and why, time, sizes, and speed.

    Example: armwheels report
    """
    from builder.fleet.report import Report, markdown

    with open_index(home_dir(), write=False) as index:
        known = index.nights()
        if not known:
            raise ConfigError("the index has no report of a night yet")
        chosen = Report.model_validate(index.report(night or known[0]))
    if as_json:
        typer.echo(chosen.model_dump_json(indent=1))
    else:
        out.print(markdown(chosen), end="", highlight=False, markup=False, soft_wrap=True)
