"""The recipe of PyTorch 2.14, which was never configured, against the names that the release's CMake files read."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from builder.load import load_configs
from builder.model.recipe import Recipe
from builder.settings import ROOT

CMAKES_OWN = re.compile(r"CMAKE_|Python_")


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    return tomllib.loads(Path(ROOT, "tests/data/pytorch-2.14-options.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_configs().recipes["pytorch-2-14"]


def unread(recipe: Recipe, known: dict[str, Any]) -> set[str]:
    """The recipe's CMake variables that no file is known to read, and those that a file overrules."""
    options = [*recipe.build.options, *(o for one in recipe.backends.values() for o in one.options)]
    names = {option.removeprefix("-D").partition("=")[0] for option in options}
    asked = {name for name in names if not CMAKES_OWN.match(name)}
    read = {name for names in known["names"].values() for name in names}
    return (asked - read) | (asked & known["overruled"].keys()) | (asked & set(known["gone"]["names"]))


def test_every_option_is_one_that_the_cmake_files_read(recipe: Recipe, known: dict[str, Any]) -> None:
    assert unread(recipe, known) == set()
    environment = set(recipe.build.environment)
    assert environment <= {*known["names"]["blas"], *known["names"]["version"]}


@pytest.mark.parametrize("option", ["-DUSE_MIMALLOC=OFF", "-DUSE_MKL=OFF", "-DUSE_FBGEM=OFF"])
def test_an_option_without_effect_is_found(recipe: Recipe, known: dict[str, Any], option: str) -> None:
    build = recipe.build.model_copy(update={"options": (*recipe.build.options, option)})
    assert unread(recipe.model_copy(update={"build": build}), known) == {option[2:].partition("=")[0]}


def test_the_source_is_the_commit_of_the_release(recipe: Recipe, known: dict[str, Any]) -> None:
    source = recipe.versions[known["release"]].source
    assert (source.kind, getattr(source, "commit", "")) == ("git", known["commit"])
    assert recipe.build.frontend == "scikit-build-core"
    assert recipe.project == "torch"


def test_the_rules_of_the_audit_fit_the_symbols_of_the_release(recipe: Recipe, known: dict[str, Any]) -> None:
    symbols, member = known["symbols"], "torch/lib/libtorch_cpu.so"

    def allowed(symbol: str | None, unit: str | None = None) -> bool:
        return any(rule.covers(member, symbol, unit) for rule in recipe.audit.allow)

    assert all(allowed("any", unit) for unit in symbols["dispatched_units"])
    assert all(allowed(symbol) for symbol in symbols["dispatched"] + symbols["kleidiai"])
    assert not any(allowed(symbol) for symbol in symbols["kleidiai_for_all"])
    assert not allowed("any", "Activation.cpp.DEFAULT.cpp")
