"""Configuration, toolbox and workshop, read once for a command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from builder import audit as auditing
from builder import workshop as stages
from builder.commands import console
from builder.commands.configs import read_configs
from builder.commands.terminal import out
from builder.emulation.install import python_of
from builder.errors import (
    ConfigError,
)
from builder.ingredients import gather_ingredients
from builder.model.build import Build
from builder.model.recipe import Recipe
from builder.plan import make_build, make_builds
from builder.targets import GENERIC
from builder.toolbox.toolbox import Toolbox


class Project:
    """Configuration, toolbox and workshop of a command."""

    def __init__(self, shown: Console = out) -> None:
        self.live = console.Live(shown)
        self.configs = read_configs()
        self.toolbox = Toolbox(self.live.say)
        self.targets = self.configs.targets
        self.recipes = self.configs.recipes
        self.workshop = stages.Workshop(self.toolbox, self.targets)
        self.ingredients = gather_ingredients(self.recipes, self.toolbox.toolchains, self.toolbox.pins)

    def builds(self, matrix: str) -> tuple[Build, ...]:
        """The builds of a matrix.

        Raises:
            ConfigError: the matrix, or a recipe that it uses, has a fault.
        """
        self.configs.check_recipes(matrix)
        return make_builds(self.configs.matrix(matrix), self.recipes, self.targets, self.ingredients)

    def passport(self, wheel: Path) -> tuple[dict[str, Any], Recipe]:
        """The passport of a wheel and the recipe it was made from."""
        passport = auditing.open_wheel(wheel).passport
        if passport is None:
            raise ConfigError(
                f"{wheel.name} has no passport, which would name the recipe that says how to test it"
            )
        if passport["recipe"] in self.configs.broken:
            raise ConfigError(self.configs.broken[passport["recipe"]])
        recipe = self.recipes.get(passport["recipe"])
        if recipe is None:
            raise ConfigError(f"{wheel.name} was made from recipe '{passport['recipe']}', which is not here")
        for key, known in (("version", recipe.versions), ("backend", recipe.backends)):
            if passport[key] not in known:
                raise ConfigError(f"{wheel.name}: recipe {recipe.name} has no {key} '{passport[key]}' here")
        return passport, recipe

    def tested_as(self, wheel: Path, name: str | None) -> tuple[Recipe, str, str, str]:
        """Recipe, version, Python and target by which to test a wheel: its passport's.

        A wheel that others built is tested by the recipe called ``name``, with the data of its first version.

        Raises:
            ConfigError: nothing says how, or there is no such recipe.
        """
        if name is None:
            passport, recipe = self.passport(wheel)
            return recipe, passport["version"], passport["python"], passport["target"]
        recipe = self.configs.recipe(name)
        python = python_of(wheel, list(self.configs.toolchains.pythons))
        return recipe, next(iter(recipe.versions)), python, GENERIC

    def examine(
        self, wheel: Path, previous_of: Callable[[Build], Path | None] = lambda _: None
    ) -> stages.TestedWheel:
        """Audit, run and bench a wheel with a passport, as the build that the passport describes."""
        passport, recipe = self.passport(wheel)
        build = make_build(
            recipe,
            version=passport["version"],
            python=passport["python"],
            target=passport["target"],
            backend=passport["backend"],
            required=False,
            targets=self.targets,
            ingredients=self.ingredients,
        )
        progress = self.live.for_build(build)
        audited = stages.AuditedWheel(
            build=build, path=wheel, audit=self.workshop.audit(build, wheel, progress)
        )
        return self.workshop.prove(audited, progress, previous_of(build))

    def parts(self, builds: tuple[Build, ...]) -> list[str]:
        """The parts of the toolbox these builds need, in the order they are used."""
        wanted: dict[str, None] = {}
        for build in builds:
            for part in build.compile_inputs["toolchain"]:
                wanted[part] = None
            wanted |= {f"userland-{python}": None for python in (build.python, *build.tested)}
        return list(dict.fromkeys((*wanted, "ccache", "qemu", "zig", "llvm", "pip")))
