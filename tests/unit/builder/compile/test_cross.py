"""The driver's judgement of a finished build, and the lines it picks from a failed one."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from builder.compile.compilers.base import Commands
from builder.compile.cost import cache_log, keep_cost, read_cost
from builder.compile.cross import the_one_wheel
from builder.compile.frontends import cmake_toolchain_file, frontend_options
from builder.compile.options import check_cmake_variables
from builder.compile.processes import end_leftovers, run_logged
from builder.errors import CompileError, ConfigError
from builder.model.build import Build
from builder.model.recipe import Recipe
from builder.settings import validate
from builder.targets import Targets
from tests.helpers.builds import RECIPE, build_for


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


def test_a_build_says_what_it_took_over_all_its_sittings(tmp_path: Path) -> None:
    spin = [sys.executable, "-c", "import time\nwhile time.process_time() < 0.6: pass"]
    for _ in range(2):
        run_logged(spin, {"PATH": "/usr/bin:/bin"}, tmp_path, lambda *_: None)
    with pytest.raises(CompileError, match="ended with 3"):
        run_logged(["/bin/sh", "-c", "exit 3"], {}, tmp_path, lambda *_: None)
    cache_log(tmp_path).write_text(
        "# a.c\ncache_miss\nlocal_storage_write\n# b.c\ndirect_cache_hit\n# c.c\npreprocessed_cache_hit\n"
    )
    (tmp_path / "kept").mkdir()
    keep_cost(tmp_path, tmp_path / "kept")
    cost = read_cost(tmp_path / "kept")
    assert cost is not None
    assert 1.1 < cost.cpu_seconds <= cost.seconds * 1.1 + 0.2
    assert (cost.shared, cost.compiled) == (2, 1)
    assert str(cost).endswith("2 of 3 units came from the cache")


def _toolchain(folder: Path, targets: Targets, *options: str, **backend: object) -> str:
    """The CMake toolchain file of a demo build with these options, and a second backend of that kind if given."""
    build = {**RECIPE["build"], "options": options}
    backends = {"openblas": {"default": True}, "other": backend}
    recipe = validate(Recipe, {**RECIPE, "build": build, "backends": backends}, origin="demo.toml")
    program = folder / "env/bin/python"
    (folder / "env/lib/python3.11/site-packages").mkdir(parents=True)
    toolbox = SimpleNamespace(
        ensure=lambda part: folder / "parts" / part, python_headers=lambda _: folder / "headers"
    )
    commands = Commands(**{name: folder / name for name in ("cc", "cxx", "ar", "ranlib", "strip")})
    made = build_for(recipe, targets, backend="other" if backend else "openblas")
    path = cmake_toolchain_file(made, commands, toolbox, folder, program)
    return path.read_text()


def test_options_of_cmake_stand_in_the_toolchain_file_with_their_folders(
    tmp_path: Path, targets: Targets
) -> None:
    text = _toolchain(
        tmp_path,
        targets,
        "-DA=word",
        "-DD=OFF",
        "-DB={part:protoc}/usr/bin/protoc",
        "--other",
        "-DC={site}/x=y",
    )
    assert 'set(A "word" CACHE STRING "" FORCE)' in text
    assert 'set(D "OFF" CACHE BOOL "" FORCE)' in text
    assert f'set(B "{tmp_path}/parts/protoc/usr/bin/protoc" ' in text
    assert f'set(C "{tmp_path}/env/lib/python3.11/site-packages/x=y" ' in text
    assert "other" not in text


def test_a_folder_that_is_none_is_refused(tmp_path: Path, targets: Targets) -> None:
    with pytest.raises(CompileError, match=r"names the folder \{nowhere\}"):
        _toolchain(tmp_path, targets, "-DA={nowhere}")


def test_a_licensed_library_is_looked_for_where_its_user_says(
    tmp_path: Path, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "armpl"
    for value, reason in (("", "set ARMPL_DIR to its folder$"), (str(own), "armpl is not")):
        monkeypatch.setenv("ARMPL_DIR", value)
        with pytest.raises(ConfigError, match=reason):
            _toolchain(tmp_path / f"without{len(value)}", targets, licensed="ARMPL_DIR")
    own.mkdir()
    assert f" {own} " in _toolchain(tmp_path / "with", targets, licensed="ARMPL_DIR")
    assert f" {own} " not in _toolchain(tmp_path / "other", targets)


def test_misspelt_variables_of_cmake_are_all_told_with_the_nearest_known_one(tmp_path: Path) -> None:
    (tmp_path / "cmake").mkdir()
    (tmp_path / "CMakeLists.txt").write_text('option(USE_MKLDNN "oneDNN" ON)\n')
    (tmp_path / "cmake/Blas.cmake").write_text('if(BLAS STREQUAL "OpenBLAS")\nendif()\n')
    # An earlier configuration's own files know every name it was ever given.
    (tmp_path / "build").mkdir()
    (tmp_path / "build/old.cmake").write_text("USE_MKLDNNN BLASS")
    good = ["-DUSE_MKLDNN=ON", "-DBLAS:STRING=OpenBLAS", "-DCMAKE_BUILD_TYPE=Release", "--plain-name"]
    check_cmake_variables(good, tmp_path, "recipe demo")
    with pytest.raises(ConfigError) as caught:
        check_cmake_variables([*good, "-DUSE_MKLDNNN=ON", "-DBLASS=x"], tmp_path, "recipe demo")
    message = str(caught.value)
    assert message.startswith("recipe demo: no CMake file of the source reads -DBLASS, did you mean -DBLAS?")
    assert message.endswith("nor -DUSE_MKLDNNN, did you mean -DUSE_MKLDNN?")


@pytest.mark.parametrize("hot", [True, False])
def test_scikit_build_core_is_given_the_ninja_that_waits_its_turn(
    tmp_path: Path, targets: Targets, hot: bool
) -> None:
    settings = {
        **RECIPE["build"],
        "frontend": "scikit-build-core",
        "hot_paths": ["*/kernels/*"] if hot else [],
    }
    recipe = validate(Recipe, {**RECIPE, "build": settings}, origin="demo.toml")
    commands = Commands(**{name: tmp_path / name for name in ("cc", "cxx", "ar", "ranlib", "strip")})
    options = frontend_options(build_for(recipe, targets), commands, tmp_path, 2)
    assert options[0] == f"-Cbuild-dir={tmp_path}/build"
    turn = f"-Ccmake.args=-DCMAKE_MAKE_PROGRAM={tmp_path}/bin/ninja"
    assert options[1:] == ([turn] if hot else [])
