"""Runs a bench script and reads its JSON lines; a workload that ends the process does not end the others."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from builder.bench.model import IMPORT, Machine, Row, Workload
from builder.errors import VerifyError

SCRIPTS = Path(__file__).resolve().parents[1] / "wheel_benches"
SILENCE_SECONDS = 900.0

StepReport = Callable[[str], None]
Line = dict[str, Any]
Ask = Callable[[Sequence[str]], tuple[list[Line], str]]
"""Runs the named workloads in one process; gives the lines said and how the process ended (empty: well)."""


class Bencher(Protocol):
    """A machine that runs aarch64 wheels: emulated and counting, or real and timing."""

    @property
    def machine(self) -> Machine: ...

    def platforms(self) -> list[str]:
        """Platform tags of wheels that run there, best first."""

    def install(self, wheel: Path, site: Path, beside: Sequence[str] = ()) -> None:
        """Install a wheel and what it depends on into ``site``; ``beside`` are further requirements (PEP 508)."""

    def measure(
        self, script: Path, workloads: Sequence[str], site: Path, progress: StepReport
    ) -> tuple[Row, ...]:
        """Run workloads on what is installed in ``site``; ``import`` comes first of the rows."""


def script_of(project: str) -> Path | None:
    """The bench script of a project (any spelling of its name), or ``None``."""
    path = SCRIPTS / f"{project.lower().replace('-', '_').replace('.', '_')}_bench.py"
    return path if path.is_file() else None


def parse_lines(text: Iterable[str]) -> list[Line]:
    """The JSON lines in the output of a script; libraries may print other lines in between."""
    lines = []
    for said in text:
        if said.startswith('{"workload"'):
            try:
                lines.append(json.loads(said))
            except ValueError:
                continue  # cut short, as when the process was killed while it wrote
    return lines


def workloads_of(script: Path) -> tuple[Workload, ...]:
    """What a script lists, asked on this machine's own Python: listing imports nothing that is measured."""
    said = subprocess.run(
        [sys.executable, str(script), "list"], capture_output=True, text=True, check=True
    ).stdout
    return tuple(
        Workload(name=line["workload"], about=line["about"]) for line in parse_lines(said.splitlines())
    )


def collect(names: Sequence[str], ask: Ask) -> dict[str, Line]:
    """One answer a workload, ``import`` first: a process that dies is started anew without what it died of.

    A line that says ``started`` and has no successor names the culprit.
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
                "detail": ending or "it stopped silently",
            }
        importable = answers.get(IMPORT, {}).get("state") == "ran"
        waiting = [name for name in waiting if name not in answers]
        if not waiting or not importable or culprit is None:
            break
    why = answers.get(IMPORT, {}).get("detail") or ending or "the script said nothing"
    for name in (IMPORT, *waiting):
        answers.setdefault(name, {"workload": name, "state": "failed", "detail": f"did not start: {why}"})
    return {name: answers[name] for name in (IMPORT, *names)}


def converse(
    command: Sequence[str],
    environment: Mapping[str, str],
    cwd: Path,
    heard: Callable[[Line], None],
    *,
    silence: float = SILENCE_SECONDS,
) -> tuple[list[Line], str]:
    """Run a bench script, hear each line as it comes, and tell how it ended: empty for an ordinary end.

    A script that prints nothing for ``silence`` seconds is killed.

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
            for said in process.stdout or ():
                patience.renew()
                for line in parse_lines([said]):
                    lines.append(line)
                    heard(line)
            process.wait()
        complaints.seek(0)
        last = [line.strip() for line in complaints.read().splitlines() if line.strip()][-1:]
    if patience.lost:
        return lines, f"stopped after {silence:.0f} s of silence"
    return lines, how_it_ended(process.returncode, last[0] if last else "")


class _Patience:
    """Kills a process after a long silence, and in any case at the end of the block."""

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
    """A sentence about an exit code; qemu-user dies of its guest's own signal. Empty for 0."""
    if code == 0:
        return ""
    number = -code if code < 0 else code - 128
    if number in {one.value for one in signal.Signals}:
        name = signal.Signals(number).name
        return "ended by SIGILL, an illegal instruction" if name == "SIGILL" else f"ended by {name}"
    return f"ended with {code}: {last_words[:200] or 'it said nothing'}"
