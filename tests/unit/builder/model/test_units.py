"""Command lines of GCC, clang and zig cc: the level, NDEBUG and the units, in every spelling."""

from __future__ import annotations

import pytest

from builder.compile.compilers import compiler_named
from builder.model.units import is_optimised, level_of, read_command_line
from builder.toolbox.tools import load_toolchains


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        ("-c a.c", ""),
        ("-O -c a.c", "-O"),
        ("--optimize -c a.c", "-O"),
        ("-O2", "-O2"),
        ("--optimize=2", "-O2"),
        ("-Os", "-Os"),
        ("-Oz", "-Oz"),
        ("-Og", "-Og"),
        ("-Ofast", "-Ofast"),
        ("-O9", "-O3"),
        ("-O3 -O0", "-O0"),
        ("-O0 -O3", "-O3"),
        ("-O2 -o -O0", "-O2"),
        ("-O2 -Wl,-O0 -Xlinker -O0 -I -O0 -objc", "-O2"),
        ("-O2 -Oops", "-O2"),
    ],
)
def test_the_last_level_wins(arguments: str, level: str) -> None:
    assert level_of(arguments.split()) == level


@pytest.mark.parametrize("level", ["", "-O0"])
def test_no_level_is_the_same_as_none(level: str) -> None:
    assert not is_optimised(level)


@pytest.mark.parametrize("level", ["-O1", "-O2", "-O3", "-Os", "-Oz", "-Og", "-Ofast"])
def test_any_other_level_optimises(level: str) -> None:
    assert is_optimised(level)


@pytest.mark.parametrize(
    ("arguments", "defined"),
    [
        ("-O2", None),
        ("-DNDEBUG", True),
        ("-D NDEBUG", True),
        ("-DNDEBUG=1", True),
        ("--define-macro=NDEBUG", True),
        ("--define-macro NDEBUG", True),
        ("-Wp,-D_FORTIFY_SOURCE=2,-DNDEBUG", True),
        ("-Xpreprocessor -DNDEBUG", True),
        ("-DNDEBUG -UNDEBUG", False),
        ("-DNDEBUG -U NDEBUG", False),
        ("-DNDEBUG --undefine-macro=NDEBUG", False),
        ("-UNDEBUG -DNDEBUG", True),
        ("-DNDEBUGGING -DX=NDEBUG -I NDEBUG -include -DNDEBUG", None),
    ],
)
def test_the_last_definition_wins(arguments: str, defined: bool | None) -> None:
    assert read_command_line(arguments.split()).ndebug is defined


@pytest.mark.parametrize(
    ("arguments", "sources"),
    [
        ("-c a.c -o a.o", ("a.c",)),
        ("-c x/a.cpp y/b.cc", ("x/a.cpp", "y/b.cc")),
        ("-c a.S b.s", ()),
        ("-x c -c a.inc", ("a.inc",)),
        ("-x assembler-with-cpp -c a.c", ()),
        ("-xc++ -c a.c", ("a.c",)),
        ("-include b.c -I c.c -MF d.c -c a.c", ("a.c",)),
        ("-shared a.o libb.a -lc", ()),
    ],
)
def test_units_are_told_from_other_arguments(arguments: str, sources: tuple[str, ...]) -> None:
    assert read_command_line(arguments.split()).sources == sources


@pytest.mark.parametrize("option", ["-E", "-S", "-M", "-MM", "-fsyntax-only"])
def test_a_command_that_makes_no_object_makes_none(option: str) -> None:
    assert read_command_line(["-c", "a.c"]).makes_objects
    assert not read_command_line(["-c", option, "a.c"]).makes_objects


@pytest.mark.parametrize(
    ("level", "taken", "defines"),
    [
        # As `zig cc LEVEL -c a.c -###` of release 0.17.1 shows.
        ("", "-O0", False),
        ("-O0", "-O0", False),
        ("-Og", "-O0", False),
        ("-O", "-O1", False),
        ("-O1", "-O2", True),
        ("-O2", "-O2", True),
        ("-O3", "-O2", True),
        ("-Ofast", "-O2", True),
        ("-Os", "-Os", True),
        ("-Oz", "-Os", True),
    ],
)
def test_zig_has_four_modes_only(level: str, taken: str, defines: bool) -> None:
    assert compiler_named("zig", load_toolchains().compilers).optimisation(level) == (taken, defines)


def test_gcc_takes_what_it_is_given() -> None:
    gcc = compiler_named("gcc", load_toolchains().compilers)
    assert gcc.optimisation("-Ofast") == ("-Ofast", False)
    assert gcc.optimisation("-O") == ("-O1", False)
    assert gcc.optimisation("") == ("", False)


def test_what_clangs_front_end_is_given_is_kept_apart() -> None:
    line = read_command_line(["-O0", "-Xclang", "-O3", "-c", "a.c"])
    assert (line.level, line.front_end_level) == ("-O0", "-O3")
