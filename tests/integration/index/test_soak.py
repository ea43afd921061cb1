"""A minute of mixed load, attacks and kills, after which nothing acknowledged is lost."""

from __future__ import annotations

import subprocess
import sys

import pytest

from index_server.settings import ROOT

pytestmark = pytest.mark.slow


def test_a_minute_of_load_attacks_and_kills_loses_nothing() -> None:
    command = [sys.executable, "-m", "scripts.soak", "--seconds", "60"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("\n0 faults\n")
