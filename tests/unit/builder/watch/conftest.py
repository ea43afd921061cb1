"""The made-up index of the tests of recipes."""

from tests.unit.builder.recipes.conftest import index, own, run

__all__ = ["index", "own", "run"]
