"""A recipe from the name of a project, and the reasons why there is none."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.load import load_configs
from builder.settings import WHEEL_TESTS
from tests.unit.builder.recipes.conftest import SDIST, WHEEL, FakeIndex

AARCH64 = "manylinux2014_aarch64.manylinux_2_17_aarch64"
Run = Callable[..., int]


@pytest.fixture
def released(index: FakeIndex) -> FakeIndex:
    index.sdist("1.0")
    index.sdist("1.1rc1")
    index.add(f"demo_pack-1.0-cp311-cp311-{AARCH64}.whl", WHEEL)
    index.add(f"demo_pack-1.0-cp313-cp313-{AARCH64}.whl", WHEEL)
    return index


def test_a_recipe_is_written_that_loads_and_plans(released: FakeIndex, own: Path, run: Run) -> None:
    assert run("recipe", "new", "Demo_Pack", "--no-lock") == 0
    configs = load_configs()
    recipe = configs.recipe("demo-pack")
    source = recipe.versions["1.0"]
    assert (source.epoch, source.source.filename) == (1_700_000_000, "demo_pack-1.0.tar.gz")
    assert recipe.build.frontend == "setuptools"
    assert recipe.build.requires == ("build", "wheel", "setuptools>=70", "cython")
    assert recipe.verify.requires == ("numpy>=2",)
    assert recipe.verify.script == "demo_pack_wheel.py"
    [cells] = configs.matrix("demo-pack").cells
    assert cells.pythons == ("cp311", "cp313")  # by a wheel, and by a wheel and a classifier
    assert cells.targets == ("generic", "neoverse-n1", "neoverse-v1")
    text = (own / "demo-pack.toml").read_text()
    assert "# guess: the licence of the project: MIT (License-Expression)" in text
    assert "system library yaml (setup.py names yaml)" in text
    assert "system library z (PyPI's wheel has libz-0123abcd.so.1)" in text


def test_the_test_script_checks_what_the_wheel_offers(
    released: FakeIndex, own: Path, run: Run, tmp_path: Path
) -> None:
    assert run("recipe", "new", "demo-pack", "--no-lock", "--python", "cp313", "--target", "graviton3") == 0
    [cells] = load_configs().matrix("demo-pack").cells
    assert (cells.pythons, cells.targets) == (("cp313",), ("neoverse-v1",))
    package = tmp_path / "site/demo_pack"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from json import dumps, loads\n")
    (package.parent / "demo_pack-1.0.dist-info").mkdir()
    (package.parent / "demo_pack-1.0.dist-info/METADATA").write_text("Name: demo-pack\nVersion: 1.0\n")
    done = subprocess.run(
        [sys.executable, str(WHEEL_TESTS / "run_with_kit.py"), str(own / "demo_pack_wheel.py")],
        env={"PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert '"check": "import", "passed": true, "detail": "demo-pack 1.0"' in done.stdout
    assert '"check": "dumps_loads", "passed": true' in done.stdout
    # The extension is not there, which the script must see.
    assert '"check": "extensions", "passed": false' in done.stdout
    assert done.returncode == 1


def test_nothing_is_overwritten_without_force(
    released: FakeIndex, own: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("recipe", "new", "demo-pack", "--no-lock") == 0
    (own / "demo_pack_wheel.py").write_text("# mine\n")
    matrices = (own / "matrices.toml").read_text()
    assert run("recipe", "new", "demo-pack", "--no-lock") == 3
    assert "exists already; --force overwrites it" in capsys.readouterr().err
    assert (own / "demo_pack_wheel.py").read_text() == "# mine\n"
    assert run("recipe", "new", "demo-pack", "--no-lock", "--force") == 0
    assert "# mine" not in (own / "demo_pack_wheel.py").read_text()
    assert "matrix demo-pack exists already; to build this version, add" in capsys.readouterr().out
    assert (own / "matrices.toml").read_text() == matrices


CMAKE = '[build-system]\nrequires = ["scikit-build-core"]\nbuild-backend = "scikit_build_core.build"\n'
RUST = '[build-system]\nrequires = ["maturin"]\nbuild-backend = "maturin"\n'


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"pyproject__toml": RUST, "Cargo__toml": "[package]", "Cargo__lock": ""}, "no vendored crates"),
        (
            {"pyproject__toml": RUST, "src/native/Cargo__toml": "[package]", "src/native/Cargo__lock": ""},
            "no vendored crates",
        ),
        (
            {
                "pyproject__toml": CMAKE,
                "CMakeLists__txt": "# FetchContent_Declare(x GIT_REPOSITORY y)\n"
                "FetchContent_Declare(absl\n  GIT_REPOSITORY https://example.org/absl)",
            },
            "CMake downloads absl during the build (CMakeLists.txt: FetchContent_Declare of https://example.org/absl)",
        ),
        (
            {"pyproject__toml": SDIST["pyproject.toml"].replace("setuptools.build_meta", "hatchling.build")},
            "its build backend is hatchling.build; recipes have the frontends meson-python, setuptools",
        ),
        ({"setup__py": 'subprocess.run(["git", "clone", "x"])'}, "downloads sources itself (setup.py"),
        ({"fast__c": "", "setup__py": "", "pyproject__toml": "a = ["}, "pyproject.toml is not valid TOML"),
    ],
    ids=["rust", "rust below the top", "cmake", "backend", "clone", "toml"],
)
def test_what_cannot_be_built_is_refused_with_the_reason(
    index: FakeIndex,
    own: Path,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, str],
    reason: str,
) -> None:
    index.sdist(**changed)
    assert run("recipe", "new", "demo-pack") in (3, 5)
    assert reason in capsys.readouterr().err
    assert list(own.iterdir()) == []


def test_a_download_of_the_tests_or_in_a_comment_is_no_reason(index: FakeIndex, own: Path, run: Run) -> None:
    fetched = "FetchContent_Declare(gtest URL https://example.org/gtest)"
    index.add(
        "demo_pack-1.0.tar.gz",
        {**SDIST, "pyproject.toml": CMAKE, "CMakeLists.txt": f"# {fetched}", "tests/CMakeLists.txt": fetched},
    )
    assert run("recipe", "new", "demo-pack", "--no-lock") == 0
    assert "ninja" in (own / "demo-pack.toml").read_text()


def test_a_recipe_of_another_folder_is_not_hidden(
    released: FakeIndex,
    own: Path,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (own / "demo-pack.toml").touch()
    first = tmp_path / "first"
    first.mkdir()
    monkeypatch.setenv("ARMWHEELS_RECIPES", f"{first}:{own}")
    assert run("recipe", "new", "demo-pack", "--no-lock", "--force") == 3
    assert f"{own}/demo-pack.toml is a recipe of that name" in capsys.readouterr().err
    assert list(first.iterdir()) == []


def test_a_project_with_wheels_of_the_stable_abi_gets_one(index: FakeIndex, own: Path, run: Run) -> None:
    index.sdist("1.0")
    index.add(f"demo_pack-1.0-cp39-abi3-{AARCH64}.whl", WHEEL)
    assert run("recipe", "new", "demo-pack", "--no-lock") == 0
    assert load_configs().recipe("demo-pack").build.stable_abi
    assert load_configs().matrix("demo-pack").cells[0].pythons == ("cp311", "cp313", "cp314", "cp315")


@pytest.mark.parametrize(
    ("file", "members", "reason"),
    [
        ("demo_pack-1.0-py3-none-any.whl", WHEEL, "its wheels are pure Python"),
        (f"demo_pack-1.0-cp313-cp313-{AARCH64}.whl", WHEEL, "has no source distribution"),
        ("demo_pack-1.0.tar.gz", {"PKG-INFO": "", "setup.py": "", "demo.py": ""}, "nothing to compile"),
    ],
    ids=["pure", "no-sdist", "nothing-compiled"],
)
def test_what_needs_no_recipe_is_refused(
    index: FakeIndex,
    own: Path,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    file: str,
    members: dict[str, str],
    reason: str,
) -> None:
    index.add(file, members)
    assert run("recipe", "new", "demo-pack") == 3
    assert reason in capsys.readouterr().err


def test_what_is_not_there_is_named(
    released: FakeIndex, own: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, reason in (
        (["no-such-project"], "pip's index has no project no-such-project"),
        (["demo-pack", "7.0"], "pip's index has no demo-pack 7.0; the newest version is 1.1rc1"),
        (["demo-pack", "x"], "'x' is not a version"),
        (["demo-pack", "--python", "cp399"], "no Python 'cp399'"),
        (["demo-pack", "--python", "cp314"], "does not support cp314"),
        (["demo-pack", "--target", "neoverse-x"], "no target 'neoverse-x'"),
    ):
        assert run("recipe", "new", *arguments) == 3
        assert reason in capsys.readouterr().err


def test_a_backend_in_the_source_counts_as_the_one_it_wraps(index: FakeIndex, own: Path, run: Run) -> None:
    pyproject = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "own"\nbackend-path = ["tools"]\n'
    members = {**SDIST, "pyproject.toml": pyproject, "tools/own.py": "from setuptools.build_meta import *\n"}
    index.add("demo_pack-1.0.tar.gz", members)
    assert run("recipe", "new", "demo-pack", "--no-lock") == 0
    assert tomllib.loads((own / "demo-pack.toml").read_text())["build"]["frontend"] == "setuptools"


MESON = '[build-system]\nrequires = ["meson-python"]\nbuild-backend = "mesonpy"\n'
BLAS = {
    **SDIST,
    "pyproject.toml": MESON,
    "setup.py": "",
    "scipy/meson.build": "blas = dependency('scipy-openblas', required: false)\nlapack = dependency('lapack')\n",
    "subprojects/highs/meson.build": "dependency('zlib', required: get_option('use_zlib'))\n",
    "requirements/openblas.txt": "# as in CI\nscipy-openblas32==0.3.31.22.0\n",
    "odr.f": "      end\n",
}
OPENBLAS = {
    "scipy_openblas32/lib/libscipy_openblas.so": "machine code",
    "scipy_openblas32-0.3.dist-info/licenses/": "",
    "scipy_openblas32-0.3.dist-info/licenses/LICENSE.txt": "BSD",
}


def test_a_source_that_asks_for_openblas_links_the_wheel_that_it_pins(
    index: FakeIndex, own: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    index.add("demo_pack-1.0.tar.gz", BLAS)
    for version in ("0.3.31.22.0", "0.3.34"):
        for platform in ("manylinux_2_17_x86_64", AARCH64):
            index.add(f"scipy_openblas32-{version}-py3-none-{platform}.whl", OPENBLAS, "scipy-openblas32")
    assert run("recipe", "new", "demo-pack", "--no-lock", "--python", "cp313") == 0
    configs = load_configs()
    recipe = configs.recipe("demo-pack")
    [dependency] = recipe.backends["openblas"].dependencies
    assert dependency.filename == f"scipy_openblas32-0.3.31.22.0-py3-none-{AARCH64}.whl"
    assert dependency.licence_files == ("scipy_openblas32-0.3.dist-info/licenses/LICENSE.txt",)
    assert recipe.build.fortran
    assert recipe.build.glibc == "2.31"
    assert recipe.build.libraries == ()  # neither LAPACK nor what a subproject may look for
    assert [one.member for one in recipe.audit.allow] == ["demo_pack.libs/libscipy_openblas*"]
    assert configs.matrix("demo-pack").cells[0].backends == ("openblas",)
    assert "system library" not in (own / "demo-pack.toml").read_text()
    assert "armwheels build demo-pack-1.0-cp313-generic-openblas" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wheel", "members", "reason"),
    [
        ("manylinux_2_17_x86_64", OPENBLAS, "has no wheel for arm64 Linux"),
        (
            AARCH64,
            {"scipy_openblas32/libopenblas.so": ""},
            "has no scipy_openblas32/lib/libscipy_openblas.so",
        ),
    ],
    ids=["another machine", "another layout"],
)
def test_openblas_that_cannot_be_linked_is_refused(
    index: FakeIndex,
    own: Path,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    wheel: str,
    members: dict[str, str],
    reason: str,
) -> None:
    index.add("demo_pack-1.0.tar.gz", BLAS)
    index.add(f"scipy_openblas32-0.3.31.22.0-py3-none-{wheel}.whl", members, "scipy-openblas32")
    assert run("recipe", "new", "demo-pack", "--no-lock") == 3
    assert reason in capsys.readouterr().err
    assert list(own.iterdir()) == []
