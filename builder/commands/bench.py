"""The command ``armwheels bench``."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from packaging.version import Version
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from builder import settings
from builder.audit import open_wheel
from builder.bench import table
from builder.bench.compare import measure
from builder.bench.counting import CountingMachine
from builder.bench.install import facts, fetch_reference
from builder.bench.measure import Bencher, StepReport, Suite, program_for, workloads_of
from builder.bench.model import BenchReport, Machine, Measured, WheelFacts, Workload
from builder.bench.timing import TimingMachine, pythons_here
from builder.commands.configs import read_configs
from builder.commands.terminal import err, out
from builder.emulation.install import python_of
from builder.errors import ConfigError
from builder.folders import script
from builder.index.local import open_index
from builder.machine import is_real
from builder.model.pythons import installable_tags
from builder.targets import DEFAULT_EMULATED
from builder.toolbox.toolbox import Toolbox
from builder.whole import write_text


def bench(
    wheels: Annotated[
        list[Path],
        typer.Argument(
            metavar="WHEEL…", exists=True, dir_okay=False, help="Wheels of one version of one project."
        ),
    ],
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", metavar="FILE", help="Reference wheel. Default: PyPI's wheel of the version."
        ),
    ] = None,
    reference_with: Annotated[
        list[str] | None,
        typer.Option(
            "--reference-with",
            metavar="REQUIREMENT",
            help="Requirement to install beside the reference, such as 'numpy<2'; repeatable.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target", metavar="T", help="CPU target to emulate. Default: that of the first wheel."
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            "--server", metavar="S", help="Server that programs see under emulation. Default: the target's."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", help="Run only this workload; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    publish: Annotated[
        bool,
        typer.Option(
            "--publish", "--send", help="Store the result on the index as evidence about each wheel."
        ),
    ] = False,
) -> None:
    """Compare wheels with PyPI's wheel of the same version: size, libraries, import and workloads.

    On x86-64, instructions are counted under emulation, and core cycles are estimated; neither is a measurement of
    time. On an Arm machine, each workload is timed with one thread and with more, and a text to send back is
    printed.

    Example: armwheels bench numpy-2.4.6+neoverse.v1-1_e1c67bc9-cp313-cp313-manylinux_2_27_aarch64.whl
    """
    wheels = [wheel.resolve() for wheel in wheels]
    project, version = the_one_version(wheels)
    program = program_for(project, _tests_of(project))
    if program is None:
        raise ConfigError(f"no workloads for {project}: builder/wheel_benches has no script of that name")
    suite = Suite(program=program, workloads=chosen(workloads_of(program), only))
    reference_suite = replace(suite, requires=tuple(reference_with or ()))
    home = settings.home_dir()
    machine, python = machine_for(wheels[0], target, server)
    sides, note = _with_reference(wheels, against, project, version, python, machine, home)
    measured = [
        _measure(path, about, machine, suite if path in wheels else reference_suite, home)
        for path, about in sides
    ]
    report = BenchReport(
        project=project,
        version=version,
        python=python,
        machine=machine.machine,
        workloads=suite.workloads,
        reference_note=note,
        measured=tuple(measured),
    )
    kept = keep(report, home, server)
    if as_json:
        typer.echo(report.model_dump_json(indent=1))
    else:
        out.print(table.draw(report), highlight=False)
        for path in kept:
            out.print(f"kept as {path}", style="dim", highlight=False, soft_wrap=True)
        if machine.machine.emulator is None:
            out.print("\nTo send it back, paste this, or attach the file above:\n", highlight=False)
            typer.echo(table.paste(report))
    if publish:
        _publish(report)


def the_one_version(wheels: Sequence[Path]) -> tuple[str, str]:
    """Project and public version that all wheels share.

    Raises:
        ConfigError: they are of several. AuditError: a file is no wheel.
    """
    opened = [open_wheel(path) for path in wheels]
    found = {(str(wheel.project), Version(wheel.version).public) for wheel in opened}
    if len(found) != 1:
        named = ", ".join(" ".join(one) for one in sorted(found))
        raise ConfigError(f"one version of one project at a time: these are {named}")
    return found.pop()


def chosen(workloads: tuple[Workload, ...], only: Sequence[str] | None) -> tuple[Workload, ...]:
    """The workloads asked for, all of them by default.

    Raises:
        ConfigError: there is none of a name.
    """
    names = [workload.name for workload in workloads]
    if unknown := sorted(set(only or ()) - set(names)):
        raise ConfigError(f"no workload {', '.join(unknown)}; there are {', '.join(names)}")
    return tuple(workload for workload in workloads if not only or workload.name in only)


def machine_for(wheel: Path, target: str | None, server: str | None = None) -> tuple[Bencher, str]:
    """What to run on, and the Python for it."""
    configs = read_configs()
    here = platform.machine()
    if is_real(here):
        python = python_of(wheel, pythons_here())
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        return TimingMachine(configs.targets.host_fit(cpuinfo), python), python
    if here == "aarch64":
        raise ConfigError(
            "this looks like an emulated Arm machine, where time means nothing: "
            "run it on a real one, or on x86-64, where instructions are counted"
        )
    passport = open_wheel(wheel).passport
    name = target or (str(passport["target"]) if passport else DEFAULT_EMULATED)
    toolbox = Toolbox(lambda text: err.print(text, style="dim", highlight=False))
    python = python_of(wheel, list(toolbox.toolchains.pythons))
    return CountingMachine(toolbox, configs.emulated(name, server), python), python


def _with_reference(
    wheels: Sequence[Path],
    against: Path | None,
    project: str,
    version: str,
    python: str,
    machine: Bencher,
    home: Path,
) -> tuple[list[tuple[Path, WheelFacts]], str]:
    """The wheels to measure, the reference first, and where that came from."""
    sides = [(path, facts(path)) for path in wheels]
    if against is not None:
        path, label, note = against.resolve(), None, f"held against {against.name}"
        if open_wheel(path).project != project:
            raise ConfigError(f"{against.name} is no {project}")
    else:
        tags = installable_tags(python, machine.platforms())
        found = fetch_reference(project, version, tags, home / "downloads")
        if found is None:
            return (
                sides,
                f"pip's index has no {project} {version} for {python} here, so there is no other side",
            )
        path, label, note = found, "PyPI", f"held against {found.name} of pip's index"
    reference = facts(path, label)
    others = [side for side in sides if side[1].sha256 != reference.sha256]
    if not others:
        return [(path, reference)], "this is the very wheel of pip's index, so there is no other side"
    return told_apart([(path, reference), *others]), note


def told_apart(sides: list[tuple[Path, WheelFacts]]) -> list[tuple[Path, WheelFacts]]:
    """The same with labels that differ: two builds of one target are told apart by their build tags; pure."""
    labels = [about.label for _, about in sides]
    return [
        (path, about.model_copy(update={"label": f"{about.label} {about.filename.split('-')[2]}"}))
        if labels.count(about.label) > 1
        else (path, about)
        for path, about in sides
    ]


def _tests_of(project: str) -> Path | None:
    """The test script of the recipe that builds a project."""
    recipes = read_configs().recipes.values()
    scripts = [script(recipe.verify.script) for recipe in recipes if recipe.project == project]
    return scripts[0] if scripts else None


def _measure(path: Path, about: WheelFacts, machine: Bencher, suite: Suite, home: Path) -> Measured:
    steps = (len(suite.workloads) + 1) * len(machine.machine.threads)
    with _progress(about.label, steps) as report:
        return measure(path, about, machine, suite, home, report)


@contextmanager
def _progress(label: str, steps: int) -> Iterator[StepReport]:
    """A live line on a terminal; elsewhere one plain line a wheel. Importing a framework can take a minute."""
    if not err.is_terminal:
        err.print(f"measuring {label}: {steps} steps", style="dim", highlight=False)
        yield lambda _: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[label]}", style="bold"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as live:
        task = live.add_task("", label=label, total=steps)
        seen: list[str] = []

        def report(what: str) -> None:
            if what not in seen:
                seen.append(what)
            live.update(task, description=what, completed=max(0, len(seen) - 2))

        yield report


def keep(report: BenchReport, home: Path, server: str | None = None) -> list[Path]:
    """Write the evidence about each wheel but the reference below the state folder; returns the files.

    A ``server`` that the user chose is part of their names, so that they do not replace those of the target's own.
    """
    how = "instructions" if report.machine.emulator else "seconds"
    machine = "-".join(filter(None, (report.machine.target, server)))
    kept = []
    for _, wheel in report.pairs:
        path = home / "out/bench" / wheel.wheel.sha256 / f"{how}-{machine}.json"
        write_text(path, report.about(wheel.wheel.sha256).model_dump_json(indent=1) + "\n")
        kept.append(path)
    return kept


def evidence_kind(machine: Machine) -> str:
    """The kind of evidence: counts or times, and of which machine, so that each machine keeps its newest."""
    if machine.emulator is None:
        return f"bench-time-{machine.target}"
    return f"bench-instructions-{machine.server or machine.target}"


def _publish(report: BenchReport) -> None:
    """Store the counts or the times. The verdict, of the kind ``bench``, comes from the builder alone."""
    kind = evidence_kind(report.machine)
    with open_index(settings.home_dir(), scopes=("evidence",)) as index:
        for _, wheel in report.pairs:
            sha256 = wheel.wheel.sha256
            index.put_evidence(sha256, kind, report.about(sha256).model_dump(mode="json"))
            err.print(f"stored in the index beside {wheel.wheel.filename}", style="dim", highlight=False)


COMMANDS = (bench,)
