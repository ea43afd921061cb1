"""A small package of several C units, its recipe and its matrix: a compile that lasts long enough to be killed."""

from __future__ import annotations

import shutil
from pathlib import Path

from builder.settings import ROOT

UNITS = 8
TARGETS = ("generic", "neoverse-n1", "neoverse-v1", "neoverse-n2", "ampere1", "a64fx")
PROJECT = "units-demo"

_RECIPE = f"""
name = "{PROJECT}"
about = "several C units"
build_number = 1

[versions."1.0"]
epoch = 1764028800
source = {{ kind = "folder", path = "source" }}

[build]
frontend = "setuptools"
compiler = "gcc-14"
glibc = "2.31"
requires = ["build", "setuptools>=78.1.1", "wheel"]
cflags = ["-O3"]

[backends.none]
default = true

[audit]
max_size_bytes = 5_000_000

[verify]
script = "units_demo_wheel.py"
timeout_minutes = 5
"""

_MATRICES = f"""
[six]
description = "six small wheels"

[[six.cells]]
recipe = "{PROJECT}"
versions = ["1.0"]
pythons = ["cp311"]
targets = [{", ".join(f'"{target}"' for target in TARGETS)}]
backends = ["none"]
required = true
"""

_PROJECT = f"""
[build-system]
requires = ["setuptools>=78.1.1"]
build-backend = "setuptools.build_meta"

[project]
name = "{PROJECT}"
version = "1.0"
license = "MIT"
license-files = ["LICENSE"]
"""

_SETUP = f"""
from setuptools import Extension, setup

setup(ext_modules=[Extension("units_demo", ["main.c", *(f"unit{{n}}.c" for n in range({UNITS}))])], py_modules=[])
"""

_MAIN = """
#include <Python.h>

DECLARED

static PyObject *total(PyObject *self, PyObject *arg) {
    long n = PyLong_AsLong(arg);
    int data[64], sum = 0;
    for (int i = 0; i < 64; i++) data[i] = i;
    CALLED
    return PyLong_FromLong(sum);
}

static PyMethodDef methods[] = {{"total", total, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "units_demo", NULL, -1, methods};
PyMODINIT_FUNC PyInit_units_demo(void) { return PyModule_Create(&module); }
"""

_TEST = f"""
from kit import report


def check_total():
    import units_demo

    found = units_demo.total(64)
    return found == {UNITS} * sum(range(64)), str(found)


if __name__ == "__main__":
    report({{"total": check_total}})
"""


def write_recipe(folder: Path, *, functions: int = 120) -> Path:
    """Write recipe, source, test and matrix into ``folder``, for ``ARMWHEELS_RECIPES``; returns it."""
    source = folder / "source"
    source.mkdir(parents=True)
    (folder / "locks").mkdir()
    (folder / f"{PROJECT}.toml").write_text(_RECIPE)
    (folder / "matrices.toml").write_text(_MATRICES)
    (folder / "units_demo_wheel.py").write_text(_TEST)
    shutil.copyfile(
        ROOT / "configs/locks/msgpack-build-cp311.txt", folder / f"locks/{PROJECT}-build-cp311.txt"
    )
    (source / "pyproject.toml").write_text(_PROJECT)
    (source / "setup.py").write_text(_SETUP)
    (source / "LICENSE").write_text("MIT\n")
    declared = "".join(f"int unit{n}(const int *a, int n);\n" for n in range(UNITS))
    called = "".join(f"sum += unit{n}(data, n);\n" for n in range(UNITS))
    (source / "main.c").write_text(_MAIN.replace("DECLARED", declared).replace("CALLED", called))
    for n in range(UNITS):
        (source / f"unit{n}.c").write_text(_unit(n, functions))
    return folder


def _unit(number: int, functions: int) -> str:
    """A unit whose many vector loops take the compiler about a second."""
    loops = "".join(
        f"int work{number}_{one}(const int *a, int n) {{ int s = {one}; for (int i = 0; i < n; i++) "
        f"s += (a[i] * {one + 3}) ^ (i >> {one % 7}); return s; }}\n"
        for one in range(functions)
    )
    return (
        f"{loops}int unit{number}(const int *a, int n) "
        "{ int s = 0; for (int i = 0; i < n; i++) s += a[i]; return s; }\n"
    )
