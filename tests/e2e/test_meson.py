"""A small meson-python package with an option of its own: cross-compiled, repaired, audited and run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builder.audit import open_wheel
from builder.emulation.environment import EmulatedPython
from builder.ingredients import gather_ingredients
from builder.load import load_recipes, load_targets
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


@pytest.fixture
def prepared(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workshop, Build]:
    folder = tmp_path / "meson-demo"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text.lstrip(), encoding="utf-8")
    (place.configs / "recipes/meson-demo.toml").write_text(RECIPE.format(folder=folder), encoding="utf-8")
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


def test_options_reach_meson_and_the_wheel_runs(prepared: tuple[Workshop, Build], tmp_path: Path) -> None:
    workshop, build = prepared
    built = workshop.build(build, _silent)
    assert built.audit.passed, built.audit
    assert built.audit.verdict("optimisation").detail == "1 unit: 1 -O3; NDEBUG in all"
    passport = open_wheel(built.path).passport
    assert passport is not None
    assert passport["target"] == "neoverse-v1"
    emulated = EmulatedPython(workshop.toolbox, "cp311", "neoverse-v1")
    environment = emulated.create_environment(tmp_path / "env")
    done = emulated.run(
        ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(built.path)],
        environment=environment,
    )
    assert done.returncode == 0, done.stderr
    code = "import meson_demo as m; print(m.squares(bytes(range(256))))"
    done = emulated.run(["-c", code], environment=environment)
    assert done.stdout.strip() == str(3 * sum(n * n for n in range(256))), done.stderr
