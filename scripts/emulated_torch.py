"""Installs torch wheels in an emulated Python and runs programs with them, for other scripts."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from builder.commands.project import Project
from builder.emulation.emulate import stand_in
from builder.emulation.environment import EmulatedPython, install_requirements, write_bytecode
from builder.locks import requirements_lock

PYTHON = "cp311"
_MOST_SECONDS = 3600.0


def output_of(
    wheels: Sequence[Path],
    target: str,
    program: str,
    *,
    recipe: str = "pytorch",
    python: str = PYTHON,
    arguments: Sequence[str] = (),
) -> list[str]:
    """Return the output of ``program`` with each of the wheels, on the emulated CPU of a target.

    ``recipe`` is that whose test requirements lie beside the wheels.

    Raises:
        SystemExit: pip cannot install a wheel, or the program fails. The message is the end of its error output.
    """
    project = Project()
    emulated = EmulatedPython.standing_in(project.toolbox, python, stand_in(project.targets[target]))
    beside = install_requirements(project.toolbox, requirements_lock(recipe, "tests", python), python)
    answers = []
    with tempfile.TemporaryDirectory(dir=project.toolbox.home / "tmp") as scratch:
        for number, wheel in enumerate(wheels):
            environment = emulated.create_environment(Path(scratch) / str(number))
            install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel.resolve())]
            for command in (install, ["-c", program, *arguments]):
                done = emulated.run(
                    command,
                    environment=environment,
                    extra={"PYTHONPATH": str(beside)},
                    timeout=_MOST_SECONDS,
                )
                if done.returncode:
                    raise SystemExit(f"{wheel.name}: {done.stderr.strip()[-800:]}")
                write_bytecode(project.toolbox, python, *environment.glob("lib/python3*/site-packages"))
            answers.append(done.stdout)
    return answers
