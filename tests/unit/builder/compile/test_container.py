"""cibuildwheel's call for a build, and the reasons why a host cannot make it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.compile.container import ContainerDriver, command, variables, why_not
from builder.cpus import load_servers, load_targets
from builder.errors import CompileError
from builder.model.build import Build
from builder.model.recipe import Recipe
from builder.toolbox.toolbox import Toolbox
from tests.helpers.builds import RECIPE, build_for

SETTINGS = {
    "frontend": "cibuildwheel",
    "compiler": "gcc-14",
    "glibc": "2.28",
    "requires": ["setuptools"],
    "cflags": ["-O3"],
    "options": ["--build-option=x"],
    "config_settings": {"setup-args": ["-Da=1", "-Db=2"]},
    "environment": {"MODE": "two words"},
}


@pytest.fixture
def build() -> Build:
    recipe = Recipe.model_validate({**RECIPE, "build": SETTINGS})
    return build_for(recipe, load_targets(load_servers()))


def test_options_pass_as_variables(build: Build) -> None:
    told = variables(build, "podman")
    assert told["CIBW_MANYLINUX_AARCH64_IMAGE"] == "manylinux_2_28"
    inside = shlex.split(told["CIBW_ENVIRONMENT"])
    assert "CFLAGS=-mcpu=neoverse-v1 -frecord-gcc-switches -O3" in inside
    assert "MODE=two words" in inside
    assert shlex.split(told["CIBW_CONFIG_SETTINGS"]) == [
        "setup-args=-Da=1",
        "setup-args=-Db=2",
        "--build-option=x",
    ]
    assert told["CIBW_REPAIR_WHEEL_COMMAND"] == ""


def test_cibuildwheel_reads_them(build: Build, tmp_path: Path) -> None:
    """cibuildwheel itself reads its options, and would build exactly this identifier."""
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'demo'\nversion = '1'\n")
    program = Path(sys.executable).with_name("cibuildwheel")
    _, *arguments = command(build, tmp_path, tmp_path / "out")
    done = subprocess.run(
        [program, *arguments, "--print-build-identifiers"],
        env={**os.environ, **variables(build, "podman")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [build.identifier], done.stderr


@pytest.mark.parametrize(
    ("machine", "programs", "reason"),
    [
        ("x86_64", {"podman", "cibuildwheel"}, "arm64 host; this one is x86_64"),
        ("aarch64", {"cibuildwheel"}, "neither podman nor docker"),
        ("aarch64", {"docker"}, "pip install cibuildwheel"),
        ("aarch64", {"docker", "cibuildwheel"}, ""),
    ],
)
def test_what_a_host_lacks_is_said(
    machine: str, programs: set[str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name if name in programs else None)
    assert reason in why_not(machine)
    assert bool(why_not(machine)) == bool(reason)


def test_a_build_elsewhere_is_refused(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(CompileError, match="arm64 host"):
        ContainerDriver().compile(build, Toolbox(home=tmp_path), tmp_path / "work", lambda *_: None)
    assert not (tmp_path / "work").exists()
