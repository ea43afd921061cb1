"""The driver's judgement of a finished build, and the lines it picks from a failed one."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from builder.compile.cross import the_one_wheel
from builder.compile.frontends import cmake_toolchain_file
from builder.compile.processes import end_leftovers, telling
from builder.compile.wrappers import Commands
from builder.errors import CompileError
from builder.model import Build, Recipe
from builder.settings import validate
from builder.targets import Targets
from tests.unit.builder.conftest import RECIPE, build_for


def _dist(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


def testthe_one_wheel_is_taken(build: Build, tmp_path: Path) -> None:
    name = "demo-1.0-cp311-cp311-linux_aarch64.whl"
    assert the_one_wheel(build, _dist(tmp_path, name)).name == name


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "made no wheel"),
        (
            ["demo-1.0-cp311-cp311-linux_aarch64.whl", "demo-1.1-cp311-cp311-linux_aarch64.whl"],
            "made 2 wheels",
        ),
        (["demo-1.0-py3-none-any.whl"], "silently leave their extensions out"),
        (["demo-1.0-cp311-cp311-linux_x86_64.whl"], "not a linux_aarch64 wheel"),
        (["demo-1.1-cp311-cp311-linux_aarch64.whl"], "its version is 1.1, not 1.0"),
        (["other-1.0-cp311-cp311-linux_aarch64.whl"], "its name is other"),
        (["demo-1.0-cp312-cp312-linux_aarch64.whl"], "not for cp311"),
    ],
)
def test_anything_else_is_refused_with_its_reason(
    build: Build, tmp_path: Path, names: list[str], reason: str
) -> None:
    with pytest.raises(CompileError, match=reason):
        the_one_wheel(build, _dist(tmp_path, *names))


def test_the_telling_lines_are_the_first_errors() -> None:
    noise = [f"[{n}/90] cc -c unit{n}.c" for n in range(40)]
    output = "\n".join([*noise, "a.c:3:5: error: unknown type", "    flaot x;", "    ^", *noise])
    assert telling(output).splitlines()[0] == "a.c:3:5: error: unknown type"
    assert len(telling(output).splitlines()) <= 12


def test_without_an_error_the_last_lines_tell() -> None:
    assert telling("\n".join(map(str, range(100)))).splitlines() == [str(n) for n in range(88, 100)]


def test_what_a_killed_run_left_running_is_ended(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        env={"ARMWHEELS_WORK": str(tmp_path)},
        start_new_session=True,
    )
    other = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], env={"ARMWHEELS_WORK": str(tmp_path / "x")}
    )
    try:
        deadline = time.monotonic() + 10
        while not psutil.Process(sleeper.pid).environ().get("ARMWHEELS_WORK"):
            assert time.monotonic() < deadline
        end_leftovers(tmp_path)
        assert not psutil.pid_exists(sleeper.pid) or sleeper.poll() is not None
        assert other.poll() is None
    finally:
        for process in (sleeper, other):
            process.kill()
            process.wait()


def _toolchain(folder: Path, targets: Targets, *options: str) -> str:
    """The CMake toolchain file of a demo build with these options."""
    recipe = validate(
        Recipe, {**RECIPE, "build": {**RECIPE["build"], "options": options}}, origin="demo.toml"
    )
    program = folder / "env/bin/python"
    (folder / "env/lib/python3.11/site-packages").mkdir(parents=True)
    toolbox = SimpleNamespace(
        ensure=lambda part: folder / "parts" / part, python_headers=lambda _: folder / "headers"
    )
    commands = Commands(**{name: folder / name for name in ("cc", "cxx", "ar", "ranlib", "strip")})
    path = cmake_toolchain_file(build_for(recipe, targets), commands, toolbox, folder, program)
    return path.read_text()


def test_options_of_cmake_stand_in_the_toolchain_file_with_their_folders(
    tmp_path: Path, targets: Targets
) -> None:
    text = _toolchain(
        tmp_path, targets, "-DA=on", "-DB={part:protoc}/usr/bin/protoc", "--other", "-DC={site}/x=y"
    )
    assert 'set(A "on" CACHE STRING "" FORCE)' in text
    assert f'set(B "{tmp_path}/parts/protoc/usr/bin/protoc" ' in text
    assert f'set(C "{tmp_path}/env/lib/python3.11/site-packages/x=y" ' in text
    assert "other" not in text


def test_a_folder_that_is_none_is_refused(tmp_path: Path, targets: Targets) -> None:
    with pytest.raises(CompileError, match=r"names the folder \{nowhere\}"):
        _toolchain(tmp_path, targets, "-DA={nowhere}")
