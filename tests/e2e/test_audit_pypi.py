"""Wheels that other projects publish: sound ones pass for generic, and a real one is refused by name."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from builder.audit import audit_wheel
from builder.load import load_targets
from builder.model.expectations import AllowedCode, Expectations
from tests.helpers.places import Place

pytestmark = pytest.mark.slow

PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64")
TARGETS = load_targets()
SECONDS_FOR_NUMPY = 30  # four on two idle cores; tests share them with compilers


def download(project: str, folder: Path) -> Path:
    """The project's newest aarch64 wheel for CPython 3.11, from pip's own index."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += [option for platform in PLATFORMS for option in ("--platform", platform)]
    subprocess.run([*command, "--python-version", "3.11", "-d", str(folder), project], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.mark.parametrize("project", ["msgpack", "ujson", "markupsafe"])
def test_sound_wheels_pass_for_generic(project: str, llvm_mc: Path, tmp_path: Path) -> None:
    report = audit_wheel(download(project, tmp_path), targets=TARGETS, llvm_mc=llvm_mc)
    assert report.passed, report.model_dump_json(indent=2)
    assert report.target == "generic"


def test_code_chosen_at_run_time_is_named_and_can_be_allowed(llvm_mc: Path, tmp_path: Path) -> None:
    wheel = download("numpy", tmp_path)
    started = time.monotonic()
    report = audit_wheel(wheel, targets=TARGETS, llvm_mc=llvm_mc)
    assert time.monotonic() - started < SECONDS_FOR_NUMPY
    assert [verdict.check for verdict in report.verdicts if verdict.outcome == "fail"] == ["instructions"]
    assert report.verdict("instructions").data["violations"]["sve"] > 100_000

    rules = (
        AllowedCode(member="numpy.libs/libscipy_openblas*", why="OpenBLAS picks kernels by the CPU it finds"),
        AllowedCode(
            member="numpy/_core/*", symbol=r".*(ASIMD|NEON).*", why="NumPy asks for the feature first"
        ),
    )
    allowed = audit_wheel(wheel, targets=TARGETS, expectations=Expectations(allow=rules), llvm_mc=llvm_mc)
    assert allowed.passed, allowed.verdict("instructions").detail


def test_others_wheels_are_run_through_a_recipes_tests(place: Place, tmp_path: Path) -> None:
    wheel = str(download("msgpack==1.2.4", tmp_path))
    done = place.run("armwheels", "verify", wheel)
    assert done.returncode == 3
    assert "has no passport" in done.stderr
    done = place.run("armwheels", "verify", wheel, "--recipe", "msgpac")
    assert "no recipe 'msgpac'; did you mean 'msgpack'?" in done.stderr
    done = place.run("armwheels", "verify", wheel, "--recipe", "msgpack", "--target", "graviton2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pip install" in done.stdout
    assert "fail" not in done.stdout
