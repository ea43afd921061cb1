"""armwheels-audit from its wheels: installed outside the checkout, it judges as the checkout does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.audit import audit_wheel
from builder.cpus import load_targets
from builder.settings import ROOT, home_dir
from builder.toolbox.toolbox import Toolbox
from tests.helpers.sarif import results_of

pytestmark = pytest.mark.slow

Program = Callable[..., "subprocess.CompletedProcess[str]"]


def make(out: Path) -> dict[str, Path]:
    """Both wheels, by platform."""
    command = [sys.executable, "-m", "scripts.audit_distribution", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True)
    return {"any" if path.stem.endswith("-any") else "x86_64": path for path in out.iterdir()}


@pytest.fixture(scope="module")
def llvm_mc() -> Path:
    return Toolbox(home=home_dir()).llvm_mc()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of PyPI for aarch64."""
    folder = tmp_path_factory.mktemp("judged")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--python-version", "3.11", "--platform", "manylinux_2_28_aarch64"]
    command += ["--platform", "manylinux_2_17_aarch64", "-d", str(folder), "msgpack"]
    subprocess.run(command, check=True)
    [wheel] = folder.iterdir()
    return wheel


def installed(wheel: Path, folder: Path) -> Program:
    """The program of a wheel in a fresh environment; it sees neither the checkout nor other programs."""
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    command = [
        folder / "venv/bin/python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        wheel,
    ]
    subprocess.run(command, check=True, cwd=folder)
    empty = folder / "empty"
    empty.mkdir()

    def call(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(empty), "HOME": str(folder), **variables}
        command = [folder / "venv/bin/armwheels-audit", *map(str, arguments)]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    return call


def test_the_same_inputs_give_the_same_bytes(wheels: dict[str, Path], tmp_path: Path) -> None:
    def digests(made: dict[str, Path]) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made.values()}

    previous = os.umask(0o077)
    try:
        assert digests(make(tmp_path)) == digests(wheels)
    finally:
        os.umask(previous)


def test_the_wheel_for_x86_64_has_its_own_llvm(
    wheels: dict[str, Path], judged: Path, llvm_mc: Path, tmp_path: Path
) -> None:
    program = installed(wheels["x86_64"], tmp_path)
    done = program(judged, "--json", "--sarif", "out.sarif")
    assert done.returncode == 0, done.stdout + done.stderr
    expected = audit_wheel(judged, targets=load_targets(), llvm_mc=llvm_mc)
    assert json.loads(done.stdout) == json.loads(expected.model_dump_json())
    assert results_of(json.loads((tmp_path / "out.sarif").read_text(encoding="utf-8"))) == []
    assert expected.verdict("instructions").data["instructions"] > 1000

    assert program("--version").stdout == "armwheels-audit 0.1.0\n"
    broken = tmp_path / "m-1.0-py3-none-any.whl"
    broken.write_bytes(b"")
    assert program(judged, broken, "--quiet").returncode == 8
    assert program(judged, "--target", "nothing").returncode == 3


def test_the_example_workflow_names_it(wheels: dict[str, Path]) -> None:
    text = (ROOT / "examples/audit-workflow/audit.yml").read_text(encoding="utf-8")
    assert f"/{wheels['x86_64'].name}\n" in text


def test_it_has_the_licences_of_all_that_it_contains(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["x86_64"]) as archive:
        names = archive.namelist()
        [llvm] = [name for name in names if name.endswith("licenses/libllvm19/copyright")]
        assert b"LLVM Exceptions" in archive.read(llvm)
        [apache] = [name for name in names if name.endswith("common-licenses/Apache-2.0")]
        assert b"TERMS AND CONDITIONS FOR USE, REPRODUCTION" in archive.read(apache)
    grafts = [name for name in names if name.startswith("armwheels_audit.libs/")]
    owners = {name.split("/")[-2] for name in names if name.endswith("/copyright")}
    assert len(grafts) >= 10
    assert {"llvm-19", "libllvm19", "libz3-4", "libedit2", "libicu72", "libxml2", "libzstd1"} <= owners


def test_the_wheel_for_any_platform_takes_the_llvm_of_the_path(
    wheels: dict[str, Path], judged: Path, llvm_mc: Path, tmp_path: Path
) -> None:
    program = installed(wheels["any"], tmp_path)
    without = program(judged)
    assert without.returncode == 4
    assert "PATH has no llvm-mc" in without.stderr
    assert "apt install llvm-19" in without.stderr
    assert program(judged, "--quiet", PATH=str(llvm_mc.parent)).returncode == 0
    assert program(judged, "--quiet", ARMWHEELS_LLVM_MC=str(llvm_mc)).returncode == 0


def test_the_command_of_the_checkout_writes_the_same(judged: Path, llvm_mc: Path, tmp_path: Path) -> None:
    def audit(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [Path(sys.executable).parent / "armwheels", "audit", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = audit(judged, "--json", "--sarif", "out.sarif")
    assert done.returncode == 0, done.stdout + done.stderr
    expected = audit_wheel(judged, targets=load_targets(), llvm_mc=llvm_mc)
    assert done.stdout == expected.model_dump_json(indent=2) + "\n"
    assert results_of(json.loads((tmp_path / "out.sarif").read_text(encoding="utf-8"))) == []
    broken = tmp_path / "m-1.0-py3-none-any.whl"
    broken.write_bytes(b"")
    unread = audit(broken, "--sarif", "out.sarif")
    assert (unread.returncode, unread.stdout) == (8, "")
    assert "not a readable wheel" in unread.stderr
    log = json.loads((tmp_path / "out.sarif").read_text(encoding="utf-8"))
    assert log["runs"][0]["invocations"][0]["executionSuccessful"] is False
