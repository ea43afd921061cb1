"""The commands ``armwheels plan`` and ``armwheels build``."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from builder.commands import console
from builder.commands.project import Project
from builder.commands.terminal import err, out
from builder.compile.bazel import planned
from builder.compile.early import early_faults
from builder.compile.processes import end_children
from builder.errors import (
    ConfigError,
    StoppedError,
)
from builder.fleet.estimate import estimate as estimate_of
from builder.fleet.estimate import measured_of
from builder.index.local import open_index
from builder.index.publish import published_builds
from builder.machine import free_resources
from builder.model.build import Build
from builder.plan import State, make_plan

REPORTS = 30
"""Reports of nights in which the costs of builds are looked for."""
MatrixOption = Annotated[
    str, typer.Option("--matrix", metavar="NAME", help="Matrix of configs/matrices.toml.")
]


def plan(
    matrix: MatrixOption = "quick",
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate", help="Print what a night would cost instead, from the costs of earlier nights."
        ),
    ] = False,
) -> None:
    """Print each build of a matrix with its state (new, compiled, built or published) and the reason.

    Sources of new builds are fetched and compared with their recipes: build backend, Python, options, patches and
    compiler flags. Exit code 3: a recipe has a fault.

    For a build by Bazel, also print its resources and the command to run.

    Example: armwheels plan --matrix quick
    """
    project = Project()
    builds = project.builds(matrix)
    if estimate:
        _estimate(project, matrix, builds)
        return
    with open_index(project.toolbox.home, write=False) as index:
        published = published_builds(index, builds)
    steps = make_plan(builds, project.workshop.known(builds, published))
    notes = {
        one.id: planned(one, project.toolbox.home, project.workshop.work_folder(one))
        for one in builds
        if one.recipe.build.bazel is not None
    }
    out.print(console.plan_table(steps, notes), soft_wrap=True)
    waiting = [step.build for step in steps if step.state is State.NEW]
    faults, unexamined = early_faults(waiting, project.toolbox)
    for note in unexamined:
        err.print(note, style="yellow", highlight=False, markup=False, soft_wrap=True)
    if faults:
        raise ConfigError("\n".join(faults))


def _estimate(project: Project, matrix: str, builds: tuple[Build, ...]) -> None:
    with open_index(project.toolbox.home, write=False) as index:
        reports = [index.report(night) for night in index.nights()[:REPORTS]]
    costs, unchanged = measured_of(reports)
    found = estimate_of(builds, costs, unchanged)
    cores = free_resources(project.toolbox.home).processors
    out.print(console.estimate_table(matrix, found, cores), soft_wrap=True, highlight=False)


def build(
    build_id: Annotated[
        str, typer.Argument(metavar="BUILD", help="Build id, as `armwheels plan` prints it.")
    ],
    matrix: MatrixOption = "quick",
    component: Annotated[
        str | None,
        typer.Option("--component", metavar="NAME", help="Build and run only this component of the recipe."),
    ] = None,
) -> None:
    """Compile, repair, audit, run and bench one build, and publish nothing.

    Exit code 1: the wheel failed the audit, its tests or its bench.

    Example: armwheels build numpy-2.4.6-cp313-neoverse-v1-openblas
    """
    project = Project()
    builds = {one.id: one for one in project.builds(matrix)}
    if build_id not in builds:
        raise ConfigError(f"matrix {matrix} has no build '{build_id}'; it has {', '.join(builds)}")
    if component is not None:
        with stoppable(), project.live():
            progress = project.live.for_build(builds[build_id])
            folder, checks = project.workshop.component(builds[build_id], component, progress)
        out.print(console.checks_table(checks), highlight=False)
        out.print(str(folder), highlight=False, soft_wrap=True)
        if any(check.outcome == "fail" for check in checks):
            raise typer.Exit(1)
        return
    with stoppable(), project.live():
        progress = project.live.for_build(builds[build_id])
        wheel = project.workshop.prove(project.workshop.build(builds[build_id], progress), progress)
    out.print(console.verify_table(wheel.verify), highlight=False)
    if wheel.bench is not None:
        out.print(console.bench_table(wheel.bench), highlight=False)
    out.print(f"{wheel.path}\nsha256 {wheel.sha256}", highlight=False, soft_wrap=True)
    if cost := project.workshop.cost(wheel.build):
        out.print(f"compiled in {cost}", highlight=False, soft_wrap=True)
    if dropped := project.workshop.dropped(wheel.build):
        text = f"not searched, since they are this machine's: {' '.join(dropped)}"
        out.print(text, highlight=False, soft_wrap=True, markup=False)
    if wheel.faults:
        err.print("\n".join(wheel.faults), highlight=False, markup=False)
        raise typer.Exit(1)


@contextmanager
def stoppable() -> Iterator[None]:
    """Stop every process of a build on Ctrl-C and on SIGTERM, which ends a CI job or a service.

    Raises:
        StoppedError: a signal came; completed stages are kept.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        end_children()
        raise StoppedError("stopped; the same command continues from here") from None
    finally:
        signal.signal(signal.SIGTERM, before)
