"""Reads all files of ``configs/`` together, and the user's recipes beside them.

A fault of a file stops the command that reads them. A broken recipe stops only what uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from builder.cpus import load_servers, load_targets
from builder.errors import ConfigError, SourceError
from builder.folders import matrix_files, recipe_files, scripts
from builder.locks import read_followed
from builder.model.channel import EVIDENCE_KINDS, Channel, Gates
from builder.model.matrix import Matrix
from builder.model.recipe import Recipe, RecipeFile
from builder.model.server import Server
from builder.model.toolchains import Toolchains
from builder.plan import recipe_faults, unknown_names
from builder.settings import (
    ROOT,
    WHEEL_TESTS,
    configs_dir,
    load_toml,
    nearest,
    read_toml,
    there_are,
    validate_tables,
)
from builder.source import checked_patches, pin_folders
from builder.targets import Target, Targets
from builder.toolbox.tools import load_toolchains

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Configs:
    """The content of ``configs/``."""

    recipes: Mapping[str, Recipe]
    broken: Mapping[str, str] = field(default_factory=dict)
    """Recipes that could not be read, each with its faults."""
    targets: Targets
    servers: Mapping[str, Server]
    matrices: Mapping[str, Matrix]
    channels: Mapping[str, Channel]
    toolchains: Toolchains

    def matrix(self, name: str) -> Matrix:
        """The matrix of that name.

        Raises:
            ConfigError: there is none.
        """
        return _named("matrix", name, self.matrices)

    def check_recipes(self, matrix: str) -> None:
        """Refuse a matrix that uses a recipe which could not be read.

        Raises:
            ConfigError: with the faults of each such recipe.
        """
        used = dict.fromkeys(cells.recipe for cells in self.matrix(matrix).cells)
        if faults := [self.broken[name] for name in used if name in self.broken]:
            raise ConfigError("\n".join(faults))

    def recipe(self, name: str) -> Recipe:
        """The recipe of that name.

        Raises:
            ConfigError: there is none, or it could not be read.
        """
        if name in self.broken:
            raise ConfigError(self.broken[name])
        return _named("recipe", name, self.recipes)

    def emulated(self, target: str, server: str | None = None) -> Target:
        """The target of that name, with the server of that name if one is given.

        Raises:
            ConfigError: there is none, or the server is of another target.
        """
        found = self.targets[target]
        return found if server is None else found.with_server(_named("server", server, self.servers))


def load_configs(*, without_broken: bool = False) -> Configs:
    """Read every file of ``configs/``, and the folders of ``ARMWHEELS_RECIPES``.

    Raises:
        ConfigError: with every fault of every file. ``without_broken`` leaves out recipes that have faults.
    """
    faults: list[str] = []

    def collect(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except ConfigError as error:
            faults.append(str(error))
            return None

    recipes, broken = read_recipes()
    servers = collect(load_servers)
    targets = collect(partial(load_targets, servers)) if servers is not None else None
    matrices = collect(load_matrices)
    channels = collect(load_channels)
    toolchains = collect(load_toolchains)
    if servers is None or targets is None or matrices is None or channels is None or toolchains is None:
        raise ConfigError("\n".join([*broken.values(), *faults]))
    for name, recipe in list(recipes.items()):
        if wrong := recipe_faults(recipe, targets, toolchains.compilers):
            broken[name] = "\n".join(wrong)
            del recipes[name]
    configs = Configs(
        recipes=recipes,
        broken=broken,
        targets=targets,
        servers=servers,
        matrices=matrices,
        channels=channels,
        toolchains=toolchains,
    )
    faults = [*_compiler_faults(configs), *_cell_faults(configs), *_gate_faults(configs)]
    if faults or (broken and not without_broken):
        named = [f"{configs_dir()}: names that no file has\n  " + "\n  ".join(faults)] if faults else []
        raise ConfigError("\n".join([*broken.values(), *named]))
    return configs


def load_recipes() -> dict[str, Recipe]:
    """Read the recipes and what is pinned of the branches they follow.

    Raises:
        ConfigError: with every fault of all recipes.
    """
    recipes, broken = read_recipes()
    if broken:
        raise ConfigError("\n".join(broken.values()))
    return recipes


def read_recipes() -> tuple[dict[str, Recipe], dict[str, str]]:
    """Read the recipes: those without a fault, and the faults of the others, both by name."""
    recipes: dict[str, Recipe] = {}
    broken: dict[str, str] = {}
    for name, paths in recipe_files().items():
        if len(paths) > 1:
            broken[name] = f"recipe {name} is in two places: {' and '.join(map(str, paths))}"
            continue
        [path] = paths
        try:
            recipe = _load_recipe(path)
        except ConfigError as error:
            broken[name] = str(error)
        except SourceError as error:
            broken[name] = f"{path}: {error}"
        else:
            if faults := [f"{path}: {fault}" for fault in _missing_files(recipe)]:
                broken[name] = "\n".join(faults)
            else:
                recipes[name] = recipe
    return recipes, broken


def _load_recipe(path: Path) -> Recipe:
    written = load_toml(RecipeFile, path)
    if written.name != path.stem:
        raise ConfigError(f"{path}: the recipe's name is '{written.name}', the file's is '{path.stem}'")
    recipe = written.with_followed(read_followed(written.name))
    return pin_folders(recipe, ROOT if path.parent == configs_dir() / "recipes" else path.parent)


def _missing_files(recipe: Recipe) -> Iterator[str]:
    """Files that a recipe names and that are absent, in two folders, or differ from their hash."""
    patches = [patch for source in recipe.versions.values() for patch in source.patches]
    patches += [patch for follow in recipe.follows.values() for patch in follow.patches]
    try:
        checked_patches(tuple(dict.fromkeys(patches)))
    except SourceError as error:
        yield from str(error).splitlines()
    known = [path.name for path in WHEEL_TESTS.iterdir()]
    components = [name for one in recipe.components.values() for name in (one.script, one.extension)]
    for name in dict.fromkeys((recipe.verify.script, *components)):
        found = scripts(name)
        if not found:
            advice = nearest(name, known) or "write it first"
            yield f"no file '{name}' in {WHEEL_TESTS} or beside the recipe; {advice}"
        elif len(found) > 1:
            yield f"the script {name} is in two places: {' and '.join(map(str, found))}"


def load_matrices() -> dict[str, Matrix]:
    """Read ``matrices.toml``, also that of each folder of ``ARMWHEELS_RECIPES`` which has one.

    Raises:
        ConfigError: with every fault of a file, or a matrix is in two files.
    """
    matrices: dict[str, Matrix] = {}
    origins: dict[str, Path] = {}
    for path in matrix_files():
        for name, matrix in validate_tables(Matrix, read_toml(path), origin=str(path)).items():
            if name in matrices:
                raise ConfigError(f"matrix {name} is in two places: {origins[name]} and {path}")
            matrices[name], origins[name] = matrix, path
    return matrices


def load_channels() -> dict[str, Channel]:
    """Read ``channels.toml``.

    Raises:
        ConfigError: with every fault of the file.
    """
    path = configs_dir() / "channels.toml"
    return validate_tables(Channel, read_toml(path), origin=str(path))


def _compiler_faults(configs: Configs) -> Iterator[str]:
    """Names in the tables of compilers that no part of the toolbox and no target has."""
    tools = configs.toolchains.tools
    for name, table in configs.toolchains.compilers.items():
        place = f"toolchains.toml: compilers.{name}"
        for part in (*table.tools, *(table.fortran.parts if table.fortran else ())):
            if part not in tools:
                yield f"{place}: no part '{part}'; {there_are(part, tools)}"
        for target in table.cpus:
            if target not in list(configs.targets):
                yield f"{place}.cpus: no target of that very name '{target}'; {there_are(target, configs.targets)}"


def _cell_faults(configs: Configs) -> Iterator[str]:
    for name, matrix in configs.matrices.items():
        for number, cells in enumerate(matrix.cells):
            if cells.recipe in configs.broken:
                continue
            for fault in unknown_names(cells, configs.recipes, configs.targets, configs.toolchains.pythons):
                yield f"matrices.toml: {name}.cells[{number}].{fault}"


def _gate_faults(configs: Configs) -> Iterator[str]:
    """Names in gates that no channel and no matrix has, and matrices that would demand nothing."""
    for name, channel in configs.channels.items():
        gates = channel.gates or Gates()
        for source in gates.sources:
            if source not in configs.channels:
                advice = there_are(source, configs.channels)
                yield f"channels.toml: {name}.gates.from: no channel '{source}'; {advice}"
        for required in gates.required:
            if required not in configs.matrices:
                advice = there_are(required, configs.matrices)
                yield f"channels.toml: {name}.gates.required: no matrix '{required}'; {advice}"
            elif not any(cells.required for cells in configs.matrices[required].cells):
                yield f"channels.toml: {name}.gates.required: matrix '{required}' has no cells marked required"
        for kind in gates.evidence:
            if kind not in EVIDENCE_KINDS and (advice := nearest(kind, EVIDENCE_KINDS)):
                yield f"channels.toml: {name}.gates.evidence: '{kind}' is no kind of evidence here; {advice}"


def _named(what: str, name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        raise ConfigError(f"no {what} '{name}'; {there_are(name, known)}")
    return known[name]
