"""The scripts that run in the emulated environment report one JSON line a check."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from builder.settings import WHEEL_TESTS

SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from kit import report

def broken():
    raise ZeroDivisionError("x" * 400)

report({{"first": lambda: ({first}, "one"), "second": lambda: (True, "two"), {third}}}, vital={vital!r})
"""


def run(first: bool, third: str = "", vital: str = "") -> tuple[int, list[dict]]:
    script = SCRIPT.format(folder=str(WHEEL_TESTS), first=first, third=third, vital=vital)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_every_check_is_reported_and_one_failure_is_the_exit_code() -> None:
    code, lines = run(True)
    assert (code, [line["passed"] for line in lines]) == (0, [True, True])
    assert set(lines[0]) == {"check", "passed", "detail", "seconds"}
    code, lines = run(False)
    assert (code, [line["passed"] for line in lines]) == (1, [False, True])


def test_an_exception_is_a_failure_with_its_name() -> None:
    code, lines = run(True, third='"third": broken')
    assert code == 1
    assert lines[2]["detail"] == "ZeroDivisionError: " + "x" * 300


def test_nothing_is_run_after_a_vital_failure() -> None:
    code, lines = run(False, vital="first")
    assert (code, len(lines)) == (1, 1)


@pytest.mark.parametrize("script", sorted(WHEEL_TESTS.glob("*_wheel.py")), ids=lambda path: path.stem)
def test_without_its_package_a_script_reports_or_ends_with_the_reason(script: Path, tmp_path: Path) -> None:
    """Isolated from site-packages, each script fails by a reported check or by the import itself."""
    done = subprocess.run(
        [sys.executable, "-S", str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    failures = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    said = " ".join(line["detail"] for line in failures if not line["passed"]) + done.stderr
    assert "No module named" in said or "PackageNotFoundError" in said
