"""The wrappers call their compiler as they should: run for real, with a compiler that prints its arguments."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from builder.compile.wrappers import write_wrappers
from builder.model import Recipe
from builder.settings import validate
from builder.targets import Targets
from tests.unit.builder.conftest import RECIPE, build_for


class Wrapped:
    """Wrappers of one build over a compiler that prints one argument a line."""

    def __init__(self, folder: Path, recipe: Recipe, targets: Targets, target: str) -> None:
        echo = folder / "echo"
        echo.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        echo.chmod(0o755)
        gnu = folder / "gnu/usr/bin"
        gnu.mkdir(parents=True)
        for name in ("gcc-12", "g++-12", "ar", "ranlib"):
            (gnu / f"aarch64-linux-gnu-{name}").symlink_to(echo)
        toolbox = SimpleNamespace(zig=lambda: echo, ensure=lambda part: folder / part)
        self.commands = write_wrappers(build_for(recipe, targets, target), toolbox, folder / "bin")

    def cc(self, *arguments: str) -> list[str]:
        return self._run(self.commands.cc, arguments)

    def cxx(self, *arguments: str) -> list[str]:
        return self._run(self.commands.cxx, arguments)

    def _run(self, program: Path, arguments: tuple[str, ...]) -> list[str]:
        done = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()


@pytest.fixture
def zig(tmp_path: Path, recipe: Recipe, targets: Targets) -> Wrapped:
    return Wrapped(tmp_path, recipe, targets, "neoverse-v1")


@pytest.fixture
def gcc(tmp_path: Path, targets: Targets) -> Wrapped:
    data = {**RECIPE, "build": {**RECIPE["build"], "compiler": "gcc"}}
    return Wrapped(tmp_path, validate(Recipe, data, origin="demo.toml"), targets, "neoverse-v1")


def test_a_unit_is_compiled_for_the_target(zig: Wrapped) -> None:
    said = zig.cc("-O3", "-c", "a.c", "-o", "a.o")
    assert said[:3] == ["cc", "-target", "aarch64-linux-gnu.2.28"]
    assert "-mcpu=neoverse_v1" in said
    assert said[-5:] == ["-O3", "-c", "a.c", "-o", "a.o"]


def test_a_mere_link_uses_the_baseline_so_that_its_support_libraries_are_shared(zig: Wrapped) -> None:
    assert "-mcpu=generic" in zig.cxx("-shared", "a.o", "b.o", "-o", "m.so")


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("-march=armv8.2-a+sve", "-mcpu=neoverse_v1+v8_2a+sve"),
        ("-march=armv8-a+simd", "-mcpu=neoverse_v1+neon"),
        ("-march=armv8.2-a+fp16+dotprod", "-mcpu=neoverse_v1+v8_2a+fullfp16+dotprod"),
        ("-mcpu=native", "-mcpu=neoverse_v1"),
        ("-mtune=native", "-mcpu=neoverse_v1"),
    ],
)
def test_zig_gets_one_flag_family(zig: Wrapped, asked: str, given: str) -> None:
    said = zig.cc(asked, "-c", "a.c")
    assert [flag for flag in said if flag.startswith(("-mcpu", "-march", "-mtune"))] == [given]


def test_gcc_gets_one_flag_family(gcc: Wrapped) -> None:
    said = gcc.cc("-march=armv8.2-a+sve+fp16", "-c", "a.c")
    assert [flag for flag in said if flag.startswith(("-mcpu", "-march"))] == ["-mcpu=neoverse-v1+sve+fp16"]
    assert "-frecord-gcc-switches" in said


def test_gcc_takes_the_sysroots_own_cxx_headers(gcc: Wrapped) -> None:
    assert "-nostdinc++" in gcc.cxx("-c", "a.cc")
    assert "-nostdinc++" not in gcc.cc("-c", "a.c")


def test_the_record_holds_what_reached_the_compiler_and_no_path(zig: Wrapped) -> None:
    said = zig.cc(
        "-O3", "-fno-strict-aliasing", "-ffile-prefix-map=/here=.", "-march=armv8.2-a+sve", "-c", "a.c"
    )
    record = said[said.index("-record-command-line") + 2]
    assert record == "zig 0.17.1 -mcpu=neoverse_v1+v8_2a+sve -O3 -fno-strict-aliasing"


def test_arguments_with_spaces_and_stars_survive(zig: Wrapped) -> None:
    odd = ['-DTEXT="a  b"', "-DSTAR=*", "-I", "dir with space"]
    assert zig.cc(*odd, "-c", "a.c")[-6:-2] == odd


def test_only_hot_paths_are_tuned_when_a_recipe_names_them(tmp_path: Path, targets: Targets) -> None:
    data = {**RECIPE, "build": {**RECIPE["build"], "hot_paths": ["aten/src/*kernel*", "core/matmul.c"]}}
    wrapped = Wrapped(tmp_path, validate(Recipe, data, origin="demo.toml"), targets, "neoverse-v1")
    assert "-mcpu=neoverse_v1" in wrapped.cc("-c", "/x/aten/src/a/kernel_1.c")
    assert "-mcpu=neoverse_v1" in wrapped.cc("-c", "../core/matmul.c")
    assert "-mcpu=generic" in wrapped.cc("-c", "core/other.c")


def test_run_paths_into_build_folders_are_dropped(zig: Wrapped) -> None:
    said = zig.cxx("-shared", "a.o", "-Wl,-rpath,/build/deps/lib", "-Wl,-rpath,$ORIGIN/../x", "-lblas")
    assert "-Wl,-rpath,/build/deps/lib" not in said
    assert said[-3:] == ["a.o", "-Wl,-rpath,$ORIGIN/../x", "-lblas"]
