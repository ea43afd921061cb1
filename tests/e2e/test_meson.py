"""A small meson-python package with an option of its own: cross-compiled, repaired, audited and run."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PurePath

import pytest

from builder.audit import open_wheel
from builder.cpus import load_targets
from builder.emulation.environment import EmulatedPython
from builder.ingredients import gather_ingredients
from builder.load import load_recipes
from builder.model.build import Build
from builder.plan import make_build
from builder.toolbox.toolbox import Toolbox
from builder.workshop import Workshop
from tests.helpers.places import Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FILES = {
    "pyproject.toml": """
[build-system]
requires = ["meson-python"]
build-backend = "mesonpy"
[project]
name = "meson-demo"
version = "1.0"
""",
    "meson.options": "option('scale', type: 'integer', value: 1, description: 'what sums are multiplied by')\n",
    "meson.build": """
project('meson-demo', 'c', version: '1.0', default_options: ['buildtype=release'])
py = import('python').find_installation(pure: false)
py.extension_module('meson_demo', 'meson_demo.c', install: true,
  c_args: ['-DSCALE=' + get_option('scale').to_string()])
""",
    "meson_demo.c": """
#include <Python.h>

/* The square of each byte, summed: a loop that GNU C turns into SVE. */
static PyObject *squares(PyObject *self, PyObject *data) {
    const unsigned char *bytes;
    Py_ssize_t length, sum = 0;
    if (PyBytes_AsStringAndSize(data, (char **)&bytes, &length)) return NULL;
    for (Py_ssize_t i = 0; i < length; i++) sum += bytes[i] * bytes[i];
    return PyLong_FromSsize_t(SCALE * sum);
}

static PyMethodDef methods[] = {{"squares", squares, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "meson_demo", NULL, -1, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_meson_demo(void) { return PyModule_Create(&module); }
""",
}

RECIPE = """
name = "meson-demo"
about = "a small package"
build_number = 1
[versions."1.0"]
epoch = 1700000000
source = {{ kind = "folder", path = "{folder}" }}
[build]
frontend = "meson-python"
compiler = "gcc"
glibc = "2.31"
requires = ["build", "meson-python", "ninja"]
hot_paths = ["*meson_demo*"]
hot_flags = ["-O3"]
options = ["-Dscale=3"]
[backends.none]
default = true
[promises]
neoverse-v1 = ["sve"]
[verify]
script = "msgpack_wheel.py"
"""


def _silent(what: str, done: int, total: int) -> None:
    return None


FORTRAN = {
    **FILES,
    "meson.build": FILES["meson.build"]
    .replace("'c',", "'c', 'fortran',")
    .replace("'meson_demo.c',", "'meson_demo.c', 'norms.f90',"),
    "norms.f90": """
real(8) function norm(values, n) bind(c, name='norm')
  use, intrinsic :: iso_c_binding
  integer(c_int), value :: n
  real(8), intent(in) :: values(n, n)
  norm = norm2(matmul(values, values))
end function
""",
    "meson_demo.c": """
#include <Python.h>

double norm(const double *values, int n);

/* The norm of the square of an n-by-n matrix of ones: n squared. */
static PyObject *ones(PyObject *self, PyObject *n) {
    double values[400];
    long size = PyLong_AsLong(n);
    for (int i = 0; i < 400; i++) values[i] = 1;
    return PyFloat_FromDouble(SCALE * norm(values, size < 20 ? (int)size : 20));
}

static PyMethodDef methods[] = {{"ones", ones, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "meson_demo", NULL, -1, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_meson_demo(void) { return PyModule_Create(&module); }
""",
}

Prepare = Callable[[Mapping[str, str], str], tuple[Workshop, Build]]


@pytest.fixture
def prepare(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Prepares a build of the package of some files, by a recipe."""
    return partial(_prepare, place, tmp_path, monkeypatch)


def _prepare(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Mapping[str, str], recipe: str
) -> tuple[Workshop, Build]:
    folder = tmp_path / "meson-demo"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text.lstrip(), encoding="utf-8")
    (place.configs / "recipes/meson-demo.toml").write_text(recipe.format(folder=folder), encoding="utf-8")
    locks = place.configs / "locks"
    shutil.copyfile(locks / "numpy-build-cp311.txt", locks / "meson-demo-build-cp311.txt")
    monkeypatch.setenv("ARMWHEELS_CONFIGS", str(place.configs))
    monkeypatch.setenv("ARMWHEELS_HOME", str(place.home))
    workshop = Workshop(Toolbox(home=place.home), load_targets())
    recipes = load_recipes()
    build = make_build(
        recipes["meson-demo"],
        version="1.0",
        python="cp311",
        target="neoverse-v1",
        backend="none",
        required=True,
        targets=workshop.targets,
        ingredients=gather_ingredients(recipes, workshop.toolbox.toolchains, workshop.toolbox.pins),
    )
    return workshop, build


def _printed(workshop: Workshop, wheel: Path, code: str, folder: Path) -> str:
    """What a program prints where the wheel is installed, under emulation."""
    emulated = EmulatedPython(workshop.toolbox, "cp311", "neoverse-v1")
    environment = emulated.create_environment(folder)
    done = emulated.run(
        ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)], environment=environment
    )
    assert done.returncode == 0, done.stderr
    done = emulated.run(["-c", code], environment=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_options_reach_meson_and_the_wheel_runs(prepare: Prepare, tmp_path: Path) -> None:
    workshop, build = prepare(FILES, RECIPE)
    built = workshop.build(build, _silent)
    assert built.audit.passed, built.audit
    assert built.audit.verdict("optimisation").detail == "1 unit: 1 -O3; NDEBUG in all"
    passport = open_wheel(built.path).passport
    assert passport is not None
    assert passport["target"] == "neoverse-v1"
    code = "import meson_demo as m; print(m.squares(bytes(range(256))))"
    printed = _printed(workshop, built.path, code, tmp_path / "env")
    assert printed == str(3 * sum(n * n for n in range(256)))


def test_a_package_with_fortran_takes_libgfortran_along(prepare: Prepare, tmp_path: Path) -> None:
    recipe = RECIPE.replace('compiler = "gcc"', 'compiler = "gcc-14"\nfortran = true')
    recipe = recipe.replace("*meson_demo*", "*norms*").replace('neoverse-v1 = ["sve"]', "")
    workshop, build = prepare(FORTRAN, recipe)
    built = workshop.build(build, _silent)
    assert built.audit.passed, [one.detail for one in built.audit.verdicts if one.outcome == "fail"]
    assert built.audit.verdict("optimisation").detail == "2 units: 2 -O3; NDEBUG in all"
    # The library asks for GLIBC_2.29, what was compiled here for no more than 2.17.
    assert "-cp311-manylinux_2_31_aarch64." in built.path.name
    grafted = [name for name in zipfile.ZipFile(built.path).namelist() if ".libs/lib" in name]
    assert [PurePath(name).name.partition("-")[0] for name in grafted] == ["libgfortran"]
    printed = _printed(workshop, built.path, "import meson_demo as m; print(m.ones(8))", tmp_path / "env")
    assert printed == str(3 * 8.0 * 8.0)
