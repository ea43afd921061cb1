"""The lines of a failed build that name the cause, on the outputs of real tools."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.compile.telling import telling_lines

NOISE = "\n".join(f"[{number}/90] cc -Werror -c unit{number}.c" for number in range(40))
GCC = """\
a.c:3:5: error: unknown type name 'flaot'
    3 |     flaot x;
      |     ^~~~~"""
BACKEND = """\
Traceback (most recent call last):
  File "/env/lib/python3.11/site-packages/pyproject_hooks/_in_process.py", line 389, in <module>
    main()
  File "/env/lib/python3.11/site-packages/mesonpy/__init__.py", line 985, in build_wheel
    raise ConfigError(f'unknown option {name}')
mesonpy.ConfigError: unknown option 'setup-arg'"""
GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "a.py", line 1, in <module>
  | ExceptionGroup: two faults (2 sub-exceptions)"""
CMAKE = """\
CMake Error at cmake/Dependencies.cmake:12 (find_package):
  By not providing "FindAbsl.cmake" in CMAKE_MODULE_PATH this project has
  asked CMake to find a package configuration file provided by "absl".

  Could not find a package configuration file provided by "absl".

Call Stack (most recent call first):
  CMakeLists.txt:3 (include)


-- Configuring incomplete, errors occurred!"""
MESON = '../meson.build:41:10: ERROR: Dependency "openblas" not found, tried pkgconfig and cmake'
RUST = """\
error[E0433]: failed to resolve: use of undeclared crate `simd`
 --> src/lib.rs:4:5"""
FORTRAN = """\
solve.f90:10:5:

   10 |   call dgesvv(n)
      |     1
Error: Symbol 'dgesvv' at (1) has no implicit type"""


@pytest.mark.parametrize(
    ("output", "first", "there"),
    [
        (GCC, "a.c:3:5: error: unknown type name 'flaot'", "    3 |     flaot x;"),
        (BACKEND, "mesonpy.ConfigError: unknown option 'setup-arg'", ""),
        (CMAKE, "CMake Error at cmake/Dependencies.cmake:12 (find_package):", "  Could not find a package"),
        (MESON, MESON, ""),
        (RUST, "error[E0433]: failed to resolve: use of undeclared crate `simd`", " --> src/lib.rs:4:5"),
        (FORTRAN, "Error: Symbol 'dgesvv' at (1) has no implicit type", ""),
    ],
)
def test_the_cause_comes_first(output: str, first: str, there: str) -> None:
    told = telling_lines(f"{NOISE}\n{output}\n{NOISE}")
    assert told.splitlines()[0] == first
    assert there in told
    assert "Call Stack" not in told


def test_what_only_reports_the_first_causes_is_left_out() -> None:
    later = "\n".join(f"error: command {number} failed\n\n" for number in range(9))
    told = telling_lines(f"{GCC}\n\n{BACKEND}\n\n{later}").splitlines()
    assert told[0].startswith("a.c:3:5: error:")
    assert "mesonpy.ConfigError: unknown option 'setup-arg'" in told
    assert told[-1] == "error: command 0 failed"


def test_a_group_of_exceptions_is_told() -> None:
    assert telling_lines(f"{NOISE}\n{GROUP}")


def test_without_an_error_the_last_lines_tell() -> None:
    assert telling_lines("\n".join(map(str, range(100)))).splitlines() == [str(n) for n in range(88, 100)]


@given(st.lists(st.sampled_from([*GCC.splitlines(), *BACKEND.splitlines(), *CMAKE.splitlines(), "", "x"])))
def test_any_output_gives_few_lines_of_it(lines: list[str]) -> None:
    told = telling_lines("\n".join(lines)).splitlines()
    assert len(told) <= 12
    assert set(told) <= set(lines)
