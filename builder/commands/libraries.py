"""The command ``armwheels libraries``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from packaging.tags import Tag

from builder import settings
from builder.bench import table
from builder.bench.compare import measure_once
from builder.bench.counting import CountingMachine
from builder.bench.install import facts, fetch_reference
from builder.bench.judge import judge
from builder.bench.libraries import candidates_of, pinned_libraries, version_before, without_import
from builder.bench.measure import Suite, program_for, workloads_of
from builder.bench.model import BenchReport, BenchVerdict, Measured
from builder.commands.bench import chosen, keep
from builder.commands.terminal import err, out
from builder.errors import ToolboxError
from builder.load import load_configs
from builder.model.pythons import installable_tags
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

    With VERSION, that version is compared with the pinned one. Without, the pinned version is compared with the
    one before it on pip's index. Exit code 1: a workload takes more than 1.02 times the instructions.

    Example: armwheels libraries scipy-openblas64==0.3.34.481.3
    """
    # Any recipe may pin a library, so that each must be readable.
    configs = load_configs()
    pinned = pinned_libraries(configs.recipes.values())
    toolbox = Toolbox(lambda text: err.print(text, style="dim", highlight=False))
    python = next(iter(toolbox.toolchains.pythons))
    verdicts: list[BenchVerdict] = []
    for name, candidate in candidates_of(names or (), pinned).items():
        for cpu in target or TARGETS:
            machine = CountingMachine(toolbox, configs.emulated(cpu), python)
            report = _compare(name, pinned[name], candidate, machine, python, only)
            verdict = _judge(report)
            verdicts.append(verdict)
            kept = keep(report, settings.home_dir())
            if not as_json:
                _show(report, verdict, kept)
    if as_json:
        typer.echo(json.dumps([verdict.model_dump(mode="json") for verdict in verdicts], indent=1))
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


def _compare(
    name: str,
    pinned: str,
    candidate: str | None,
    machine: CountingMachine,
    python: str,
    only: list[str] | None,
) -> BenchReport:
    """Measure the older version and the newer one, in this order."""
    tags = installable_tags(python, machine.platforms())
    older = pinned if candidate else version_before(list_pypi(name), pinned, tags)
    newer = candidate or pinned
    program = program_for(name)
    if older is None or program is None:
        raise ToolboxError(f"pip's index has no {name} before {pinned}")
    suite = Suite(program=program, workloads=chosen(workloads_of(program), only))
    return BenchReport(
        project=name,
        version=newer,
        python=python,
        machine=machine.machine,
        workloads=suite.workloads,
        reference_note=f"{newer} beside {older}; pinned is {pinned}",
        measured=tuple(_measured(name, one, machine, tags, suite) for one in (older, newer)),
    )


def _measured(name: str, version: str, machine: CountingMachine, tags: list[Tag], suite: Suite) -> Measured:
    home = settings.home_dir()
    path = fetch_reference(name, version, tags, home / "downloads")
    if path is None:
        raise ToolboxError(f"pip's index has no wheel of {name} {version} for {machine.machine.target}")
    err.print(f"measuring {name} {version} as {machine.machine.target}", style="dim", highlight=False)
    return measure_once(path, facts(path, version), machine, suite, home, lambda _: None)


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
