"""The command ``armwheels nightly``."""

from __future__ import annotations

from typing import Annotated

import typer

from builder import nightly as nightly_room
from builder.commands import console
from builder.commands.build import MatrixOption, stoppable
from builder.commands.console import out
from builder.commands.project import Project
from builder.errors import (
    IncompleteError,
)
from builder.index.local import open_index
from builder.index.publish import close_channel
from builder.settings import index_url


def nightly(
    matrix: MatrixOption = "quick",
    channel: Annotated[str, typer.Option("--channel", help="The channel to move.")] = "nightly",
) -> None:
    """Build what is new of a matrix, publish it as one snapshot and move the channel once.

    Killed at any moment, the same command goes on from there. Exit code 11: a build is missing. Where the matrix is
    `closed`, others' wheels that its own depend on are taken into the channel afterwards.

    Example: armwheels nightly --matrix quick
    """
    bench = Project()
    builds = bench.builds(matrix)
    with stoppable(), open_index(bench.toolbox.home) as index, bench.live():
        report = nightly_room.run_nightly(
            matrix,
            builds,
            bench.workshop,
            index,
            channel=channel,
            progress_for=bench.live.for_build,
            on_plan=lambda steps: out.print(console.plan_table(steps), highlight=False, soft_wrap=True),
            on_cell=lambda cell: out.print(console.cell_line(cell), highlight=False, soft_wrap=True),
        )
    out.print(console.nightly_table(report, index_url()), highlight=False, soft_wrap=True)
    if bench.configs.matrix(matrix).closed and not any(cell.build.required for cell in report.missing):
        advice = close_channel(matrix, builds, bench.toolbox.home, channel=channel)
        if advice:
            out.print(f"what they depend on, where the index is: {advice}", highlight=False, soft_wrap=True)
    if report.missing:
        raise IncompleteError(f"{len(report.missing)} of {len(report.cells)} builds are missing")
