"""The commands ``armwheels plan`` and ``armwheels build``."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from builder.commands import console
from builder.commands.console import err, out
from builder.commands.project import Project
from builder.compile.bazel import planned
from builder.compile.processes import end_children
from builder.errors import (
    ConfigError,
    StoppedError,
)
from builder.index.local import open_index
from builder.index.publish import published_builds
from builder.plan import make_plan

MatrixOption = Annotated[
    str, typer.Option("--matrix", metavar="NAME", help="A table of configs/matrices.toml.")
]


def plan(matrix: MatrixOption = "quick") -> None:
    """Print each build of a matrix: what is new, what is cached or published, and why.

    Of builds by Bazel it prints what they need and the command, as it would be run here.

    Example: armwheels plan --matrix quick
    """
    bench = Project()
    builds = bench.builds(matrix)
    with open_index(bench.toolbox.home, write=False) as index:
        published = published_builds(index, builds)
    steps = make_plan(builds, bench.workshop.known(builds, published))
    notes = {
        one.id: planned(one, bench.toolbox.home, bench.workshop.work_folder(one))
        for one in builds
        if one.recipe.build.bazel is not None
    }
    out.print(console.plan_table(steps, notes), soft_wrap=True)


def build(
    build_id: Annotated[str, typer.Argument(metavar="BUILD", help="An id as `armwheels plan` prints it.")],
    matrix: MatrixOption = "quick",
    component: Annotated[
        str | None,
        typer.Option(
            "--component", metavar="NAME", help="Build, link and run this part of the recipe alone."
        ),
    ] = None,
) -> None:
    """Compile, repair, audit and run one build, without publishing it.

    Example: armwheels build numpy-2.4.6-cp311-neoverse-v1-openblas
    """
    bench = Project()
    builds = {one.id: one for one in bench.builds(matrix)}
    if build_id not in builds:
        raise ConfigError(f"matrix {matrix} has no build '{build_id}'; it has {', '.join(builds)}")
    if component is not None:
        with stoppable(), bench.live():
            progress = bench.live.for_build(builds[build_id])
            folder, checks = bench.workshop.component(builds[build_id], component, progress)
        out.print(console.checks_table(checks), highlight=False)
        out.print(str(folder), highlight=False, soft_wrap=True)
        if any(check.outcome == "fail" for check in checks):
            raise typer.Exit(1)
        return
    with stoppable(), bench.live():
        progress = bench.live.for_build(builds[build_id])
        wheel = bench.workshop.prove(bench.workshop.build(builds[build_id], progress), progress)
    out.print(console.verify_table(wheel.verify), highlight=False)
    out.print(f"{wheel.path}\nsha256 {wheel.sha256}", highlight=False, soft_wrap=True)
    if cost := bench.workshop.cost(wheel.build):
        out.print(f"compiled in {cost}", highlight=False, soft_wrap=True)
    if wheel.faults:
        err.print("\n".join(wheel.faults), highlight=False, markup=False)
        raise typer.Exit(1)


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM (of a CI job or a service that ends) stop all that runs for a build, and lose nothing."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        end_children()
        raise StoppedError("stopped; what is done is kept, and the same command goes on from there") from None
    finally:
        signal.signal(signal.SIGTERM, before)
