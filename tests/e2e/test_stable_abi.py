"""A wheel of the stable ABI is compiled once, and installed and imported by every Python of its block."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builder.cpus import load_targets
from builder.emulation.environment import EmulatedPython
from builder.ingredients import gather_ingredients
from builder.load import load_recipes
from builder.model.matrix import Cells, Matrix
from builder.plan import make_builds
from builder.toolbox.toolbox import Toolbox
from builder.workshop import Workshop
from tests.helpers.places import Place

pytestmark = pytest.mark.slow

FILES = {
    "pyproject.toml": """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "abi-demo"
version = "1.0"
[tool.setuptools]
py-modules = []
[[tool.setuptools.ext-modules]]
name = "abi_demo"
sources = ["abi_demo.c"]
py-limited-api = true
define-macros = [["Py_LIMITED_API", "0x030B0000"]]
[tool.distutils.bdist_wheel]
py-limited-api = "cp311"
""",
    "abi_demo.c": """
#include <Python.h>
static PyObject *squares(PyObject *self, PyObject *argument) {
    char *bytes; Py_ssize_t length; long long sum = 0;
    if (PyBytes_AsStringAndSize(argument, &bytes, &length)) return NULL;
    for (Py_ssize_t i = 0; i < length; i++) sum += (unsigned char)bytes[i] * (unsigned char)bytes[i];
    return PyLong_FromLongLong(sum);
}
static PyMethodDef methods[] = {{"squares", squares, METH_O, NULL}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "abi_demo", NULL, -1, methods};
PyMODINIT_FUNC PyInit_abi_demo(void) { return PyModule_Create(&module); }
""",
}
RECIPE = """
name = "abi-demo"
about = "a small package"
build_number = 1
[versions."1.0"]
epoch = 1700000000
source = {{ kind = "folder", path = "{folder}" }}
[build]
frontend = "setuptools"
compiler = "gcc"
glibc = "2.31"
requires = ["build", "setuptools"]
stable_abi = true
[backends.none]
default = true
[verify]
script = "{script}"
"""


def _silent(what: str, done: int, total: int) -> None:
    return None


def test_it_is_tested_on_every_python(
    place: Place, toolbox: Toolbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("python-cp313", "headers-cp313", "userland-cp313"):
        toolbox.ensure(part)
    folder = tmp_path / "abi-demo"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text.lstrip(), encoding="utf-8")
    recipe = RECIPE.format(folder=folder, script="msgpack_wheel.py")
    (place.configs / "recipes/abi-demo.toml").write_text(recipe, encoding="utf-8")
    locks = place.configs / "locks"
    for python in ("cp311", "cp313"):
        shutil.copyfile(locks / f"msgpack-build-{python}.txt", locks / f"abi-demo-build-{python}.txt")
    monkeypatch.setenv("ARMWHEELS_CONFIGS", str(place.configs))
    monkeypatch.setenv("ARMWHEELS_HOME", str(place.home))
    workshop = Workshop(Toolbox(home=place.home), load_targets())
    recipes = load_recipes()
    cells = Cells(
        recipe="abi-demo",
        versions=("1.0",),
        pythons=("cp313", "cp311"),
        targets=("neoverse-v1",),
        backends=("none",),
    )
    [build] = make_builds(
        Matrix(description="one", cells=(cells,)),
        recipes,
        workshop.targets,
        gather_ingredients(recipes, workshop.toolbox.toolchains, workshop.toolbox.pins),
    )
    built = workshop.build(build, _silent)
    assert "-cp311-abi3-" in built.path.name
    assert built.audit.passed, built.audit
    report = workshop.verify(
        build, built.path, _silent
    )  # with the script of another package, which cannot run
    outcomes = {check.name: check.outcome for check in report.checks}
    assert outcomes["pip install"] == outcomes["pip install, cp313"] == "pass"
    assert not report.passed
    code = "import abi_demo; print(abi_demo.squares(bytes(range(256))))"
    for python in (build.python, *build.tested):
        emulated = EmulatedPython(toolbox, python, "neoverse-v1")
        environment = emulated.create_environment(tmp_path / python)
        install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(built.path)]
        assert emulated.run(install, environment=environment).returncode == 0
        done = emulated.run(["-c", code], environment=environment)
        assert done.stdout.strip() == str(sum(n * n for n in range(256))), done.stderr
