"""A recipe is moved to the newest version, and what changed is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builder.load import load_configs
from builder.source import archives
from builder.whole import sha256_of
from tests.unit.builder.recipes.conftest import SDIST, FakeIndex

PATCH = """diff --git a/fast.c b/fast.c
--- a/fast.c
+++ b/fast.c
@@ -1 +1 @@
-int one(void) { return 1; }
+int one(void) { return 2; }
"""
Run = Callable[..., int]


@pytest.fixture
def recipe(index: FakeIndex, own: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of version 1.0 with a comment and a patch."""
    monkeypatch.setattr(archives, "fetch_pypi", index.fetch)
    index.sdist("1.0")
    assert run("recipe", "new", "demo-pack", "--no-lock") == 0
    path = own / "demo-pack.toml"
    (own / "fast.patch").write_text(PATCH)
    pin = f'patches = [{{ file = "fast.patch", sha256 = "{sha256_of(own / "fast.patch")}" }}]'
    text = path.read_text().replace("\n\n[build]", f"\n# kept\n{pin}\n\n[build]")
    path.write_text(text.replace('requires = ["build", ', 'requires = ["mine", "build", '))
    return path


def test_version_hash_requirements_and_matrix_move(
    index: FakeIndex, recipe: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    index.sdist("1.1", pyproject__toml=SDIST["pyproject.toml"].replace("cython", "pybind11"))
    assert run("recipe", "update", "demo-pack", "--no-lock") == 0
    said = capsys.readouterr().out
    for line in (
        "version 1.0 -> 1.1",
        "sha256 ",
        "build requirement added: pybind11",
        "build requirement removed: cython",
        "patch applies: fast.patch",
    ):
        assert line in said
    configs = load_configs()
    renewed = configs.recipe("demo-pack")
    assert list(renewed.versions) == ["1.1"]
    assert renewed.versions["1.1"].source.filename == "demo_pack-1.1.tar.gz"
    assert renewed.build.requires == ("mine", "build", "wheel", "setuptools>=70", "pybind11")
    assert configs.matrix("demo-pack").cells[0].versions == ("1.1",)
    assert "# kept" in recipe.read_text()


def test_a_patch_that_no_longer_applies_is_named(
    index: FakeIndex, recipe: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    index.sdist("1.1", fast__c="int two(void) { return 2; }\n")
    assert run("recipe", "update", "demo-pack", "--no-lock") == 1
    assert "patch no longer applies: fast.patch does not apply" in capsys.readouterr().out
    assert list(load_configs().recipe("demo-pack").versions) == ["1.1"]


def test_nothing_is_written_if_there_is_no_newer_version(
    index: FakeIndex, recipe: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = recipe.read_text()
    assert run("recipe", "update", "demo-pack", "--no-lock") == 0
    assert "recipe demo-pack has version 1.0 already" in capsys.readouterr().out
    assert recipe.read_text() == before


def test_a_recipe_of_another_source_is_refused(
    own: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("recipe", "update", "torch-int8-linear") == 3
    assert "has no source distribution, which alone can be updated" in capsys.readouterr().err
