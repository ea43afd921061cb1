"""The command ``armwheels nightly``."""

from __future__ import annotations

from typing import Annotated

import typer

from builder.commands import console
from builder.commands.build import MatrixOption, stoppable
from builder.commands.project import Project
from builder.commands.terminal import out
from builder.errors import DiskError, IncompleteError, says_disk_full
from builder.index.keys import builder_key, signing_line
from builder.index.local import open_index
from builder.index.publish import close_channel
from builder.nightly import NightlyReport, run_nightly
from builder.settings import index_url


def nightly(
    matrix: MatrixOption = "quick",
    channel: Annotated[str, typer.Option("--channel", help="Channel to move.")] = "nightly",
) -> None:
    """Build the new wheels of a matrix, publish them as one snapshot, and move the channel to it.

    A failed build does not stop the others; the exit code is then 11. If a required wheel is missing, the channel
    stays where it is. After an interruption the same command continues. If the matrix is `closed`, its dependencies
    are mirrored into the channel.

    Example: armwheels nightly --matrix quick
    """
    project, signer = Project(), builder_key()
    builds = project.builds(matrix)
    with stoppable(), open_index(project.toolbox.home) as index, project.live():
        report = run_nightly(
            matrix,
            builds,
            project.workshop,
            index,
            channel=channel,
            progress_for=project.live.for_build,
            on_plan=lambda steps: out.print(console.plan_table(steps), highlight=False, soft_wrap=True),
            on_cell=lambda cell: out.print(console.cell_line(cell), highlight=False, soft_wrap=True),
            signer=signer,
        )
    out.print(console.nightly_table(report, index_url()), highlight=False, soft_wrap=True)
    out.print(signing_line(signer), highlight=False, soft_wrap=True)
    if project.configs.matrix(matrix).closed and not any(cell.build.required for cell in report.missing):
        advice = close_channel(matrix, builds, project.toolbox.home, channel=channel)
        if advice:
            out.print(
                f"to mirror the dependencies, run on the machine of the index: {advice}",
                highlight=False,
                soft_wrap=True,
            )
    check_whole(report)


def check_whole(report: NightlyReport) -> None:
    """Refuse a run without some of its wheels.

    Raises:
        DiskError: the disk was full.
        IncompleteError: wheels are missing for any other reason.
    """
    if full := [cell for cell in report.missing if says_disk_full(cell.detail)]:
        raise DiskError(f"the disk is full: {', '.join(cell.build.id for cell in full)}\n{full[0].detail}")
    if report.missing:
        raise IncompleteError(f"{len(report.missing)} of {len(report.cells)} builds are missing")
