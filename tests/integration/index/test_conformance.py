"""The conformance suite finds no fault in the index: real pip, uv, Poetry, PDM and twine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from index_server.settings import ROOT
from scripts.conformance import CHECKS


def conformance(scratch: Path, *arguments: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.conformance", "--json", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "ARMWHEELS_SCRATCH": str(scratch)},
    )
    assert done.stdout, done.stderr[-2000:]
    [found] = json.loads(done.stdout).values()
    assert set(found) == {check.name for check in CHECKS}
    assert done.returncode == any(found[check.name] and not check.optional for check in CHECKS)
    return dict(found)


@pytest.mark.slow
def test_every_check_holds_for_the_index(tmp_path: Path) -> None:
    found = conformance(tmp_path, "--peer", "armwheels")
    assert {name: fault for name, fault in found.items() if fault} == {}


@pytest.mark.slow
def test_no_check_holds_where_there_is_no_index(tmp_path: Path) -> None:
    """Of what no server at all would satisfy, there is nothing but what refuses."""
    found = conformance(tmp_path, "--simple", "http://127.0.0.1:9/simple/", "--upload", "http://127.0.0.1:9/")
    assert [name for name, fault in found.items() if not fault] == []
