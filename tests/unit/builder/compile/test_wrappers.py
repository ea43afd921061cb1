"""The wrappers call their compiler as they should: run for real, with a compiler that prints its arguments."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from builder.compile.host import HOST_PROGRAMS, link_host_programs
from builder.compile.units import read_dropped
from builder.compile.wrappers import cache_variables, write_ninja_in_turn
from builder.model.recipe import Recipe
from builder.settings import validate
from builder.targets import Targets
from tests.helpers.builds import RECIPE, build_for
from tests.helpers.wrapped import Wrapped


@pytest.fixture
def zig(tmp_path: Path, recipe: Recipe, targets: Targets) -> Wrapped:
    return Wrapped(tmp_path, recipe, targets, "neoverse-v1")


@pytest.fixture
def gcc(tmp_path: Path, targets: Targets) -> Wrapped:
    data = {**RECIPE, "build": {**RECIPE["build"], "compiler": "gcc", "glibc": "2.31"}}
    return Wrapped(tmp_path, validate(Recipe, data, origin="demo.toml"), targets, "neoverse-v1")


def test_a_unit_is_compiled_for_the_target(zig: Wrapped) -> None:
    passed = zig.cc("-O3", "-c", "a.c", "-o", "a.o")
    assert passed[:3] == ["cc", "-target", "aarch64-linux-gnu.2.28"]
    assert "-mcpu=neoverse_v1" in passed
    assert passed[-5:] == ["-O3", "-c", "a.c", "-o", "a.o"]


def test_a_mere_link_uses_the_baseline_so_that_its_support_libraries_are_shared(zig: Wrapped) -> None:
    assert "-mcpu=generic" in zig.cxx("-shared", "a.o", "b.o", "-o", "m.so")


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (["-flto"], "-mcpu=neoverse-v1"),
        (["-flto=auto", "-fno-fat-lto-objects"], "-mcpu=neoverse-v1"),
        (["-flto", "-fno-lto"], "-mcpu=generic"),
    ],
)
def test_a_link_that_compiles_is_told_the_target(gcc: Wrapped, asked: list[str], given: str) -> None:
    passed = gcc.cxx("-shared", *asked, "a.o", "b.o", "-o", "m.so")
    assert [flag for flag in passed if flag.startswith("-mcpu")] == [given]


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
    passed = zig.cc(asked, "-c", "a.c")
    assert [flag for flag in passed if flag.startswith(("-mcpu", "-march", "-mtune"))] == [given]


def test_gcc_gets_one_flag_family(gcc: Wrapped) -> None:
    passed = gcc.cc("-march=armv8.2-a+sve+fp16", "-c", "a.c")
    assert [flag for flag in passed if flag.startswith(("-mcpu", "-march"))] == [
        "-mcpu=neoverse-v1+crc+lse+rdma+sve+fp16"
    ]
    assert "-frecord-gcc-switches" in passed


def test_gcc_takes_the_sysroots_own_cxx_headers(gcc: Wrapped) -> None:
    assert "-nostdinc++" in gcc.cxx("-c", "a.cc")
    assert "-nostdinc++" not in gcc.cc("-c", "a.c")


def test_gcc_is_told_the_narrower_folder_last_since_that_map_wins(gcc: Wrapped, tmp_path: Path) -> None:
    maps = [each for each in gcc.cc("-c", "a.c") if each.startswith("-ffile-prefix-map")]
    assert maps == [f"-ffile-prefix-map={tmp_path.parent}=.", f"-ffile-prefix-map={tmp_path}=."]


def test_the_record_holds_what_reached_the_compiler_and_no_path(zig: Wrapped) -> None:
    passed = zig.cc(
        "-O3", "-fno-strict-aliasing", "-ffile-prefix-map=/here=.", "-march=armv8.2-a+sve", "-c", "a.c"
    )
    record = passed[passed.index("-record-command-line") + 2]
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
    passed = zig.cxx("-shared", "a.o", "-Wl,-rpath,/build/deps/lib", "-Wl,-rpath,$ORIGIN/../x", "-lblas")
    assert "-Wl,-rpath,/build/deps/lib" not in passed
    assert passed[-3:] == ["a.o", "-Wl,-rpath,$ORIGIN/../x", "-lblas"]


def test_gnu_ld_is_told_where_libraries_of_libraries_lie(gcc: Wrapped, tmp_path: Path) -> None:
    assert f"-Wl,-rpath-link,{tmp_path}/deps/lib" in gcc.cxx("a.o", "-o", "a")


def test_hot_flags_go_to_hot_units_alone_and_last(tmp_path: Path, targets: Targets) -> None:
    build = {**RECIPE["build"], "hot_paths": ["hot/*"], "hot_flags": ["-O3", "-funroll-loops"]}
    wrapped = Wrapped(
        tmp_path, validate(Recipe, {**RECIPE, "build": build}, origin="demo.toml"), targets, "neoverse-v1"
    )
    assert wrapped.cc("-O2", "-c", "hot/a.c")[-2:] == ["-O3", "-funroll-loops"]
    assert wrapped.cc("-O2", "-c", "cold/a.c")[-1] == "cold/a.c"
    assert wrapped.cc("-shared", "hot/a.o")[-1] == "hot/a.o"


def test_units_for_other_cpus_are_told_alike_for_every_target_that_never_calls_them(
    tmp_path: Path, targets: Targets
) -> None:
    build = {
        **RECIPE["build"],
        "compiler": "gcc",
        "glibc": "2.31",
        "hot_paths": ["hot/*"],
        "hot_flags": ["-O3"],
        "dispatched": {"*.SVE256.cpp": "sve"},
    }
    recipe = validate(Recipe, {**RECIPE, "build": build}, origin="demo.toml")
    passed = {}
    for target in ("generic", "neoverse-n1", "neoverse-v1"):
        folder = tmp_path / target
        folder.mkdir()
        wrapped = Wrapped(folder, recipe, targets, target)
        lines = wrapped.cc("-O2", "-march=armv8-a+sve", "-c", "hot/a.cpp.SVE256.cpp")
        passed[target] = [line.replace(str(folder), "") for line in lines]
        assert f"-mcpu={target}" in wrapped.cc("-O2", "-c", "hot/a.cpp.DEFAULT.cpp")
    assert passed["generic"] == passed["neoverse-n1"]
    assert "-mcpu=generic+sve" in passed["neoverse-n1"]
    assert "-mcpu=neoverse-v1+sve" in passed["neoverse-v1"]
    assert {lines[-1] for lines in passed.values()} == {"-O3"}


def test_libraries_of_the_toolbox_come_last(tmp_path: Path, targets: Targets) -> None:
    build = {**RECIPE["build"], "compiler": "gcc", "glibc": "2.31", "libraries": ["llvm"]}
    wrapped = Wrapped(
        tmp_path, validate(Recipe, {**RECIPE, "build": build}, origin="demo.toml"), targets, "neoverse-v1"
    )
    passed = wrapped.cc("-c", "a.c")
    assert passed.index("-idirafter") > passed.index("a.c")
    for headers in ("usr/include", "usr/include/aarch64-linux-gnu"):
        assert f"{tmp_path}/llvm/{headers}" in passed
    for libraries in ("usr/lib/aarch64-linux-gnu", "lib/aarch64-linux-gnu"):
        assert f"-L{tmp_path}/llvm/{libraries}" in passed


def test_zig_finds_libraries_of_the_toolbox_too(tmp_path: Path, targets: Targets) -> None:
    build = {**RECIPE["build"], "libraries": ["llvm"]}
    wrapped = Wrapped(
        tmp_path, validate(Recipe, {**RECIPE, "build": build}, origin="demo.toml"), targets, "neoverse-v1"
    )
    passed = wrapped.cc("-c", "a.c")
    assert passed.index("-idirafter") > passed.index("a.c")


@pytest.mark.parametrize(
    "asked",
    [
        ["-I/usr/include"],
        ["-I/usr/local/include/python3.11"],
        ["-I", "/usr/include/libxml2"],
        ["-isystem", "/usr/include/x86_64-linux-gnu"],
        ["-idirafter", "/usr/include"],
        ["-L/usr/lib"],
        ["-L", "/usr/lib64"],
        ["-L/lib/x86_64-linux-gnu"],
        ["-L/usr/local/lib"],
    ],
)
def test_search_folders_of_this_machine_are_dropped_and_written_down(
    zig: Wrapped, tmp_path: Path, asked: list[str]
) -> None:
    assert zig.cc("-Iown", *asked, "-I", "other", "-c", "a.c")[-5:] == ["-Iown", "-I", "other", "-c", "a.c"]
    assert read_dropped(tmp_path) == ("".join(asked),)


def test_search_folders_of_the_build_stay(zig: Wrapped, tmp_path: Path) -> None:
    """The state folder may be below ``/usr/local``; the wrapped compiler's home is the parent of ``tmp_path``."""
    own = [
        f"-I{tmp_path}/usr/include",
        "-isystem",
        f"{tmp_path}/include",
        "-L",
        f"{tmp_path}/usr/lib",
        "-Iusr/include",
    ]
    assert zig.cc(*own, "-c", "a.c")[-8:] == [*own, "-c", "a.c"]
    assert read_dropped(tmp_path) == ()


def test_the_library_folder_of_the_targets_python_is_not_reported(zig: Wrapped, tmp_path: Path) -> None:
    assert "-L/usr/lib/aarch64-linux-gnu" not in zig.cc("-shared", "a.o", "-L/usr/lib/aarch64-linux-gnu")
    assert read_dropped(tmp_path) == ()


def test_a_build_sees_no_other_program_of_this_machine(tmp_path: Path) -> None:
    folder = link_host_programs(tmp_path / "host")
    assert {path.name for path in folder.iterdir()} <= set(HOST_PROGRAMS)
    assert {"sh", "sed", "uname"} <= {path.name for path in folder.iterdir()}
    assert not any(name.endswith(("-config", "gcc", "cc")) for name in HOST_PROGRAMS)


def test_a_unit_outside_the_hot_paths_is_told_alike_for_every_target(
    tmp_path: Path, targets: Targets
) -> None:
    """Only so can one target's object serve another; ccache sees no more than these arguments and the text."""
    data = {
        **RECIPE,
        "build": {**RECIPE["build"], "compiler": "gcc", "glibc": "2.31", "hot_paths": ["hot/*"]},
    }
    recipe = validate(Recipe, data, origin="demo.toml")
    passed = {}
    for target in ("generic", "neoverse-n1", "neoverse-v1"):
        folder = tmp_path / target
        folder.mkdir()
        lines = Wrapped(folder, recipe, targets, target).cc("-O2", "-c", "cold/a.c")
        passed[target] = [line.replace(str(folder), "") for line in lines]
    assert passed["generic"] == passed["neoverse-n1"] == passed["neoverse-v1"]


def test_the_cache_knows_a_compiler_by_its_pins_and_no_folder(
    tmp_path: Path, recipe: Recipe, targets: Targets
) -> None:
    def variables(digest: str) -> dict[str, str]:
        toolbox = SimpleNamespace(
            home=tmp_path,
            pins=SimpleNamespace(digest=lambda _: digest),
            toolchains=SimpleNamespace(compilers={"zig": SimpleNamespace(tools=("zig",))}),
        )
        return cache_variables(build_for(recipe, targets), toolbox, tmp_path / "work/1")

    assert variables("a")["CCACHE_COMPILERCHECK"] != variables("b")["CCACHE_COMPILERCHECK"]
    assert str(tmp_path) not in variables("a")["CCACHE_COMPILERCHECK"]
    assert variables("a")["CCACHE_BASEDIR"] == str(tmp_path / "work/1")


def test_gcc_keeps_what_an_architecture_level_stands_for(gcc: Wrapped) -> None:
    [cpu] = [flag for flag in gcc.cc("-march=armv8.6-a+sve2", "-c", "a.c") if flag.startswith("-mcpu")]
    assert {"dotprod", "bf16", "i8mm", "sve2"} <= set(cpu.split("+"))


def test_a_library_is_compiled_for_the_baseline(tmp_path: Path, recipe: Recipe, targets: Targets) -> None:
    wrapped = Wrapped(tmp_path, recipe, targets, "neoverse-v1", tuned=False)
    assert "-mcpu=generic" in wrapped.cc("-c", "a.c")
    assert "-mcpu=generic+v8_2a+sve" in wrapped.cc("-march=armv8.2-a+sve", "-c", "a.c")


def test_zig_links_with_libgcc_and_never_compiles_helpers_of_its_own(zig: Wrapped) -> None:
    """Its helpers hold weak, slower copies of the C library's functions, and take half a minute for each CPU."""

    def libraries(arguments: list[str]) -> list[str]:
        wanted = ("-nodefaultlibs", "-lc", "-lc++")
        return [each for each in arguments if each in wanted or each.endswith("libgcc.a")]

    [*ours, libgcc] = libraries(zig.cxx("-shared", "a.o", "-o", "a.so"))
    assert ours == ["-nodefaultlibs", "-lc++", "-lc"]
    assert libgcc.endswith("libgcc.a")
    [*ours, libgcc] = libraries(zig.cc("a.c", "-o", "a", "-march=armv8.2-a+fp16"))
    assert ours == ["-nodefaultlibs", "-lc"]
    for other in (
        ["-c", "a.cpp", "-o", "a.o"],
        ["-E", "a.cpp", "-o", "a.i"],
        ["--version"],
        ["-r", "-nostdlib", "a.o", "-o", "b.o"],
    ):
        assert libraries(zig.cxx(*other)) == []


def test_gcc_links_with_its_own_helpers_before_the_sysroots(gcc: Wrapped, tmp_path: Path) -> None:
    helpers = str(tmp_path / "gnu/usr/lib/gcc-cross/aarch64-linux-gnu/12/libgcc.a")
    linked = gcc.cxx("-shared", "a.o", "-o", "a.so")
    assert linked.index("a.o") < linked.index(helpers)
    assert helpers not in gcc.cxx("-c", "a.cpp", "-o", "a.o")


def test_ninja_waits_for_its_turn_to_compile_and_for_nothing_else(
    tmp_path: Path, recipe: Recipe, targets: Targets
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "build/CMakeFiles/trial").mkdir(parents=True)
    ninja = tmp_path / "ninja"
    # One that is told to, calls itself by the wrapper, as CMake does when it writes the build files anew.
    ninja.write_text('#!/bin/sh\n[ "$1" = again ] && exec "$2" all\necho ninja "$@"\n')
    ninja.chmod(0o755)
    build = build_for(recipe, targets)
    write_ninja_in_turn(build, SimpleNamespace(home=tmp_path), tmp_path / "build", ninja)

    def start(*arguments: str, folder: str = "build") -> subprocess.Popen[str]:
        command = [str(tmp_path / "build/ninja"), *arguments]
        return subprocess.Popen(command, cwd=tmp_path / folder, stdout=subprocess.PIPE, text=True)

    with FileLock(tmp_path / f"work/demo-1.0-{build.python}.turn"):
        trial = "build/CMakeFiles/trial"
        for options, folder in (("--version", "build"), ("-C . -t restat", "build"), ("all", trial)):
            assert start(*options.split(), folder=folder).communicate(timeout=20)[0] == f"ninja {options}\n"
        waiting = start("all")
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=0.5)
    assert waiting.communicate(timeout=20)[0] == "ninja all -k 20\n"
    nested = start("again", str(tmp_path / "build/ninja"))
    assert nested.communicate(timeout=20)[0] == "ninja all\n"


@pytest.fixture
def fortran(tmp_path: Path, targets: Targets) -> Wrapped:
    build = {**RECIPE["build"], "compiler": "gcc-14", "glibc": "2.31", "fortran": True}
    return Wrapped(
        tmp_path, validate(Recipe, {**RECIPE, "build": build}, origin="demo.toml"), targets, "neoverse-v1"
    )


@pytest.mark.parametrize("name", ["a.f", "a.F", "a.f90", "a.F90", "a.f03", "a.for", "a.FPP"])
def test_a_unit_in_fortran_is_compiled_for_the_target(fortran: Wrapped, name: str) -> None:
    assert "-mcpu=neoverse-v1" in fortran.fc("-O2", "-c", name, "-o", "a.o")


def test_the_fortran_compiler_takes_linker_and_library_from_their_parts(
    fortran: Wrapped, tmp_path: Path
) -> None:
    passed = fortran.fc("-shared", "a.o", "-o", "a.so")
    assert f"-B{tmp_path}/gnu-14/usr/aarch64-linux-gnu/bin/" in passed
    assert f"-L{tmp_path}/libgfortran/usr/lib/gcc/aarch64-linux-gnu/10" in passed
    assert str(tmp_path / "gnu-14/usr/lib/gcc-cross/aarch64-linux-gnu/14/libgcc.a") in passed
    assert "-nostdinc++" not in passed
    assert "-mcpu=generic" in passed


def test_a_unit_in_fortran_is_named_without_a_build_folder_and_recorded(
    fortran: Wrapped, tmp_path: Path
) -> None:
    (tmp_path / "build").mkdir()
    passed = fortran.fc("-O2", "-c", f"{tmp_path}/src/a.f90", "-o", "a.o", folder=tmp_path / "build")
    assert passed[-5:-1] == ["-O2", "-c", "../src/a.f90", "-o"]
    assert "-frecord-gcc-switches" not in passed
    [record] = [argument.removeprefix("-Wa,") for argument in passed if argument.startswith("-Wa,")]
    assert not Path(record).exists()  # the assembler has read it
