"""Optimisation of real packages by each frontend: recorded, judged, and as fast as PyPI's.

Bazel's is in ``test_bazel_build.py``, Meson's in ``test_meson.py``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from builder.audit import Verdict
from builder.compile.units import RECORD, read_record
from builder.cpus import load_targets
from builder.ingredients import gather_ingredients
from builder.load import load_recipes
from builder.model.build import Build
from builder.plan import make_build
from builder.toolbox.toolbox import Toolbox
from builder.workshop import Workshop
from tests.helpers.places import Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SLOWEST = 1.1
"""Instructions beside PyPI's: another release of GCC compiled that wheel, with -O3 where our CPython has -O2."""

CMAKE = {
    "pyproject.toml": """
[build-system]
requires = ["scikit-build-core"]
build-backend = "scikit_build_core.build"
[project]
name = "cmake-demo"
version = "1.0"
[tool.scikit-build]
cmake.build-type = "Release"
""",
    "CMakeLists.txt": """
cmake_minimum_required(VERSION 3.20)
project(cmake_demo C)
include(CheckCSourceCompiles)
check_c_source_compiles("int main(void) { return 0; }" TRIAL)
include(CheckIPOSupported)
check_ipo_supported(RESULT TRIAL_THAT_STAYS OUTPUT output)
add_library(helper STATIC helper.c)
set_target_properties(helper PROPERTIES POSITION_INDEPENDENT_CODE ON)
target_compile_options(helper PRIVATE -UNDEBUG)
add_library(cmake_demo MODULE cmake_demo.c)
set_target_properties(cmake_demo PROPERTIES PREFIX "" SUFFIX ".cpython-311-aarch64-linux-gnu.so")
set_target_properties(cmake_demo PROPERTIES LINK_WHAT_YOU_USE TRUE)
target_link_libraries(cmake_demo PRIVATE helper)
install(TARGETS cmake_demo DESTINATION .)
""",
    "helper.c": "int helper(int n) { return 3 * n; }\n",
    "cmake_demo.c": """
extern int helper(int n);
int cmake_demo(const unsigned char *bytes, int n) {
    int sum = 0;
    for (int i = 0; i < n; i++) sum += bytes[i] * bytes[i];
    return helper(sum);
}
""",
}

CMAKE_RECIPE = """
name = "cmake-demo"
about = "a small package"
build_number = 1
[versions."1.0"]
epoch = 1700000000
source = {{ kind = "folder", path = "{folder}" }}
[build]
frontend = "scikit-build-core"
compiler = "gcc"
glibc = "2.31"
requires = ["build", "scikit-build-core", "cmake", "ninja"]
[backends.none]
default = true
[verify]
script = "msgpack_wheel.py"
"""


def _silent(what: str, done: int, total: int) -> None:
    return None


@pytest.fixture(autouse=True)
def own_place(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARMWHEELS_CONFIGS", str(place.configs))
    monkeypatch.setenv("ARMWHEELS_HOME", str(place.home))


def _prepared(place: Place, recipe: str, version: str) -> tuple[Workshop, Build]:
    workshop = Workshop(Toolbox(home=place.home), load_targets())
    recipes = load_recipes()
    build = make_build(
        recipes[recipe],
        version=version,
        python="cp311",
        target="neoverse-v1",
        backend="none",
        required=True,
        targets=workshop.targets,
        ingredients=gather_ingredients(recipes, workshop.toolbox.toolchains, workshop.toolbox.pins),
    )
    return workshop, build


def _msgpack(place: Place, cflags: str, more: str = "") -> tuple[Workshop, Build]:
    """msgpack with other ``cflags``; only -O3 makes SVE of its loops, as the recipe promises."""
    recipe = place.configs / "recipes/msgpack.toml"
    text = recipe.read_text().replace('cflags = ["-O3"]', cflags)
    text = text.replace('neoverse-v1 = ["sve"]', "")
    recipe.write_text(text + more)
    return _prepared(place, "msgpack", "1.2.4")


def _verdict(workshop: Workshop, build: Build) -> tuple[Verdict, Path]:
    built = workshop.build(build, _silent)
    return built.audit.verdict("optimisation"), built.path


def test_setuptools_without_flags_of_the_recipe_gives_a_wheel_as_fast_as_pypis(place: Place) -> None:
    verdict, wheel = _verdict(*_msgpack(place, ""))
    assert verdict.outcome == "pass"
    assert verdict.detail == "1 unit: 1 -O2; NDEBUG in all"
    done = place.run("armwheels", "bench", str(wheel), "--json")
    assert done.returncode == 0, done.stderr
    pypi, ours = json.loads(done.stdout)["measured"]
    assert pypi["wheel"]["label"] == "PyPI"
    for theirs, row in zip(pypi["rows"], ours["rows"], strict=True):
        ratio = min(row["instructions"]) / min(theirs["instructions"])
        assert ratio < SLOWEST, f"{row['workload']}: {ratio:.2f}"


def test_setuptools_without_optimisation_is_refused_by_the_units_name(place: Place) -> None:
    workshop, build = _msgpack(place, 'cflags = ["-O0"]')
    verdict, wheel = _verdict(workshop, build)
    assert verdict.outcome == "fail"
    assert verdict.detail == "1 of 1 unit compiled without optimisation\nmsgpack/_cmsgpack.c: -O0"
    shown = place.run("armwheels", "audit", str(wheel))
    assert shown.returncode == 1
    assert "msgpack/_cmsgpack.c: -O0" in shown.stdout
    # On a machine that has not compiled it, the files alone tell.
    (workshop.compiled_folder(build) / RECORD).unlink()
    shown = place.run("armwheels", "audit", str(wheel))
    assert shown.returncode == 1
    assert "1 command line without optimisation" in shown.stdout


def test_an_exception_with_a_reason_lets_it_pass(place: Place) -> None:
    exception = '\n[[audit.unoptimized]]\nunit = "msgpack/*.c"\nwhy = "a trial of the exception"\n'
    workshop, build = _msgpack(place, 'cflags = ["-O0"]', exception)
    verdict, wheel = _verdict(workshop, build)
    assert verdict.outcome == "pass"
    assert "1 unit without optimisation set aside: a trial of the exception" in verdict.detail
    # What an earlier version compiled has no record: it is compiled again, to the same wheel.
    before = wheel.read_bytes()
    (workshop.compiled_folder(build) / RECORD).unlink()
    shutil.rmtree(workshop.wheel_folder(build))
    again, wheel = _verdict(workshop, build)
    assert again == verdict
    assert wheel.read_bytes() == before
    assert workshop.cost(build) is not None
    record = read_record(workshop.compiled_folder(build))
    assert record is not None
    assert [unit.unit for unit in record.units] == ["msgpack/_cmsgpack.c"]


def test_cmake_units_are_recorded_and_trials_are_not(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "cmake-demo"
    folder.mkdir()
    for name, text in CMAKE.items():
        (folder / name).write_text(text.lstrip(), encoding="utf-8")
    (place.configs / "recipes/cmake-demo.toml").write_text(
        CMAKE_RECIPE.format(folder=folder), encoding="utf-8"
    )
    locks = place.configs / "locks"
    shutil.copyfile(locks / "tflite-runtime-build-cp311.txt", locks / "cmake-demo-build-cp311.txt")
    workshop, build = _prepared(place, "cmake-demo", "1.0")
    verdict, _ = _verdict(workshop, build)
    assert verdict.outcome == "pass"
    assert verdict.detail == "2 units: 2 -O3; without NDEBUG 1\nhelper.c"
    # The compile cache answers now, and the record is the same.
    record = read_record(workshop.compiled_folder(build))
    shutil.rmtree(workshop.compiled_folder(build))
    shadow = workshop.work_folder(build) / "build/__init__.py"  # as an interrupted build may leave it
    shadow.parent.mkdir(parents=True, exist_ok=True)
    shadow.write_text("raise SystemExit('not the module that builds')\n")
    workshop.compile(build, _silent)
    assert read_record(workshop.compiled_folder(build)) == record
    cost = workshop.cost(build)
    assert cost is not None
    assert cost.shared >= len(CMAKE) - 2
