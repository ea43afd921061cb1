"""The commands about a machine and the toolbox: targets, doctor, python."""

from __future__ import annotations

import platform
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from builder import doctor as host
from builder.commands import console, targets_view
from builder.commands.build import MatrixOption
from builder.commands.configs import read_configs
from builder.commands.project import Project
from builder.commands.terminal import err, out
from builder.emulation.emulate import stand_in
from builder.emulation.environment import EmulatedPython, python_of
from builder.errors import (
    ConfigError,
)
from builder.images.registry import Reference, Registry
from builder.images.trial import pulled
from builder.plan import no_python
from builder.settings import registry_login
from builder.targets import DEFAULT_EMULATED, DEFAULT_PYTHON
from builder.toolbox.toolbox import Toolbox


def targets(
    host: Annotated[
        bool, typer.Option("--host", help="Show which target fits this machine, and why.")
    ] = False,
    cpuinfo: Annotated[
        Path | None,
        typer.Option(
            "--cpuinfo", metavar="FILE", help="Show which target fits the machine of this /proc/cpuinfo."
        ),
    ] = None,
) -> None:
    """List the CPU targets in their order, or show which one fits a machine.

    Example: armwheels targets --cpuinfo graviton.txt
    """
    known = read_configs().targets
    if not host and cpuinfo is None:
        out.print(targets_view.order(known))
        return
    if cpuinfo is None and platform.machine() != "aarch64":
        raise ConfigError(
            f"no target fits this machine, which is not an Arm one ({platform.machine()}); "
            "copy /proc/cpuinfo from the Arm machine and pass it with --cpuinfo FILE"
        )
    path = cpuinfo or Path("/proc/cpuinfo")
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    out.print(targets_view.fit(known, known.host_fit(text)))


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Fetch the missing parts.")] = False,
    matrix: MatrixOption = "quick",
) -> None:
    """Check this machine and the toolbox, and say how to fix what is missing.

    Exit code 1: something is missing.

    Example: armwheels doctor --fix
    """
    project = Project()
    parts = project.parts(project.builds(matrix))
    if fix:
        # Fetching waits for the network, unpacking for one core: together they take less time.
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(project.toolbox.ensure, parts))
    findings = host.examine(project.toolbox, parts)
    out.print(host.draw(findings))
    if any(finding.fault for finding in findings):
        raise typer.Exit(1)


def python(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARG]…", help="Arguments for Python.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="T",
            help=f"CPU target to emulate. Default: that of the image, else {DEFAULT_EMULATED}.",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            "--server", metavar="S", help="Server that programs see under emulation. Default: the target's."
        ),
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option(
            "--python",
            metavar="TAG",
            help=f"Python tag of the CPython. Default: that of the environment, else {DEFAULT_PYTHON}.",
        ),
    ] = None,
    environment: Annotated[
        Path | None,
        typer.Option("--venv", metavar="DIR", help="Virtual environment to use; created if missing."),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image",
            metavar="REGISTRY/NAME:TAG",
            help="Image of `armwheels image` to pull, whose Python, libraries and wheels to use.",
        ),
    ] = None,
) -> None:
    """Run the toolbox's arm64 Python, with pip, or the Python of an image, on an emulated CPU.

    Example: armwheels python --venv var/try -- -m pip install --index-url URL numpy
    """
    toolbox = Toolbox(console.Live(err).say)
    if image is not None:
        if tag or environment or server:
            raise ConfigError("--image brings a Python of its own: it goes with --target alone")
        raise typer.Exit(_in_image(toolbox, image, target, arguments or []))
    present = python_of(environment) if environment else None
    if tag and present and tag != present:
        raise ConfigError(f"the environment {environment} has {present}, not {tag}; name another folder")
    tag = tag or present or DEFAULT_PYTHON
    if tag not in toolbox.toolchains.pythons:
        raise ConfigError(no_python(tag, toolbox.toolchains.pythons))
    emulated = EmulatedPython.standing_in(
        toolbox, tag, stand_in(read_configs().emulated(target or DEFAULT_EMULATED, server))
    )
    folder = environment.resolve() if environment else None
    if folder is not None and not folder.is_dir():
        emulated.create_environment(folder)
    command = emulated.command(arguments or [], environment=folder)
    raise typer.Exit(subprocess.run(command, env=emulated.variables(), check=False).returncode)


def _in_image(toolbox: Toolbox, image: str, target: str | None, arguments: list[str]) -> int:
    with Registry(Reference(image), registry_login()) as registry, pulled(registry, toolbox) as made:
        model = stand_in(read_configs().targets[target or made.target])
        emulated = EmulatedPython(toolbox, made.tag, model.cpu, root=made.root)
        return subprocess.run(emulated.command(arguments), env=emulated.variables(), check=False).returncode
