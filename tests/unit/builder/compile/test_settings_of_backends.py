"""Config settings of a recipe, and CMake packages of its build requirements."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builder.compile.frontends import package_folders, recipe_settings
from builder.compile.options import check_cmake_variables
from builder.errors import ConfigError
from builder.model.build import Build
from builder.model.recipe import Recipe
from builder.settings import validate
from builder.targets import Targets
from tests.helpers.builds import RECIPE, build_for


def build(targets: Targets, **settings: object) -> Build:
    return build_for(
        validate(Recipe, {**RECIPE, "build": {**RECIPE["build"], **settings}}, origin="x"), targets
    )


def test_config_settings_reach_the_backend_with_their_folders(tmp_path: Path, targets: Targets) -> None:
    site = tmp_path / "env/lib/python3.11/site-packages"
    site.mkdir(parents=True)
    made = build(targets, config_settings={"cmake.define.X": "{site}/x", "args": ["-a", "-b"]})
    toolbox: Any = SimpleNamespace(home=tmp_path)
    assert recipe_settings(made, toolbox, tmp_path, tmp_path / "env/bin/python") == [
        f"-Ccmake.define.X={site}/x",
        "-Cargs=-a",
        "-Cargs=-b",
    ]


def test_config_settings_enter_the_digest_only_where_there_are_some(targets: Targets) -> None:
    plain, given = build(targets), build(targets, config_settings={"x": "y"})
    assert "config_settings" not in plain.compile_inputs["settings"]
    assert set(given.compile_inputs) - set(plain.compile_inputs) == {"config_settings"}
    assert given.compile_digest != plain.compile_digest


def test_a_wrong_config_setting_is_named(targets: Targets) -> None:
    with pytest.raises(ConfigError, match=r"build\.config_settings\.x: must be a valid"):
        build(targets, config_settings={"x": 3})


def test_cmake_packages_of_build_requirements_are_found(tmp_path: Path) -> None:
    for inside in (
        "pybind11/share/cmake/pybind11/pybind11Config.cmake",
        "nanobind/cmake/nanobind-config.cmake",
        "cmake/data/share/cmake/Modules/SomeConfig.cmake",
        "pybind11/share/cmake/pybind11/pybind11Common.cmake",
    ):
        (tmp_path / inside).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / inside).touch()
    assert package_folders(tmp_path) == {
        "pybind11_DIR": str(tmp_path / "pybind11/share/cmake/pybind11"),
        "nanobind_DIR": str(tmp_path / "nanobind/cmake"),
    }


def test_the_folder_of_a_package_is_an_option_that_cmake_reads(tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text("find_package(pybind11 CONFIG REQUIRED)\n")
    check_cmake_variables(["-Dpybind11_DIR={site}/x", "-Dpybind11_ROOT=y"], tmp_path, "recipe demo")
    with pytest.raises(ConfigError, match="-Dpybind12_DIR"):
        check_cmake_variables(["-Dpybind12_DIR=x"], tmp_path, "recipe demo")
