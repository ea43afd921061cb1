"""The wrappers write their commands down, and the units of a build are read from that."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from builder.compile.compilers import compiler_named
from builder.compile.record import build_record
from builder.compile.units import (
    collect_units,
    commands_folder,
    delete_commands,
    read_record,
    words,
    write_record,
)
from builder.model.recipe import Recipe
from builder.model.units import Unit, UnitRecord
from builder.settings import validate
from builder.targets import Targets
from builder.toolbox.tools import load_toolchains
from tests.helpers.builds import RECIPE, build_for
from tests.helpers.wrapped import Wrapped


class Work:
    """A work folder with wrappers, whose objects are made by hand: the compiler only prints."""

    def __init__(self, folder: Path, targets: Targets, compiler: str, **settings: object) -> None:
        self.folder = folder
        self.compiler = compiler
        self.wrapped = Wrapped(folder, _recipe(compiler, **settings), targets, "neoverse-v1")
        for name in ("src/pkg", "build"):
            (folder / name).mkdir(parents=True)

    def cc(self, *arguments: str, made: str | None = None, at: str = "src") -> None:
        self.wrapped.cc(*arguments, folder=self.folder / at)
        if made:
            path = self.folder / at / made
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def units(self) -> dict[str, tuple[str, bool]]:
        optimisation = compiler_named(self.compiler, load_toolchains().compilers).optimisation
        found = collect_units(optimisation, self.folder, self.folder / "src")
        assert len(found) == len({unit.unit for unit in found})
        return {unit.unit: (unit.level, unit.ndebug) for unit in found}


def _recipe(compiler: str, **settings: object) -> Recipe:
    data = {**RECIPE, "build": {**RECIPE["build"], "compiler": compiler, "glibc": "2.31", **settings}}
    return validate(Recipe, data, origin="demo.toml")


@pytest.fixture
def gcc(tmp_path: Path, targets: Targets) -> Work:
    return Work(tmp_path, targets, "gcc")


@pytest.fixture
def zig(tmp_path: Path, targets: Targets) -> Work:
    return Work(tmp_path, targets, "zig")


def test_a_unit_has_its_name_its_level_and_ndebug(gcc: Work) -> None:
    gcc.cc("-DNDEBUG", "-O2", "-O3", "-c", "pkg/a.c", "-o", "pkg/a.o", made="pkg/a.o")
    gcc.cc("-c", "pkg/b.c", "-o", "pkg/b.o", made="pkg/b.o")
    gcc.cc("-O2", "-c", "../build/made.c", made="made.o")
    assert gcc.units() == {
        "pkg/a.c": ("-O3", True),
        "pkg/b.c": ("", False),
        "build/made.c": ("-O2", False),
    }


def test_zig_is_recorded_as_it_calls_clang(zig: Work) -> None:
    zig.cc("-O3", "-c", "a.c", made="a.o")
    zig.cc("-O3", "-UNDEBUG", "-c", "b.c", made="b.o")
    zig.cc("-Og", "-c", "c.c", made="c.o")
    zig.cc("-O2", "-Xclang", "-O3", "-c", "d.c", made="d.o")
    assert zig.units() == {
        "a.c": ("-O2", True),
        "b.c": ("-O2", False),
        "c.c": ("-O0", False),
        "d.c": ("-O3", True),
    }


def test_flags_of_hot_units_count(tmp_path: Path, targets: Targets) -> None:
    work = Work(tmp_path, targets, "gcc", hot_paths=["*hot*"], hot_flags=["-O3"])
    work.cc("-O2", "-c", "hot.c", made="hot.o")
    work.cc("-O2", "-c", "cold.c", made="cold.o")
    assert work.units() == {"hot.c": ("-O3", False), "cold.c": ("-O2", False)}


def test_a_response_file_is_read_when_the_compiler_is_called(gcc: Work) -> None:
    response = gcc.folder / "src/flags.rsp"
    response.write_text('-O2 "-DNDEBUG" -I "a b"\n-c pkg/a.c')
    gcc.cc("@flags.rsp", "-o", "a.o", made="a.o")
    response.write_text("-O0")
    assert gcc.units() == {"pkg/a.c": ("-O2", True)}


def test_odd_arguments_survive(gcc: Work) -> None:
    gcc.cc('-DTEXT="a  b\n"', "", "-DSTAR=*", "-I", "x y", "-O2", "-c", "a b.c", "-o", "a b.o", made="a b.o")
    assert gcc.units() == {"a b.c": ("-O2", False)}


def test_a_response_file_is_divided_as_gcc_divides_it() -> None:
    text = '-O2 \'-D A="x"\'\t"it\'s"\n-I\\ y  "a\\"b" \'open'
    assert words(text) == ["-O2", '-D A="x"', "it's", "-I y", 'a"b', "open"]


def test_trials_are_no_units(gcc: Work) -> None:
    kept = "CMakeFiles/demo.dir/a.c.o"
    gcc.cc("-O2", "-c", "../src/a.c", "-o", kept, made=kept, at="build")
    gcc.cc("-c", "conftest.c")  # deleted, as autoconf does it
    for trial in (
        "CMakeFiles/3.25.1/CompilerIdC/x.o",
        "CMakeFiles/CMakeScratch/TryCompile-x/CMakeFiles/cmTC_x.dir/x.c.o",
        "CMakeFiles/_CMakeLTOTest-C/bin/CMakeFiles/foo.dir/foo.c.o",
        "meson-private/sanity.o",
    ):
        gcc.cc("-c", "x.c", "-o", trial, made=trial, at="build")
    gcc.cc("sanitycheck.c", "-o", "sanitycheck.exe", made="sanitycheck.exe", at="build")
    gcc.cc("-E", "-c", "e.c", made="e.o")
    gcc.cc("-c", "warm.c", made="warm.o", at=".")
    assert gcc.units() == {"a.c": ("-O2", False)}


def test_a_library_made_by_one_command_has_units(gcc: Work) -> None:
    gcc.cc("-shared", "-O2", "a.c", "b.c", "-o", "m.so", made="m.so")
    assert gcc.units() == {"a.c": ("-O2", False), "b.c": ("-O2", False)}


def test_an_object_counts_with_its_weakest_command(gcc: Work) -> None:
    gcc.cc("-O2", "-c", "a.c", made="a.o")
    gcc.cc("-c", "a.c", made="a.o")
    gcc.cc("-O3", "-c", "a.c", made="a.o")
    assert gcc.units() == {"a.c": ("", False)}


def test_the_next_run_finds_what_a_killed_one_compiled(gcc: Work, targets: Targets) -> None:
    gcc.cc("-O2", "-c", "a.c", made="a.o")
    [recorded] = commands_folder(gcc.folder).iterdir()
    # The process number came again, to a process that was killed while it wrote.
    whole = recorded.read_bytes()
    recorded.write_bytes(whole + whole[: len(whole) // 2] + whole.replace(b"a.c", b"b.c"))
    (gcc.folder / "src/b.o").touch()
    assert gcc.units() == {"a.c": ("-O2", False), "b.c": ("-O2", False)}


def test_the_folder_is_the_physical_one(gcc: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bazel sets PWD so that no folder gets into an object."""
    monkeypatch.setenv("PWD", "/proc/self/cwd")
    gcc.cc("-O2", "-c", "pkg/a.c", made="a.o")
    assert gcc.units() == {"pkg/a.c": ("-O2", False)}


def test_parallel_compiles_do_not_mix(gcc: Work) -> None:
    many = [f"-DNAME_{n}_{'x' * 200}" for n in range(100)]  # beyond PIPE_BUF
    running = [
        subprocess.Popen(
            [gcc.wrapped.commands.cc, *many, f"-O{n % 3}", "-c", f"{n}.c"],
            cwd=gcc.folder / "src",
            stdout=subprocess.DEVNULL,
        )
        for n in range(20)
    ]
    for n, process in enumerate(running):
        assert process.wait() == 0
        (gcc.folder / f"src/{n}.o").touch()
    assert gcc.units() == {f"{n}.c": (f"-O{n % 3}" if n % 3 != 1 else "-O1", False) for n in range(20)}


def test_a_compile_that_cannot_be_recorded_fails(gcc: Work) -> None:
    delete_commands(gcc.folder)
    with pytest.raises(subprocess.CalledProcessError):
        gcc.cc("-O2", "-c", "a.c")


def test_a_mere_link_is_not_recorded(gcc: Work) -> None:
    gcc.cc("-shared", "a.o", "-o", "m.so")
    gcc.cc("--version")
    assert list(commands_folder(gcc.folder).iterdir()) == []


def test_a_record_survives_json(tmp_path: Path) -> None:
    record = UnitRecord(units=(Unit(unit="a.c", level="-O2", ndebug=True),), gaps="some")
    assert read_record(tmp_path) is None
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record
    assert json.loads((tmp_path / "units.json").read_text())["units"][0]["unit"] == "a.c"


def test_a_build_on_bazel_says_what_it_may_lack(gcc: Work, targets: Targets) -> None:
    gcc.cc("-O2", "-c", "a.c", made="a.o")
    toolbox = SimpleNamespace(home=gcc.folder, toolchains=load_toolchains())
    build = build_for(_recipe("gcc"), targets)
    assert not build_record(build, toolbox, gcc.folder).gaps
    settings = build.recipe.build.model_copy(update={"frontend": "bazel"})
    recipe = build.recipe.model_copy(update={"build": settings})
    record = build_record(build.model_copy(update={"recipe": recipe}), toolbox, gcc.folder)
    assert [unit.unit for unit in record.units] == ["a.c"]
    assert "Bazel" in record.gaps


def test_a_unit_in_fortran_has_its_level_and_no_assertions(tmp_path: Path, targets: Targets) -> None:
    work = Work(tmp_path, targets, "gcc-14", fortran=True)
    work.wrapped.fc("-O2", "-c", "pkg/a.f90", "-o", "pkg/a.o", folder=tmp_path / "src")
    work.wrapped.fc("-c", "pkg/b.F", "-o", "pkg/b.o", folder=tmp_path / "src")
    for name in ("a", "b"):
        (tmp_path / f"src/pkg/{name}.o").touch()
    assert work.units() == {"pkg/a.f90": ("-O2", True), "pkg/b.F": ("", True)}
