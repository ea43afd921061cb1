"""Configuration files: every fault at once, with advice."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import ConfigError
from builder.load import load_configs, load_recipes
from builder.model.recipe import Recipe
from builder.settings import WHEEL_TESTS, load_toml, read_toml, validate
from tests.helpers.builds import RECIPE


def test_all_faults_come_together_and_a_misspelt_key_gets_advice() -> None:
    data = {
        **RECIPE,
        "build": {**RECIPE["build"], "optoins": [], "glibc": "3"},
        "versions": {"not a version": RECIPE["versions"]["1.0"]},
    }
    with pytest.raises(ConfigError) as caught:
        validate(Recipe, data, origin="demo.toml")
    message = str(caught.value)
    assert "demo.toml: 3 faults" in message
    assert "did you mean 'options'?" in message
    assert "build.glibc" in message
    assert "'not a version' is not a version (PEP 440)" in message


def test_a_recipe_has_exactly_one_default_backend() -> None:
    with pytest.raises(ConfigError, match="exactly one backend"):
        validate(Recipe, {**RECIPE, "backends": {"a": {}, "b": {}}}, origin="demo.toml")


def test_a_local_version_belongs_to_us() -> None:
    data = {**RECIPE, "versions": {"1.0+mine": RECIPE["versions"]["1.0"]}}
    with pytest.raises(ConfigError, match="belongs to Armwheels"):
        validate(Recipe, data, origin="demo.toml")


def test_missing_and_broken_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_toml(tmp_path / "gone.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("a = [")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_toml(broken)


def test_faults_of_all_recipes_are_told_together(configs: Path) -> None:
    (configs / "recipes/one.toml").write_text('name = "one"\n')
    (configs / "recipes/two.toml").write_text("oops")
    with pytest.raises(ConfigError) as caught:
        load_recipes()
    assert "one.toml" in str(caught.value)
    assert "two.toml" in str(caught.value)


def test_an_unknown_matrix_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no matrix 'quik'; did you mean 'quick'"):
        load_configs().matrix("quik")


def test_the_shipped_recipes_are_whole() -> None:
    recipes = load_recipes()
    assert {"numpy", "msgpack"} <= set(recipes)
    for recipe in recipes.values():
        assert (WHEEL_TESTS / recipe.verify.script).is_file()


def test_load_toml_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "demo.toml"
    path.write_text('name = "demo"\n')
    with pytest.raises(ConfigError, match=str(path)):
        load_toml(Recipe, path)
