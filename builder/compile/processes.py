"""Runs the commands of a build: logs their output, reports their progress, and ends what they leave running."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from builder.compile import Progress
from builder.compile.cost import add_step
from builder.compile.telling import telling_lines
from builder.errors import CompileError

WORK_VARIABLE = "ARMWHEELS_WORK"
"""Every process of a build has this variable with its work folder, so that a later run can find leftovers."""

_STEP = re.compile(r"^\[([\d,]+) ?/ ?([\d,]+)\] ")
"""How ninja and Bazel report their progress: ``[12/345] `` and ``[1,234 / 25,000] ``."""


def run_logged(
    command: list[str],
    environment: dict[str, str],
    work: Path,
    progress: Progress,
    *,
    folder: Path | None = None,
) -> None:
    """Run a step in a process group of its own, in ``folder`` or ``work``, with its output in ``work/build.log``.

    The time that it takes is added to the cost of the build.

    Raises:
        CompileError: it failed; the message has the lines of its output that name the cause, and the log's path.
    """
    log = work / "build.log"
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            env=environment,
            cwd=folder or work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process,
    ):
        start, began = file.tell(), time.monotonic()
        file.write(f"$ {' '.join(command)}\n")
        try:
            progress("compile", 0, 0)
            for line in process.stdout or ():
                file.write(line)
                if step := _STEP.match(line):
                    progress("compile", *(int(number.replace(",", "")) for number in step.groups()))
            # wait4(2) also returns the processor time of the step and of its child processes.
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            end_leftovers(work)
            raise
    add_step(work, time.monotonic() - began, used.ru_utime + used.ru_stime)
    if process.returncode:
        with log.open(encoding="utf-8", errors="replace") as file:
            file.seek(start)
            output = file.read()
        raise CompileError(
            f"the build ended with {process.returncode}\n{telling_lines(output)}\nfull log: {log}"
        )


def end_leftovers(work: Path) -> None:
    """End the processes that a killed run left in ``work``: two builds in one folder would damage it."""
    leftovers = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(WORK_VARIABLE) == str(work):
                process.kill()
                leftovers.append(process)
        except psutil.Error:
            continue
    psutil.wait_procs(leftovers, timeout=10)


def end_children() -> None:
    """End all child processes and their own children, in any process group."""
    below = psutil.Process().children(recursive=True)
    for process in below:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(below, timeout=10)


def checked(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a step that fills ``folder``; a later run can end it by :func:`end_leftovers`.

    Raises:
        CompileError: it failed.
    """
    environment = environment or {**os.environ, WORK_VARIABLE: str(folder)}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=folder.parent
    )
    if done.returncode:
        raise CompileError(f"{' '.join(command[:4])} … failed:\n{telling_lines(done.stderr)}")
