"""The compiler flags of each frontend."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builder.compile.compilers.base import Commands
from builder.compile.frontends import (
    build_variables,
    meson_cross_file,
    python_flags,
    write_cmake_toolchain,
)
from builder.errors import CompileError
from builder.model.recipe import Recipe
from builder.settings import validate
from builder.targets import Targets
from tests.helpers.builds import RECIPE, build_for

SYSCONFIG = "build_time_vars = {'CFLAGS': '-Wall -g', 'OPT': '-DNDEBUG -g -fwrapv -O2 -Wall'}\n"


@pytest.fixture
def headers(tmp_path: Path) -> Path:
    folder = tmp_path / "headers"
    (folder / "sysconfigdata").mkdir(parents=True)
    (folder / "sysconfigdata/_sysconfigdata__aarch64-linux-gnu.py").write_text("# generated\n" + SYSCONFIG)
    return folder


def variables(headers: Path, targets: Targets, **build: Any) -> dict[str, str]:
    place = headers.parent
    (place / "env/lib/python3.11/site-packages").mkdir(parents=True, exist_ok=True)
    recipe = validate(Recipe, {**RECIPE, "build": {**RECIPE["build"], **build}}, origin="demo.toml")
    toolbox: Any = SimpleNamespace(
        home=place,
        python_headers=lambda _: headers,
        pins=SimpleNamespace(digest=lambda _: ""),
        toolchains=SimpleNamespace(compilers={"zig": SimpleNamespace(tools=())}),
    )
    commands = Commands(**{name: place / name for name in ("cc", "cxx", "ar", "ranlib", "strip")})
    return build_variables(build_for(recipe, targets), commands, toolbox, place, place / "env/bin/python", 1)


def test_setuptools_without_flags_of_the_recipe_takes_those_of_cpython(
    headers: Path, targets: Targets
) -> None:
    found = variables(headers, targets)
    assert "CFLAGS" not in found  # set to nothing, it would replace them: no -O at all
    assert "CXXFLAGS" not in found


def test_flags_of_the_recipe_follow_those_of_cpython(headers: Path, targets: Targets) -> None:
    found = variables(headers, targets, cflags=["-O3", "-funroll-loops"])
    assert found["CFLAGS"] == found["CXXFLAGS"] == "-DNDEBUG -fwrapv -O2 -O3 -funroll-loops"


def test_other_frontends_have_optimisation_of_their_own(headers: Path, targets: Targets) -> None:
    found = variables(headers, targets, frontend="meson-python", cflags=["-DX=1"])
    assert found["CFLAGS"] == found["CXXFLAGS"] == "-DX=1"


def test_a_cpython_without_flags_is_refused(headers: Path) -> None:
    [path] = (headers / "sysconfigdata").iterdir()
    path.write_text("build_time_vars = {'CFLAGS': ''}\n")
    with pytest.raises(CompileError, match="OPT is not there"):
        python_flags(headers)


def _commands(folder: Path, *names: str) -> Commands:
    return Commands(**{name: folder / name for name in ("cc", "cxx", "ar", "ranlib", "strip", *names)})


def test_build_systems_learn_of_the_fortran_compiler_where_there_is_one(
    tmp_path: Path, recipe: Recipe, targets: Targets
) -> None:
    build = build_for(recipe, targets)
    for commands, named in ((_commands(tmp_path), False), (_commands(tmp_path, "fc"), True)):
        meson = meson_cross_file(build, commands, tmp_path).read_text()
        assert (f"fortran = '{tmp_path}/fc'\n" in meson) is named
        cmake = write_cmake_toolchain(tmp_path / "toolchain.cmake", commands, [], {}).read_text()
        assert (f"set(CMAKE_Fortran_COMPILER {tmp_path}/fc)\n" in cmake) is named
