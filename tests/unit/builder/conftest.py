"""A small recipe, one build of it, the real targets, and an empty configuration folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.cpus import load_targets
from builder.model.build import Build
from builder.model.recipe import Recipe
from builder.settings import validate
from builder.targets import Targets
from tests.helpers.builds import RECIPE, build_for


@pytest.fixture(scope="session")
def targets() -> Targets:
    return load_targets()


@pytest.fixture
def recipe() -> Recipe:
    return validate(Recipe, RECIPE, origin="demo.toml")


@pytest.fixture
def build(recipe: Recipe, targets: Targets) -> Build:
    return build_for(recipe, targets)


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty configuration folder that the code under test reads."""
    folder = tmp_path / "configs"
    (folder / "recipes").mkdir(parents=True)
    monkeypatch.setenv("ARMWHEELS_CONFIGS", str(folder))
    return folder
