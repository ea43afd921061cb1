"""Where recipes, the files that they name, their lock files and matrices lie.

Recipes are in ``configs/recipes`` and in the folders of ``ARMWHEELS_RECIPES``. The files of a recipe are found by
name, a patch or an archive also by its sha256, so that no digest depends on where a folder lies.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from builder.errors import ConfigError
from builder.settings import WHEEL_TESTS, configs_dir, variable
from builder.whole import sha256_of


def recipe_folders() -> tuple[Path, ...]:
    """The folders of recipes: that of ``configs/``, then those that ``ARMWHEELS_RECIPES`` names.

    Raises:
        ConfigError: a named folder does not exist.
    """
    named = (variable("ARMWHEELS_RECIPES") or "").split(os.pathsep)
    own = [Path(one).expanduser().resolve() for one in named if one]
    if absent := [str(folder) for folder in own if not folder.is_dir()]:
        raise ConfigError(f"ARMWHEELS_RECIPES: no such folder: {', '.join(absent)}")
    return tuple(dict.fromkeys((configs_dir() / "recipes", *own)))


def recipe_files() -> dict[str, tuple[Path, ...]]:
    """The files of each recipe by its name; more than one where folders have the same name."""
    found: dict[str, tuple[Path, ...]] = {}
    for folder in recipe_folders():
        for path in sorted(folder.glob("*.toml")):
            if path.name != "matrices.toml":
                found[path.stem] = (*found.get(path.stem, ()), path)
    return found


def matrix_files() -> tuple[Path, ...]:
    """``configs/matrices.toml``, and ``matrices.toml`` of each folder of the user's that has one."""
    _, *own = recipe_folders()
    beside = (folder / "matrices.toml" for folder in own)
    return (configs_dir() / "matrices.toml", *(path for path in beside if path.is_file()))


def lock_folder(recipe: str) -> Path:
    """The folder of a recipe's lock files: ``configs/locks``, or ``locks`` beside a recipe of the user's."""
    _, *own = recipe_folders()
    for folder in own:
        if (folder / f"{recipe}.toml").is_file():
            return folder / "locks"
    return configs_dir() / "locks"


def beside_recipes(name: str) -> Iterator[Path]:
    """Yield each path at which a file that lies beside a recipe may be."""
    for folder in recipe_folders():
        yield folder / name


def pinned_file(name: str, sha256: str) -> Path | None:
    """The file of this name and hash beside a recipe; one of another hash only if no other is there."""
    found = [path for path in beside_recipes(name) if path.is_file()]
    matching = [path for path in found if sha256_of(path) == sha256] if len(found) > 1 else found
    return next(iter(matching or found), None)


def scripts(name: str) -> list[Path]:
    """The scripts of this name in ``builder/wheel_tests`` and beside recipes."""
    return [path for path in (WHEEL_TESTS / name, *beside_recipes(name)) if path.is_file()]


def script(name: str) -> Path:
    """The script of this name; one that is absent has its path in ``builder/wheel_tests``.

    :mod:`builder.load` refuses recipes whose script is absent or lies in two folders.
    """
    return next(iter(scripts(name)), WHEEL_TESTS / name)
