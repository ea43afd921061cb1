"""The command ``armwheels nightly``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer
from securesystemslib.signer import Signer

from builder.commands import console
from builder.commands.build import MatrixOption, stoppable
from builder.commands.project import Project
from builder.commands.terminal import out
from builder.compile.processes import ended_with_this_process
from builder.errors import DiskError, IncompleteError, says_disk_full
from builder.index.keys import builder_key, signing_line
from builder.index.local import open_index
from builder.index.publish import close_channel
from builder.model.build import Build
from builder.nightly import Cell, NightlyReport, run_nightly
from builder.plan import Step
from builder.settings import home_dir, index_url, lease_seconds, temporal_address

if TYPE_CHECKING:
    from builder.fleet.run import Shown


def nightly(
    matrix: MatrixOption = "quick",
    channel: Annotated[str, typer.Option("--channel", help="Channel to move.")] = "nightly",
    no_engine: Annotated[
        bool, typer.Option("--no-engine", help="Run the stages in this process alone, without Temporal.")
    ] = False,
) -> None:
    """Build the new wheels of a matrix, publish them as one snapshot, and move the channel to it.

    A failed build does not stop the others; the exit code is then 11. If a required wheel is missing, the channel
    stays where it is. After an interruption the same command continues. If the matrix is `closed`, its dependencies
    are mirrored into the channel.

    The stages run on Temporal: on a server of this run, or with `ARMWHEELS_TEMPORAL` on a cluster, by its workers
    (`armwheels worker`).

    Example: armwheels nightly --matrix quick
    """
    signer = builder_key()
    address = None if no_engine else temporal_address()
    with stoppable(), ended_with_this_process():
        if no_engine:
            project, builds, report = _directly(matrix, channel, signer)
        elif address is not None:
            project, builds, report = _on_a_cluster(matrix, channel, address)
        else:
            project, builds, report = _on_an_engine_of_its_own(matrix, channel, signer)
    out.print(console.nightly_table(report, index_url()), highlight=False, soft_wrap=True)
    if address is None:  # the workers of a cluster have keys of their own
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


_Ran = tuple[Project, tuple[Build, ...], NightlyReport]


def _on_an_engine_of_its_own(matrix: str, channel: str, signer: Signer | None) -> _Ran:
    # Loaded here: other ways of running need none of it.
    from builder.fleet.engine import local_engine

    with ExitStack() as stack:
        # The server starts while its library is loaded, the configuration is read and the index starts.
        engine = stack.enter_context(local_engine(home_dir(), f"{matrix}-{channel}"))
        from builder.fleet.run import run_here

        project = Project()
        builds = project.builds(matrix)
        index = stack.enter_context(open_index(project.toolbox.home))
        stack.enter_context(project.live())
        return (
            project,
            builds,
            run_here(matrix, builds, project, index, engine, _shown(project), channel=channel, signer=signer),
        )


def _on_a_cluster(matrix: str, channel: str, address: str) -> _Ran:
    from builder.fleet.run import run_elsewhere

    project = Project()
    builds = project.builds(matrix)
    with project.live():
        shown = _shown(project)
        return (
            project,
            builds,
            run_elsewhere(matrix, builds, address, shown, channel=channel, lease=lease_seconds()),
        )


def _directly(matrix: str, channel: str, signer: Signer | None) -> _Ran:
    project = Project()
    builds = project.builds(matrix)
    with open_index(project.toolbox.home) as index, project.live():
        report = run_nightly(
            matrix,
            builds,
            project.workshop,
            index,
            channel=channel,
            progress_for=project.live.for_build,
            on_plan=_show_plan,
            on_cell=_show_cell,
            signer=signer,
        )
    return project, builds, report


def _show_plan(steps: tuple[Step, ...]) -> None:
    out.print(console.plan_table(steps), highlight=False, soft_wrap=True)


def _show_cell(cell: Cell) -> None:
    out.print(console.cell_line(cell), highlight=False, soft_wrap=True)


def _shown(project: Project) -> Shown:
    from builder.fleet.run import Shown

    return Shown(progress_for=project.live.for_build, on_plan=_show_plan, on_cell=_show_cell)


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
