"""Runs the commands of a build: logs their output, reports their progress, and ends what they leave running."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from builder.compile import Progress
from builder.compile.cost import add_step
from builder.compile.telling import telling_lines
from builder.errors import CompileError
from builder.settings import ROOT

WORK_VARIABLE = "ARMWHEELS_WORK"
"""Every process of a build has this variable with its work folder, so that a later run can find leftovers."""

OWNER_VARIABLE = "ARMWHEELS_OWNER"
"""Every process of a worker has this variable with the worker's token, so that all of them can end with it."""
SILENT_SECONDS = 1800.0
"""A build that neither prints nor computes for so long hangs. A linker prints nothing for an hour, but computes."""

_STEP = re.compile(r"^\[([\d,]+) ?/ ?([\d,]+)\] ")
"""How ninja and Bazel report their progress: ``[12/345] `` and ``[1,234 / 25,000] ``."""


def run_logged(
    command: list[str],
    environment: dict[str, str],
    work: Path,
    progress: Progress,
    *,
    folder: Path | None = None,
    silent_seconds: float = SILENT_SECONDS,
) -> None:
    """Run a step in a process group of its own, in ``folder`` or ``work``, with its output in ``work/build.log``.

    The time that it takes is added to the cost of the build.

    Raises:
        CompileError: it failed, or was silent and idle for ``silent_seconds``; the message has the lines
            of its output that name the cause, and the log's path.
    """
    log = work / "build.log"
    owner = {OWNER_VARIABLE: os.environ[OWNER_VARIABLE]} if OWNER_VARIABLE in os.environ else {}
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            env=environment | owner,
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
        watch = _Watch(process.pid, silent_seconds, lambda: end_leftovers(work))
        try:
            progress("compile", 0, 0)
            for line in process.stdout or ():
                watch.heard()
                file.write(line)
                if step := _STEP.match(line):
                    progress("compile", *(int(number.replace(",", "")) for number in step.groups()))
            # wait4(2) also returns the processor time of the step and of its child processes.
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            end_leftovers(work)
            raise
        finally:
            watch.end()
    add_step(work, time.monotonic() - began, used.ru_utime + used.ru_stime)
    if process.returncode:
        with log.open(encoding="utf-8", errors="replace") as file:
            file.seek(start)
            output = file.read()
        if watch.hung:
            last = "\n".join(output.splitlines()[-5:])
            raise CompileError(
                f"the build hung: it neither printed nor computed for {silent_seconds:.0f} s, and was stopped. Its "
                f"last lines:\n{last}\nfull log: {log}"
            )
        raise CompileError(
            f"the build ended with {process.returncode}\n{telling_lines(output)}\nfull log: {log}"
        )


class _Watch:
    """Calls ``end`` if a process and what it started neither print nor use the processor for some seconds."""

    def __init__(self, pid: int, seconds: float, end: Callable[[], object]) -> None:
        self.hung = False
        self._pid, self._seconds, self._end = pid, seconds, end
        self._lines = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def heard(self) -> None:
        """Note a line of output."""
        self._lines += 1

    def end(self) -> None:
        """Stop watching."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        before, since = (-1, 0.0), time.monotonic()
        while not self._over.wait(self._seconds / 10):
            now = self._lines, self._used()
            # A tenth of the processor is what no compiler stays below; timers and spinning waits do.
            if now[0] != before[0] or now[1] - before[1] > 0.1 * self._seconds / 10:
                since = time.monotonic()
            before = now
            if time.monotonic() - since >= self._seconds:
                self.hung = True
                self._end()
                return

    def _used(self) -> float:
        """Seconds of the processor that the living processes have used."""
        used = 0.0
        with suppress(psutil.Error):
            own = psutil.Process(self._pid)
            for process in (own, *own.children(recursive=True)):
                with suppress(psutil.Error):
                    times = process.cpu_times()
                    used += times.user + times.system + times.children_user + times.children_system
        return used


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
    _wait_until_ended(leftovers, 10)


def _wait_until_ended(processes: Sequence[psutil.Process], seconds: float) -> None:
    """Wait for processes and leave their exit status, which psutil's own wait would take from their parent."""
    deadline = time.monotonic() + seconds
    while any(map(_runs, processes)) and time.monotonic() < deadline:
        time.sleep(0.01)


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@contextmanager
def ended_with_this_process() -> Iterator[None]:
    """While the block runs, let everything that this process starts end with it, even if it is killed.

    A guard, which is a process of its own, waits for the end of this one, and then ends all processes that have its
    token in their environment. ``PR_SET_PDEATHSIG`` reaches children alone, not the compilers that make(1) starts.
    """
    before, token = os.environ.get(OWNER_VARIABLE), secrets.token_hex(16)
    guard = subprocess.Popen(
        [sys.executable, "-m", "builder.compile.guard", token],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    os.environ[OWNER_VARIABLE] = token
    try:
        yield
    finally:
        if before is None:
            del os.environ[OWNER_VARIABLE]
        else:
            os.environ[OWNER_VARIABLE] = before
        guard.communicate()


def end_owned(token: str) -> None:
    """End the processes that have this token of their owner in their environment."""
    owned = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(OWNER_VARIABLE) == token:
                process.kill()
                owned.append(process)
    psutil.wait_procs(owned, timeout=3)


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
