"""New versions on an index: one that builds, one that does not, and the recipe that works beside them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.places import Place
from tests.helpers.simple_index import SimpleIndex, simple_index

pytestmark = pytest.mark.slow

MODULE = """#include <Python.h>
static PyObject *answer(PyObject *self, PyObject *none) { return PyLong_FromLong(ANSWER); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, "the answer"}, {NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_watched", NULL, -1, methods};
PyMODINIT_FUNC PyInit__watched(void) { return PyModule_Create(&module); }
"""


def sdist(version: str, module: str) -> tuple[str, bytes]:
    members = {
        "PKG-INFO": f"Metadata-Version: 2.4\nName: watched-pack\nVersion: {version}\nSummary: A demo\n"
        "License-Expression: MIT\nRequires-Python: >=3.9\nClassifier: Programming Language :: Python :: 3.11\n",
        "LICENSE": "MIT",
        "pyproject.toml": '[build-system]\nrequires = ["setuptools>=78"]\n'
        'build-backend = "setuptools.build_meta"\n[project]\nname = "watched-pack"\n'
        f'version = "{version}"\nlicense-files = ["LICENSE"]\n',
        "setup.py": "from setuptools import Extension, setup\n"
        'setup(packages=["watched_pack"], ext_modules=[Extension("watched_pack._watched", ["watched.c"])])\n',
        "watched_pack/__init__.py": "from watched_pack._watched import answer\n",
        "watched.c": module,
    }
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(f"watched_pack-{version}/{name}")
            info.size, info.mtime = len(text.encode()), 1_700_000_000
            tar.addfile(info, io.BytesIO(text.encode()))
    return f"watched_pack-{version}.tar.gz", data.getvalue()


@pytest.fixture
def world() -> Iterator[SimpleIndex]:
    with simple_index("watched-pack", dict([sdist("1.0", MODULE.replace("ANSWER", "1"))])) as index:
        yield index


def test_a_candidate_builds_or_says_what_broke(world: SimpleIndex, place: Place, tmp_path: Path) -> None:
    own = tmp_path / "recipes"
    own.mkdir()
    extra = {"ARMWHEELS_RECIPES": str(own), "PIP_EXTRA_INDEX_URL": world.url}
    chosen = ("--python", "cp311", "--target", "generic")
    made = place.run("armwheels", "recipe", "new", "watched-pack", *chosen, extra=extra)
    assert made.returncode == 0, made.stdout + made.stderr
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    look = ("armwheels", "watch", "--matrix", "watched-pack")
    assert place.run(*look, extra=extra).stdout == "nothing is newer than the recipes\n"

    world.files.update([sdist("1.1", MODULE.replace("ANSWER", "2"))])
    good = place.run(*look, extra=extra)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "## watched-pack 1.0 -> 1.1: passed" in good.stdout
    assert "- watched-pack-1.1-cp311-generic: passed" in good.stdout

    world.files.update([sdist("1.2", MODULE)])  # ANSWER is declared nowhere
    bad = place.run(*look, extra=extra)
    assert bad.returncode == 1
    assert "## watched-pack 1.0 -> 1.2: failed" in bad.stdout
    assert "ANSWER" in bad.stdout.partition("failed: ")[2], bad.stdout
    assert bad.stdout.startswith("## ")
    assert {path: path.read_bytes() for path in own.rglob("*") if path.is_file()} == before

    assert place.run("armwheels", "recipe", "update", "watched-pack", "1.1", extra=extra).returncode == 0
    plan = place.run("armwheels", "plan", "--matrix", "watched-pack", extra=extra)
    assert "watched-pack-1.1-cp311-generic" in plan.stdout
    assert "built" in plan.stdout
