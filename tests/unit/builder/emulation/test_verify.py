"""What is laid out for a wheel's tests; running them takes an emulator."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

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


class Recorder:
    """An emulated Python that passes, and keeps the arguments of its last run."""

    def run(self, arguments: list[str], **_: object) -> SimpleNamespace:
        self.arguments = arguments
        return SimpleNamespace(returncode=0, stdout="2 passed in 1.0s\n", stderr="")


@pytest.mark.parametrize(("select", "expected"), [("", []), ("not slow", ["-k", "not slow"])])
def test_a_package_s_own_tests_are_chosen(tmp_path: Path, select: str, expected: list[str]) -> None:
    settings = {"script": "demo.py", "pytest": ["demo/tests/test_a.py"], "pytest_select": select}
    recipe = validate(Recipe, {**RECIPE, "verify": settings}, origin="demo.toml")
    site = tmp_path / "lib/python3.11/site-packages"
    site.mkdir(parents=True)
    emulated = Recorder()
    check = verify._own_suite(cast("Any", emulated), tmp_path, recipe, tmp_path, 60, {})
    assert check.outcome == "pass"
    assert emulated.arguments[emulated.arguments.index("/dev/null") + 1 :] == [
        *expected,
        str(site / "demo/tests/test_a.py"),
    ]
