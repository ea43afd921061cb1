"""The command ``armwheels libraries``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from packaging.version import Version

from builder import settings
from builder.bench import table
from builder.bench.compare import measure_once
from builder.bench.counting import CountingMachine
from builder.bench.install import facts, fetch_reference
from builder.bench.judge import judge
from builder.bench.libraries import candidates_of, pinned_libraries, version_before, without_import
from builder.bench.library_wheels import library_version, library_wheel
from builder.bench.measure import SCRIPTS, Program, Suite, program_for, workloads_of
from builder.bench.model import BenchReport, BenchVerdict, Measured
from builder.commands.bench import chosen, keep
from builder.commands.terminal import err, out
from builder.emulation.install import glibc_minor
from builder.errors import ConfigError, ToolboxError
from builder.load import load_configs
from builder.model.pythons import installable_tags
from builder.model.toolchains import MeasuredLibrary
from builder.targets import Target
from builder.toolbox.fetch import list_pypi
from builder.toolbox.toolbox import Toolbox

TARGETS = ("neoverse-n1", "neoverse-v1")
"""One target with Neon kernels and one with SVE kernels."""


def libraries(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME[==VERSION]]…", help="Pinned libraries. Default: all that have workloads."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target", metavar="T", help=f"CPU target to emulate. Default: {' and '.join(TARGETS)}."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", help="Run only this workload; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON.")] = False,
) -> None:
    """Compare libraries that recipes pin with other versions, before a pin moves.

    With VERSION, that version is compared with the pinned one. Without, a wheel of pip's index is compared with the
    one before it, and a library of Debian with each other release that `toolchains.toml` names. Exit code 1: the
    newer version of a pair takes more than 1.02 times the instructions in a workload.

    Example: armwheels libraries scipy-openblas64==0.3.34.481.3

    Example: armwheels libraries sleef onednn --target neoverse-v1
    """
    # Any recipe may pin a library, so that each must be readable.
    configs = load_configs()
    toolbox = Toolbox(lambda text: err.print(text, style="dim", highlight=False))
    pinned = pinned_libraries(configs.recipes.values())
    debian = toolbox.toolchains.libraries
    verdicts: list[BenchVerdict] = []
    for name, candidate in candidates_of(names or (), [*pinned, *debian]).items():
        for cpu in target or TARGETS:
            emulated = configs.emulated(cpu)
            if name in debian:
                reports = _releases(name, debian[name], candidate, toolbox, emulated, only)
            else:
                reports = iter([_versions(name, pinned[name], candidate, toolbox, emulated, only)])
            for report in reports:
                verdict = _judge(report)
                verdicts.append(verdict)
                kept = keep(report, settings.home_dir())
                if not as_json:
                    _show(report, verdict, kept)
    if as_json:
        typer.echo(json.dumps([verdict.model_dump(mode="json") for verdict in verdicts], indent=1))
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


def _versions(
    name: str, pinned: str, candidate: str | None, toolbox: Toolbox, target: Target, only: list[str] | None
) -> BenchReport:
    """Measure two versions of pip's index."""
    python = next(iter(toolbox.toolchains.pythons))
    machine = CountingMachine(toolbox, target, python)
    tags = installable_tags(python, machine.platforms())
    older = pinned if candidate else version_before(list_pypi(name), pinned, tags)
    newer = candidate or pinned
    program = program_for(name)
    if older is None or program is None:
        raise ToolboxError(f"pip's index has no {name} before {pinned}")
    wheels = []
    for version in (older, newer):
        path = fetch_reference(name, version, tags, settings.home_dir() / "downloads")
        if path is None:
            raise ToolboxError(f"pip's index has no wheel of {name} {version} for {target.name}")
        wheels.append(path)
    return _report(name, pinned, {older: wheels[0], newer: wheels[1]}, program, machine, python, only)


def _releases(
    name: str,
    library: MeasuredLibrary,
    candidate: str | None,
    toolbox: Toolbox,
    target: Target,
    only: list[str] | None,
) -> Iterator[BenchReport]:
    """Measure pairs of Debian's releases: the pinned one and each other, or the candidate."""
    # The newest C library, which the libraries of the newest release need.
    python = max(
        toolbox.toolchains.pythons, key=lambda tag: glibc_minor(toolbox.pins.files(f"userland-{tag}"))
    )
    machine = CountingMachine(toolbox, target, python)
    versions = {library_version(toolbox, part): part for part in library.parts}
    pinned = library_version(toolbox, library.part)
    others = [version for version in versions if version != pinned and candidate in (None, version)]
    if not others:
        known = ", ".join(version for version in versions if version != pinned)
        raise ConfigError(f"toolchains.toml has no {name} {candidate} beside {pinned}; there are {known}")
    for other in others:
        pair = sorted((pinned, other), key=Version)
        wheels = {
            one: library_wheel(toolbox, name, library, versions[one], settings.home_dir()) for one in pair
        }
        yield _report(name, pinned, wheels, (SCRIPTS / library.program,), machine, python, only)


def _report(
    name: str,
    pinned: str,
    wheels: dict[str, Path],
    program: Program,
    machine: CountingMachine,
    python: str,
    only: list[str] | None,
) -> BenchReport:
    """Measure the wheels of two versions, the older first."""
    older, newer = wheels
    suite = Suite(program=program, workloads=chosen(workloads_of(program), only))
    return BenchReport(
        project=name,
        version=newer,
        python=python,
        machine=machine.machine,
        workloads=suite.workloads,
        reference_note=f"{newer} beside {older}; pinned is {pinned}",
        measured=tuple(_measured(name, *one, machine, suite) for one in wheels.items()),
    )


def _measured(name: str, version: str, path: Path, machine: CountingMachine, suite: Suite) -> Measured:
    err.print(f"measuring {name} {version} as {machine.machine.target}", style="dim", highlight=False)
    return measure_once(path, facts(path, version), machine, suite, settings.home_dir(), lambda _: None)


def _judge(report: BenchReport) -> BenchVerdict:
    own = report.model_copy(update={"measured": tuple(map(without_import, report.measured))})
    return judge(report.measured[-1].wheel.sha256, report.machine.target, [own], ())


def _show(report: BenchReport, verdict: BenchVerdict, kept: list[Path]) -> None:
    out.print(table.draw(report), highlight=False)
    for fault in verdict.faults:
        out.print(f"worse: {fault}", style="bold red", highlight=False, soft_wrap=True)
    if verdict.passed:
        out.print(f"no workload above {verdict.limit}", style="green", highlight=False)
    for path in kept:
        out.print(f"kept as {path}\n", style="dim", highlight=False, soft_wrap=True)
