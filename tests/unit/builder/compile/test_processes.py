"""Steps of a build that hang, and what a killed worker leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from builder.compile.processes import OWNER_VARIABLE, WORK_VARIABLE, end_leftovers, run_logged
from builder.errors import CompileError

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def quiet(what: str, done: int, steps: int) -> None:
    pass


def step(work: Path, script: str, seconds: float) -> None:
    environment = {**ENVIRONMENT, WORK_VARIABLE: str(work)}
    run_logged(["sh", "-c", script], environment, work, quiet, silent_seconds=seconds)


def test_a_step_that_neither_prints_nor_computes_is_stopped(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(CompileError, match=r"(?s)the build hung.*waiting for a lock"):
        step(tmp_path, "echo waiting for a lock; sleep 600", 3.0)
    assert time.monotonic() - began < 60


def test_whoever_started_a_process_that_is_ended_gets_its_status(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "600"], env={**ENVIRONMENT, WORK_VARIABLE: str(tmp_path)})
    end_leftovers(tmp_path)
    _, status, _ = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_step_that_prints_or_computes_is_not_stopped(tmp_path: Path) -> None:
    step(tmp_path, "for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.5; done", 3)
    end = "end=$(($(date +%s) + 5)); while [ $(date +%s) -lt $end ]; do :; done"
    step(tmp_path, end, 3)


def test_what_a_killed_process_started_ends_with_it(tmp_path: Path) -> None:
    """Also in a session of its own, and a process whose parent ended before."""
    script = (
        "import subprocess, time\n"
        "from builder.compile.processes import ended_with_this_process\n"
        "with ended_with_this_process():\n"
        "    subprocess.Popen(['setsid', 'sleep', '987'])\n"
        "    subprocess.run(['sh', '-c', 'sleep 987 &'])\n"
        "    print('started', flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[4]
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        [token] = {one.environ()[OWNER_VARIABLE] for one in sleepers()}
        os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while [one for one in sleepers() if one.environ().get(OWNER_VARIABLE) == token]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def sleepers() -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "987"]]
