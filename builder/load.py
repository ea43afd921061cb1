"""Reads recipes, matrices and targets from ``configs``."""

from __future__ import annotations

from builder.errors import ConfigError, SourceError
from builder.locks import read_followed
from builder.model.matrix import Matrices, Matrix
from builder.model.recipe import Recipe
from builder.settings import configs_dir, load_toml, read_toml, validate
from builder.source import pin_folders
from builder.targets import Targets
from builder.targets import load as load_target_table


def load_recipes() -> dict[str, Recipe]:
    """Every recipe of ``configs/recipes``; the faults of all files are reported together."""
    recipes, faults = {}, []
    for path in sorted((configs_dir() / "recipes").glob("*.toml")):
        try:
            recipe = pin_folders(load_toml(Recipe, path))
            recipe = recipe.with_followed(read_followed(recipe.name))
        except ConfigError as error:
            faults.append(str(error))
            continue
        except SourceError as error:
            faults.append(f"{path}: {error}")
            continue
        if recipe.name != path.stem:
            faults.append(f"{path}: the recipe's name is '{recipe.name}', the file's is '{path.stem}'")
        recipes[recipe.name] = recipe
    if faults:
        raise ConfigError("\n".join(faults))
    return recipes


def load_matrix(name: str) -> Matrix:
    """One matrix by its name.

    Raises:
        ConfigError: there is none of that name, or the file has faults.
    """
    path = configs_dir() / "matrices.toml"
    known = validate(Matrices, {"matrices": read_toml(path)}, origin=str(path)).matrices
    if name not in known:
        raise ConfigError(f"no matrix '{name}'; there are {', '.join(sorted(known))}")
    return known[name]


def load_targets() -> Targets:
    """The CPU targets of ``configs/targets.toml``."""
    path = configs_dir() / "targets.toml"
    return load_target_table(read_toml(path), origin=str(path))
