"""Wheels that other projects publish: sound ones pass for generic, and each fault is refused by its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from builder.audit import audit_wheel
from builder.cpus import load_targets
from builder.model.expectations import AllowedCode, Expectations
from tests.helpers.places import Place

pytestmark = pytest.mark.slow

PLATFORMS = tuple(f"manylinux_2_{minor}_aarch64" for minor in (17, 27, 28, 34))
TARGETS = load_targets()


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
    report = audit_wheel(wheel, targets=TARGETS, llvm_mc=llvm_mc)
    assert report.passed, report.verdict("instructions").detail
    data = report.verdict("instructions").data
    assert {place["rank"] for place in data["places"]} == {"chosen"}
    assert sum(count for why, count in data["allowed"].items() if why.startswith("OpenBLAS")) > 100_000

    rules = (
        AllowedCode(member="numpy.libs/libscipy_openblas*", why="OpenBLAS picks kernels by the CPU it finds"),
        AllowedCode(
            member="numpy/_core/*", symbol=r".*(ASIMD|NEON).*", why="NumPy asks for the feature first"
        ),
    )
    allowed = audit_wheel(wheel, targets=TARGETS, expectations=Expectations(allow=rules), llvm_mc=llvm_mc)
    assert allowed.passed, allowed.verdict("instructions").detail
    assert not allowed.verdict("instructions").data["places"]


@pytest.mark.parametrize(
    ("project", "check", "reason"),
    [
        ("onnxruntime==1.21.0", "instructions", "runs at import, called from the loader, as a constructor"),
        ("onnxruntime==1.22.0", None, ""),
        ("paulimer==0.1.1", "instructions", "runs at import, called from"),
        ("paulimer==0.2.9", None, ""),
        ("polars==0.18.15", "page-size", "jemalloc works with pages of 4 KiB at most"),
        ("grpcio==1.56.0", "symbols", "undefined symbols of std::__cxx11 without a version"),
        ("ninja==1.13.2", None, ""),
    ],
)
def test_known_faults_of_published_wheels_are_named_and_their_mended_versions_pass(
    project: str, check: str | None, reason: str, llvm_mc: Path, tmp_path: Path
) -> None:
    """Bug reports: onnxruntime 23957, qdk-ec 52, polars 5654, grpc 33734."""
    report = audit_wheel(download(project, tmp_path), targets=TARGETS, llvm_mc=llvm_mc)
    failed = {verdict.check: verdict.detail for verdict in report.verdicts if verdict.outcome == "fail"}
    assert list(failed) == ([check] if check else [])
    assert reason in failed.get(check or "", "")


def test_most_of_a_wheel_in_debug_sections_is_said(llvm_mc: Path, tmp_path: Path) -> None:
    report = audit_wheel(download("ml-dtypes==0.5.4", tmp_path), targets=TARGETS, llvm_mc=llvm_mc)
    assert report.passed
    assert "of its binaries are debug sections" in report.verdict("size").detail


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


def test_a_file_of_rules_sets_code_aside(place: Place, tmp_path: Path) -> None:
    wheel = str(download("paulimer==0.1.1", tmp_path))
    rules = tmp_path / "rules.toml"
    rules.write_text('[[allow]]\nmember = "paulimer/*"\nwhy = "it runs on our Graviton3 servers alone"\n')
    done = place.run("armwheels", "audit", wheel, "--allow", str(rules))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "set aside: it runs on our Graviton3 servers alone" in " ".join(done.stdout.split())
    rules.write_text('[[allow]]\nmembers = "paulimer/*"\nwhy = "misspelt"\n')
    done = place.run("armwheels", "audit", wheel, "--allow", str(rules))
    assert done.returncode == 3
    assert "allow[0].members: unknown key; did you mean 'member'?" in done.stderr
