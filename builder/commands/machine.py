"""The commands about a machine and the toolbox: targets, doctor, python."""

from __future__ import annotations

import platform
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from builder import doctor as doctor_room
from builder.commands import console, targets_view
from builder.commands.build import MatrixOption
from builder.commands.console import err, out
from builder.commands.project import Project
from builder.emulation.emulate import model_of
from builder.emulation.environment import EmulatedPython
from builder.errors import (
    ConfigError,
)
from builder.load import load_configs
from builder.toolbox.toolbox import Toolbox


def targets(
    host: Annotated[
        bool, typer.Option("--host", help="Say which target fits this machine, and why.")
    ] = False,
    cpuinfo: Annotated[
        Path | None,
        typer.Option("--cpuinfo", metavar="FILE", help="The same for a machine whose /proc/cpuinfo is FILE."),
    ] = None,
) -> None:
    """Draw the CPU targets in their order, or tell which one fits a machine.

    Example: armwheels targets --cpuinfo graviton.txt
    """
    known = load_configs().targets
    if not host and cpuinfo is None:
        out.print(targets_view.order(known))
        return
    if cpuinfo is None and platform.machine() != "aarch64":
        raise ConfigError(
            f"this machine is not an Arm one ({platform.machine()}), so no target fits it; "
            "copy /proc/cpuinfo of the machine you mean and name it with --cpuinfo FILE"
        )
    path = cpuinfo or Path("/proc/cpuinfo")
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    out.print(targets_view.fit(known, known.host_fit(text)))


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Fetch what is missing.")] = False,
    matrix: MatrixOption = "quick",
) -> None:
    """Tell what this machine and the toolbox have, what is missing and what to do.

    Example: armwheels doctor --fix
    """
    bench = Project()
    parts = bench.parts(bench.builds(matrix))
    if fix:
        # Fetching waits for the network, unpacking for one core.
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(bench.toolbox.ensure, parts))
    findings = doctor_room.examine(bench.toolbox, parts)
    out.print(doctor_room.draw(findings))
    if any(finding.fault for finding in findings):
        raise typer.Exit(1)


def python(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARG]…", help="What Python is to run.")
    ] = None,
    target: Annotated[str, typer.Option("--target", metavar="T", help="The CPU to emulate.")] = "neoverse-v1",
    tag: Annotated[
        str, typer.Option("--python", metavar="TAG", help="Which CPython, as in wheel tags.")
    ] = "cp311",
    environment: Annotated[
        Path | None,
        typer.Option("--venv", metavar="DIR", help="A virtual environment, made if it is not there."),
    ] = None,
) -> None:
    """Run the toolbox's aarch64 Python, pip included, on an emulated CPU.

    Example: armwheels python --venv var/try -- -m pip install --index-url URL numpy
    """
    toolbox = Toolbox(console.Live(err).say)
    emulated = EmulatedPython(toolbox, tag, model_of(load_configs().targets[target]).cpu)
    folder = environment.resolve() if environment else None
    if folder is not None and not folder.is_dir():
        emulated.create_environment(folder)
    command = emulated.command(arguments or [], environment=folder)
    raise typer.Exit(subprocess.run(command, env=emulated.variables(), check=False).returncode)
