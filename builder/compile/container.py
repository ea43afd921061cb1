"""Driver for packages that are built as upstream builds them: cibuildwheel in a manylinux container.

It needs an arm64 host with podman or Docker and the program cibuildwheel. The package's own table
``[tool.cibuildwheel]`` holds, but for what is said here; repair and tests are ours. The image and the build
requirements are cibuildwheel's: they are not pinned by Armwheels, so that the same inputs may give other bytes.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
from pathlib import Path

from builder.compile import Progress
from builder.compile.cross import the_one_wheel, working_copy
from builder.compile.early import check_source
from builder.compile.processes import WORK_VARIABLE, end_leftovers, run_logged
from builder.errors import CompileError
from builder.model.build import Build
from builder.source import prepare
from builder.toolbox.toolbox import Toolbox

CONTAINER_VERSION = 1
"""Raise this by hand when this driver builds differently. It enters the compile digest."""
ENGINES = ("podman", "docker")
"""Programs that cibuildwheel can start containers with, the preferred one first."""


def why_not(machine: str | None = None) -> str:
    """The reason why this host cannot build in containers; empty if it can. ``machine`` is that of uname(1)."""
    machine = machine or platform.machine()
    if machine != "aarch64":
        return f"cibuildwheel builds natively on an arm64 host; this one is {machine}"
    if not any(map(shutil.which, ENGINES)):
        return f"no container engine: neither {' nor '.join(ENGINES)} was found"
    if shutil.which("cibuildwheel") is None:
        return "the program cibuildwheel was not found; `pip install cibuildwheel`"
    return ""


class ContainerDriver:
    """Builds a wheel with cibuildwheel on an arm64 host."""

    def compile(self, build: Build, toolbox: Toolbox, work: Path, progress: Progress) -> Path:
        if reason := why_not():
            raise CompileError(reason)
        work.mkdir(parents=True, exist_ok=True)
        end_leftovers(work)
        progress("source", 0, 0)
        tree = working_copy(prepare(build.recipe.project, build.source, toolbox.home), work / "src")
        check_source(build, tree)
        out = work / "dist"
        shutil.rmtree(out, ignore_errors=True)
        engine = next(one for one in ENGINES if shutil.which(one))
        environment = {**os.environ, **variables(build, engine), WORK_VARIABLE: str(work)}
        run_logged(command(build, tree, out), environment, work, progress)
        end_leftovers(work)
        return the_one_wheel(build, out)


def command(build: Build, tree: Path, out: Path) -> list[str]:
    """The call of cibuildwheel for one build. Pure."""
    return ["cibuildwheel", "--only", build.identifier, "--output-dir", str(out), str(tree)]


def variables(build: Build, engine: str) -> dict[str, str]:
    """The options of cibuildwheel, as variables: those override the package's own table. Pure.

    The newest glibc that a recipe allows names the image. The compiler notes its options in the objects, by which
    the audit judges them.
    """
    recipe = build.recipe.build
    flags = " ".join([*build.flags, "-frecord-gcc-switches", *recipe.cflags])
    inside = {
        "CFLAGS": flags,
        "CXXFLAGS": flags,
        "SOURCE_DATE_EPOCH": str(build.source.epoch),
        "PYTHONHASHSEED": "0",
        **build.environment,
    }
    settings = [f"{key}={one}" for key, value in recipe.config_settings.items() for one in _listed(value)]
    return {
        "CIBW_CONTAINER_ENGINE": engine,
        "CIBW_MANYLINUX_AARCH64_IMAGE": f"manylinux_{recipe.glibc.replace('.', '_')}",
        "CIBW_ENVIRONMENT": " ".join(f"{name}={shlex.quote(value)}" for name, value in inside.items()),
        "CIBW_CONFIG_SETTINGS": " ".join(map(shlex.quote, [*settings, *build.options])),
        "CIBW_REPAIR_WHEEL_COMMAND": "",
        "CIBW_TEST_COMMAND": "",
    }


def _listed(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value
