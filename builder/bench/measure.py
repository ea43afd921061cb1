"""Runs a bench script and reads its JSON lines. If a workload kills the process, the others still run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from builder.bench.model import IMPORT, Machine, Row, Workload
from builder.errors import VerifyError

SCRIPTS = Path(__file__).resolve().parents[1] / "wheel_benches"
TESTS = SCRIPTS / "tests_bench.py"
SILENCE_SECONDS = 900.0

StepReport = Callable[[str], None]
Program = tuple[Path, ...]
"""A script and the files that it is given: the arguments of Python."""

Line = dict[str, Any]
Ask = Callable[[Sequence[str]], tuple[list[Line], str]]
"""Runs the named workloads in one process. Returns its lines, and how it ended (empty after success)."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """What is run with each wheel: the program, those of its workloads that are chosen, and what it needs beside.

    ``requires`` has requirements (PEP 508) to install beside the wheel.
    """

    program: Program
    workloads: tuple[Workload, ...]
    requires: tuple[str, ...] = ()


class Bencher(Protocol):
    """A machine that runs aarch64 wheels. An emulated one counts instructions, a real one measures time."""

    @property
    def machine(self) -> Machine: ...

    def platforms(self) -> list[str]:
        """Return the platform tags of wheels that run on this machine, the best first."""

    def install(self, wheel: Path, site: Path, beside: Sequence[str] = ()) -> None:
        """Install a wheel, its dependencies, and the requirements in ``beside`` (PEP 508) into ``site``."""

    def measure(
        self, program: Program, workloads: Sequence[str], site: Path, progress: StepReport
    ) -> tuple[Row, ...]:
        """Run workloads with the packages in ``site``. Return a row for ``import`` first, then one per workload."""


def program_for(project: str, tests: Path | None = None) -> Program | None:
    """Return what measures a project: its bench script, else the checks of its test script, else ``None``.

    The bench script is in ``builder/wheel_benches`` or beside the test script. The project's name need not be
    normalized.
    """
    name = f"{project.lower().replace('-', '_').replace('.', '_')}_bench.py"
    if (SCRIPTS / name).is_file():
        return (SCRIPTS / name,)
    if tests is not None and (tests.parent / name).is_file():
        return (SCRIPTS / "run_with_kit.py", tests.parent / name)
    return (TESTS, tests) if tests is not None else None


def parse_lines(text: Iterable[str]) -> list[Line]:
    """Return the JSON lines in the output of a script. Lines that libraries print are ignored."""
    lines = []
    for line in text:
        if line.startswith('{"workload"'):
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue  # incomplete, since the process was killed while it wrote
    return lines


def workloads_of(program: Program) -> tuple[Workload, ...]:
    """Return the workloads of a program. This Python can list them, since listing does not import the package."""
    output = subprocess.run(
        [sys.executable, *map(str, program), "list"], capture_output=True, text=True, check=True
    ).stdout
    return tuple(
        Workload(name=line["workload"], about=line["about"]) for line in parse_lines(output.splitlines())
    )


def collect(names: Sequence[str], ask: Ask) -> dict[str, Line]:
    """Run workloads with ``ask`` until each has a line. Return the lines by workload, ``import`` first.

    If the process dies, the workload with the state ``started`` has killed it. The next process runs the remaining
    workloads without that one.
    """
    answers: dict[str, Line] = {}
    waiting = list(names)
    while True:
        lines, ending = ask(waiting)
        latest = {line["workload"]: line for line in lines}
        for name, line in latest.items():
            if line["state"] != "started":
                answers.setdefault(name, line)
        culprit = next((name for name, line in latest.items() if line["state"] == "started"), None)
        if culprit is not None:
            answers[culprit] = {
                "workload": culprit,
                "state": "died",
                "detail": ending or "it ended without a message",
            }
        importable = answers.get(IMPORT, {}).get("state") == "ran"
        waiting = [name for name in waiting if name not in answers]
        if not waiting or not importable or culprit is None:
            break
    why = answers.get(IMPORT, {}).get("detail") or ending or "the script printed nothing"
    for name in (IMPORT, *waiting):
        answers.setdefault(name, {"workload": name, "state": "failed", "detail": f"did not start: {why}"})
    return {name: answers[name] for name in (IMPORT, *names)}


def converse(
    command: Sequence[str],
    environment: Mapping[str, str],
    cwd: Path,
    on_line: Callable[[Line], None],
    *,
    silence: float = SILENCE_SECONDS,
) -> tuple[list[Line], str]:
    """Run a bench script. Return its lines, and how it ended (empty after success).

    ``on_line`` is called with each line when it is printed. A script that prints nothing for ``silence`` seconds is
    killed.

    Raises:
        VerifyError: the program cannot be started.
    """
    lines: list[Line] = []
    with tempfile.TemporaryFile("w+", dir=cwd) as complaints:
        try:
            process = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise VerifyError(f"{command[0]} could not be started: {error}") from error
        with _Patience(process, silence) as patience:
            for text in process.stdout or ():
                patience.renew()
                for line in parse_lines([text]):
                    lines.append(line)
                    on_line(line)
            process.wait()
        complaints.seek(0)
        last = [line.strip() for line in complaints.read().splitlines() if line.strip()][-1:]
    if patience.lost:
        return lines, f"killed after {silence:.0f} s without output"
    return lines, how_it_ended(process.returncode, last[0] if last else "")


class _Patience:
    """Kills a process after ``seconds`` without :meth:`renew`, and in any case at the end of the block."""

    def __init__(self, process: subprocess.Popen[str], seconds: float) -> None:
        self._process = process
        self._seconds = seconds
        self._timer = threading.Timer(seconds, self._lose)
        self.lost = False

    def __enter__(self) -> _Patience:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._process.kill()
        self._process.wait()

    def renew(self) -> None:
        self._timer.cancel()
        self._timer = threading.Timer(self._seconds, self._lose)
        self._timer.start()

    def _lose(self) -> None:
        self.lost = True
        self._process.kill()


def how_it_ended(code: int, last_words: str) -> str:
    """Describe an exit code; empty for 0. qemu-user ends with the signal that ended its guest."""
    if code == 0:
        return ""
    number = -code if code < 0 else code - 128
    if number in {one.value for one in signal.Signals}:
        name = signal.Signals(number).name
        return "ended by SIGILL, an illegal instruction" if name == "SIGILL" else f"ended by {name}"
    return f"ended with {code}: {last_words[:200] or 'no message'}"
