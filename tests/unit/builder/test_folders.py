"""Recipes in folders of the user's: found, told apart, and without influence on digests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builder import cli
from builder.errors import ConfigError, SourceError
from builder.folders import lock_folder, recipe_folders, script
from builder.load import load_configs, load_recipes
from builder.locks import requirements_lock
from builder.model.sources import VersionSource
from builder.settings import ROOT, WHEEL_TESTS
from builder.source import checked_patches, prepare, source_inputs
from builder.whole import sha256_of

RECIPE = """
name = "demo"
about = "a demo"
build_number = 1

[versions."1.0"]
epoch = 1700000000
source = { kind = "folder", path = "src" }
patches = [{ file = "demo.patch", sha256 = "SHA256" }]

[build]
frontend = "setuptools"
compiler = "zig"
requires = ["setuptools"]

[backends.none]
default = true

[verify]
script = "demo_wheel.py"
"""
MATRIX = """
[demo]
description = "a demo"

[[demo.cells]]
recipe = "demo"
versions = ["1.0"]
pythons = ["cp311"]
targets = ["generic"]
backends = ["none"]
"""


def write(folder: Path) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "src/setup.py").write_text("import setuptools; setuptools.setup()\n")
    (folder / "demo.patch").write_text("a patch\n")
    (folder / "demo.toml").write_text(RECIPE.replace("SHA256", sha256_of(folder / "demo.patch")))
    (folder / "demo_wheel.py").write_text("from kit import report\nreport({})\n")
    (folder / "matrices.toml").write_text(MATRIX)
    return folder


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write(tmp_path / "own")
    monkeypatch.setenv("ARMWHEELS_RECIPES", str(folder))
    return folder


def test_a_recipe_and_a_matrix_of_the_users_are_read_beside_those_of_configs(own: Path) -> None:
    configs = load_configs()
    assert {"demo", "numpy"} <= set(configs.recipes)
    assert configs.matrix("demo").cells[0].recipe == "demo"
    assert script("demo_wheel.py") == own / "demo_wheel.py"
    assert script("numpy_wheel.py") == WHEEL_TESTS / "numpy_wheel.py"
    assert requirements_lock("demo", "build", "cp311") == own / "locks/demo-build-cp311.txt"
    assert lock_folder("numpy") == ROOT / "configs/locks"


def test_no_digest_depends_on_the_folder(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = source_inputs(load_recipes()["demo"].versions["1.0"])
    shutil.move(own, tmp_path / "moved")
    monkeypatch.setenv("ARMWHEELS_RECIPES", str(tmp_path / "moved"))
    moved = load_recipes()["demo"].versions["1.0"]
    assert source_inputs(moved) == first
    assert checked_patches(moved.patches) == [tmp_path / "moved/demo.patch"]


def test_of_two_patches_of_one_name_the_pinned_one_is_taken(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "demo.patch").write_text("another patch\n")
    monkeypatch.setenv("ARMWHEELS_RECIPES", f"{other}:{own}")
    assert checked_patches(load_recipes()["demo"].versions["1.0"].patches) == [own / "demo.patch"]


def test_names_that_collide_are_refused_with_both_paths(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write(tmp_path / "other")
    monkeypatch.setenv("ARMWHEELS_RECIPES", f"{own}:{other}")
    with pytest.raises(ConfigError, match=f"recipe demo is in two places: {own}/demo.toml and {other}/demo"):
        load_recipes()
    (other / "demo.toml").unlink()
    with pytest.raises(ConfigError, match=f"script demo_wheel.py is in two places: {own}/.* and {other}/"):
        load_recipes()
    (other / "demo_wheel.py").unlink()
    with pytest.raises(ConfigError, match=f"matrix demo is in two places: {own}/.* and {other}/matrices"):
        load_configs()


def test_an_absent_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARMWHEELS_RECIPES", "/no/such/folder")
    with pytest.raises(ConfigError, match="ARMWHEELS_RECIPES: no such folder: /no/such/folder"):
        recipe_folders()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr("sys.argv", ["armwheels", *arguments])
    try:
        cli.main()
    except SystemExit as end:
        return end.code
    return 0


def test_a_broken_recipe_blocks_only_what_uses_it(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "demo.toml").write_text("nonsense = 1\n")
    assert run(monkeypatch, "targets") == 0
    warning = capsys.readouterr().err
    assert "warning: recipe demo is left out: " in warning
    assert f"{own}/demo.toml: " in warning
    for arguments in (["plan", "--matrix", "demo"], ["lock", "--recipe", "demo"], ["lock"], ["libraries"]):
        assert run(monkeypatch, *arguments) == 3
        assert "error: " in (err := capsys.readouterr().err)
        assert "nonsense: unknown key" in err


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ('compiler = "zig"', 'compiler = "zigg"', "build.compiler: no compiler 'zigg'"),
        ('script = "demo_wheel.py"', 'script = "none.py"', "no file 'none.py' in "),
        ('file = "demo.patch"', 'file = "none.patch"', "own/none.patch: no such patch"),
        ("epoch = ", "epoc = ", "epoc: unknown key"),
    ],
)
def test_a_fault_is_found_when_the_matrix_is_planned(
    own: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    right: str,
    wrong: str,
    message: str,
) -> None:
    text = (own / "demo.toml").read_text()
    assert right in text
    (own / "demo.toml").write_text(text.replace(right, wrong))
    assert run(monkeypatch, "plan", "--matrix", "demo") == 3
    assert message in capsys.readouterr().err


PART = """[[versions."1.0".folders]]
path = "part"
into = "inner/part"

[build]
"""


def test_a_folder_is_laid_into_a_larger_tree_and_its_files_are_pins(own: Path, tmp_path: Path) -> None:
    def source() -> VersionSource:
        return load_recipes()["demo"].versions["1.0"]

    without = source_inputs(source())
    assert "folders" not in without
    (own / "part").mkdir()
    (own / "part/kernel.c").write_text("int one;\n")
    recipe = own / "demo.toml"
    patch = sha256_of(own / "demo.patch")
    (own / "demo.patch").write_text(
        "--- a/inner/part/kernel.c\n+++ b/inner/part/kernel.c\n@@ -1 +1 @@\n-int one;\n+int two;\n"
    )
    recipe.write_text(
        recipe.read_text().replace("[build]\n", PART, 1).replace(patch, sha256_of(own / "demo.patch"))
    )
    before = source_inputs(source())
    tree = prepare("demo", source(), tmp_path / "home")
    assert (tree / "inner/part/kernel.c").read_text() == "int two;\n"  # patches come after folders
    assert (tree / "setup.py").is_file()
    pinned = source()
    (own / "part/kernel.c").write_text("int three;\n")
    assert source_inputs(source()) != before
    with pytest.raises(SourceError, match="part was changed after the run had begun"):
        prepare("demo", pinned, tmp_path / "other")
    shutil.rmtree(own / "part")
    with pytest.raises(ConfigError, match="part: no such folder"):
        load_configs()
