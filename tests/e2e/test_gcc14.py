"""The newer GCC: what it links asks for no newer library than before, and runs; Fortran too."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.compile.compilers.base import Commands
from builder.compile.wrappers import write_wrappers
from builder.cpus import load_targets
from builder.ingredients import gather_ingredients
from builder.model.recipe import Recipe
from builder.settings import validate
from builder.toolbox.toolbox import Toolbox
from tests.helpers.builds import RECIPE, build_for
from tests.helpers.elf_versions import required_versions

pytestmark = [pytest.mark.slow]

EXTENSION = r"""
#include <Python.h>
#include <atomic>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

static std::atomic<long> calls;

static double total(std::span<const double> values) {
    if (values.empty()) throw std::invalid_argument("no values");
    double sum = 0;
    for (double value : values) sum += value * value;
    return sum;
}

static PyObject *squares(PyObject *, PyObject *list) {
    try {
        std::vector<double> values;
        for (Py_ssize_t i = 0; i < PyList_Size(list); i++)
            values.push_back(PyFloat_AsDouble(PyList_GetItem(list, i)));
        return Py_BuildValue("dl", total(values), ++calls);
    } catch (const std::invalid_argument &error) {
        PyErr_SetString(PyExc_ValueError, error.what());
        return nullptr;
    }
}

static PyMethodDef methods[] = {{"squares", squares, METH_O, nullptr}, {nullptr, nullptr, 0, nullptr}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "demo", nullptr, -1, methods};
PyMODINIT_FUNC PyInit_demo(void) { return PyModule_Create(&module); }
"""
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import demo
print(demo.squares([3.0, 4.0]))
try:
    demo.squares([])
except ValueError as error:
    print(error)
"""
PROGRAM = """
program demo
  use, intrinsic :: ieee_arithmetic
  implicit none
  real(8) :: values(400), square(20, 20)
  integer :: i
  values = [(sqrt(real(i, 8)), i = 1, 400)]
  square = reshape(values, [20, 20])
  print '(F0.3, 1X, F0.3, 1X, I0, 1X, L1)', sum(matmul(square, square)), norm2(values), findloc(values, 2d0), &
    ieee_is_nan(values(1))
end program
"""


def _commands(folder: Path, toolbox: Toolbox, compiler: str, **settings: object) -> Commands:
    data = {**RECIPE, "build": {**RECIPE["build"], "compiler": compiler, "glibc": "2.31", **settings}}
    (folder / "bin").mkdir(parents=True)
    build = build_for(validate(Recipe, data, origin="demo.toml"), load_targets(), "neoverse-v1")
    return write_wrappers(build, toolbox, folder / "bin")


def _run(*command: object, folder: Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_knows_every_target_and_the_newest_cpus(toolbox: Toolbox, tmp_path: Path) -> None:
    compiler = toolbox.ensure("gnu-14") / "usr/bin/aarch64-linux-gnu-gcc-14"
    facts = gather_ingredients({}, toolbox.toolchains, toolbox.pins).compilers["gcc-14"]
    flags = {flag for target in load_targets().values() for flag in facts.flags(target)}
    newest = ("neoverse-n3", "neoverse-v3ae", "grace", "ampere1a", "ampere1b")
    for flag in sorted(flags | {f"-mcpu={name}" for name in newest}):
        _run(compiler, flag, "-fsyntax-only", "-x", "c", "/dev/null", folder=tmp_path)


def test_an_extension_has_the_tags_of_the_older_compiler_and_runs(toolbox: Toolbox, tmp_path: Path) -> None:
    include = toolbox.python_headers("cp311") / "usr/include/python3.11"
    options = ("-std=c++20", "-O3", "-fPIC", "-shared", f"-I{include}", "demo.cpp", "-o", "demo.so")
    versions = {}
    for compiler in ("gcc", "gcc-14"):
        folder = tmp_path / compiler
        commands = _commands(folder, toolbox, compiler)
        (folder / "demo.cpp").write_text(EXTENSION)
        _run(commands.cxx, *options, folder=folder)
        versions[compiler] = set(required_versions(folder / "demo.so").values())
    # What auditwheel goes by. The newest of each: glibc 2.17, and libstdc++ of GCC 5.1.
    assert versions["gcc-14"] == versions["gcc"]
    newest = {"GCC_3.0", "GLIBC_2.17", "GLIBCXX_3.4", "GLIBCXX_3.4.21", "CXXABI_1.3", "CXXABI_1.3.9"}
    assert versions["gcc-14"] == newest
    python = toolbox.userland("cp311")
    emulator = (toolbox.qemu(), "-cpu", "neoverse-v1", "-L", python, python / "usr/bin/python3.11")
    printed = _run(*emulator, "-c", SCRIPT, tmp_path / "gcc-14", folder=tmp_path)
    assert printed == "(25.0, 1)\nno values\n"


def test_a_program_in_fortran_runs_with_the_sysroots_libgfortran(toolbox: Toolbox, tmp_path: Path) -> None:
    commands = _commands(tmp_path, toolbox, "gcc-14", fortran=True)
    (tmp_path / "demo.f90").write_text(PROGRAM)
    _run(commands.fc, "-O3", "-c", "demo.f90", "-o", "demo.o", folder=tmp_path)
    _run(commands.fc, "demo.o", "-o", "demo", folder=tmp_path)
    versions = set(required_versions(tmp_path / "demo").values())
    assert versions == {"GLIBC_2.17", "GFORTRAN_8", "GFORTRAN_9"}
    sysroot = toolbox.ensure("sysroot-bullseye")
    libraries = f"LD_LIBRARY_PATH={sysroot}/usr/lib/aarch64-linux-gnu"
    emulator = (toolbox.qemu(), "-cpu", "neoverse-v1", "-L", sysroot, "-E", libraries)
    total, norm, place, nan = _run(*emulator, tmp_path / "demo", folder=tmp_path).split()
    assert (total, norm, place, nan) == ("1437539.975", "283.196", "4", "F")
