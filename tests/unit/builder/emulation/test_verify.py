"""What is laid out for a wheel's tests; running them takes an emulator."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from builder.emulation import verify
from builder.errors import VerifyError
from builder.model.recipe import Recipe
from builder.settings import validate
from tests.helpers.builds import RECIPE


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tree = tmp_path / "tree"
    (tree / "models").mkdir(parents=True)
    (tree / "models/add.bin").write_bytes(b"TFL3")
    monkeypatch.setattr(verify, "prepare", lambda *_: tree)
    return tree


def _recipe(*data: str) -> Recipe:
    return validate(Recipe, {**RECIPE, "verify": {"script": "demo.py", "data": data}}, origin="demo.toml")


def _lay_out(recipe: Recipe, version: str, folder: Path) -> None:
    verify.lay_out_data(recipe, version, SimpleNamespace(home=folder), folder / "data")


def test_data_comes_from_the_source_by_its_names(tmp_path: Path, tree: Path) -> None:
    _lay_out(_recipe("models/add.bin"), "1.0", tmp_path)
    assert (tmp_path / "data/add.bin").read_bytes() == b"TFL3"
    (tree / "models/add.bin").write_bytes(b"changed")
    assert (tmp_path / "data/add.bin").read_bytes() == b"TFL3"


def test_a_recipe_without_data_asks_for_no_source(tmp_path: Path) -> None:
    _lay_out(_recipe(), "1.0", tmp_path)
    assert not (tmp_path / "data").exists()


def test_what_the_source_lacks_is_told(tmp_path: Path, tree: Path) -> None:
    with pytest.raises(VerifyError, match=r"1\.0 has no models/a\.bin, models/b\.bin"):
        _lay_out(_recipe("models/a.bin", "models/add.bin", "models/b.bin"), "1.0", tmp_path)


def test_a_version_of_another_recipe_is_told(tmp_path: Path, tree: Path) -> None:
    with pytest.raises(VerifyError, match="has no version 9"):
        _lay_out(_recipe("models/add.bin"), "9", tmp_path)
