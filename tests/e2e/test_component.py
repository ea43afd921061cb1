"""A real part of PyTorch through the same stages: configured, killed, gone on with, linked, run, extended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers.places import Place

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(1800)]

BUILD = (
    "armwheels",
    "build",
    "torch-2.6.0-cp311-neoverse-v1-openblas",
    "--matrix",
    "pytorch",
    "--component",
    "c10",
)


def _objects(place: Place) -> dict[Path, int]:
    """The finished objects of c10 and when each was written."""
    found = place.home.glob("work/*/src/build/c10/CMakeFiles/c10.dir/**/*.o")
    return {path: path.stat().st_mtime_ns for path in found}


def _some_objects(place: Place, process: subprocess.Popen[str], wanted: int) -> dict[Path, int]:
    deadline = time.monotonic() + 1200
    while len(found := _objects(place)) < wanted:
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def test_c10_is_killed_in_mid_compile_and_goes_on(place: Place) -> None:
    first = place.start(*BUILD)
    before = _some_objects(place, first, 20)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    done = place.run(*BUILD, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    kept = [path for path, written in _objects(place).items() if before.get(path) == written]
    assert len(kept) >= len(before) - 2  # those that were being written when the kill came
    for check in ("bfloat16", "half", "references", "allocator", "exception", "names"):
        assert re.search(rf"^{check} +pass", done.stdout, re.MULTILINE), done.stdout
    [log] = place.home.glob("work/*/build.log")
    assert "-- Generating done" in log.read_text(errors="replace")


def test_an_unknown_component_is_answered_with_those_there_are(place: Place) -> None:
    done = place.run(*BUILD[:-1], "c11")
    assert done.returncode == 3
    assert "it has c10" in done.stderr
