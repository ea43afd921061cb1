"""The command ``armwheels watch``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import typer

from builder import settings
from builder.commands.build import MatrixOption, stoppable
from builder.commands.configs import read_configs
from builder.commands.project import Project
from builder.commands.terminal import err
from builder.compile.processes import ended_with_this_process
from builder.errors import ArmwheelsError, StoppedError
from builder.model.build import Build
from builder.watch.watch import Tried, markdown
from builder.watch.watch import watch as look


def watch(
    matrix: MatrixOption = "quick",
    tries: Annotated[
        bool, typer.Option("--try/--no-try", help="Whether to build what is newer, or only to name it.")
    ] = True,
    again: Annotated[
        bool, typer.Option("--again", help="Try versions again that were tried before.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look for new versions of what a matrix builds, and try each as a candidate, beside the recipe that works.

    Source distributions are asked about on pip's index, git repositories for their tags, Debian source packages in
    Debian's signed indices, and followed branches for their commits. A candidate is a copy of the configuration
    with the new version pinned; its cells of the matrix are built, audited and run. Nothing is published, and no
    recipe changes: `armwheels recipe update` takes a version over, and finds its wheels built.

    Each version is tried once. Findings are kept in `watch/lock.json` of the state folder.

    Exit code 1: a candidate failed. 10: a source did not answer.

    Example: armwheels watch --matrix small
    """
    configs = read_configs()
    configs.check_recipes(matrix)
    with stoppable(), ended_with_this_process():
        watched = look(
            configs.recipes,
            matrix,
            configs.matrix(matrix),
            settings.home_dir(),
            _build,
            _say,
            tries=tries,
            again=again,
        )
    typer.echo(watched.model_dump_json(indent=1) if as_json else markdown(watched))
    if any(one.outcome == "failed" for one in watched.findings):
        raise typer.Exit(1)
    if watched.unanswered:
        raise typer.Exit(10)


def _build(matrix: str, recipe: str, version: str) -> Iterator[Tried]:
    """Build, audit, run and bench the cells of one version, by the configuration in use."""
    project = Project(err)  # what is printed on standard output are the findings
    wanted = project.configs.recipe(recipe).version_of(version)
    for build in project.builds(matrix):
        if build.recipe.name == recipe and build.version == wanted:
            started = time.monotonic()
            fault = _fault(project, build)
            yield Tried(build=build.id, passed=not fault, detail=fault, seconds=time.monotonic() - started)


def _fault(project: Project, build: Build) -> str:
    """Why a build fails; empty if it does not."""
    progress = project.live.for_build(build)
    try:
        wheel = project.workshop.prove(project.workshop.build(build, progress), progress)
    except StoppedError:
        raise
    except ArmwheelsError as error:
        return str(error)
    return "\n".join(wheel.faults)


def _say(text: str) -> None:
    err.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)
