"""Reads all files of ``configs/`` together, so that a fault in any of them stops the command that reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from builder.errors import ConfigError, SourceError
from builder.locks import read_followed
from builder.model.channel import EVIDENCE_KINDS, Channel, Gates
from builder.model.matrix import Matrix
from builder.model.recipe import Recipe, RecipeFile
from builder.model.server import Server, ServerTable
from builder.model.toolchains import Toolchains
from builder.plan import recipe_faults, unknown_names
from builder.settings import (
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
from builder.targets import load as load_target_tables
from builder.toolbox.tools import load_toolchains

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Configs:
    """The content of ``configs/``."""

    recipes: Mapping[str, Recipe]
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

    def recipe(self, name: str) -> Recipe:
        """The recipe of that name.

        Raises:
            ConfigError: there is none.
        """
        return _named("recipe", name, self.recipes)

    def emulated(self, target: str, server: str | None = None) -> Target:
        """The target of that name, with the server of that name if one is given.

        Raises:
            ConfigError: there is none, or the server is of another target.
        """
        found = self.targets[target]
        return found if server is None else found.with_server(_named("server", server, self.servers))


def load_configs() -> Configs:
    """Read every file of ``configs/``.

    Raises:
        ConfigError: with every fault of every file.
    """
    faults: list[str] = []

    def collect(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except ConfigError as error:
            faults.append(str(error))
            return None

    recipes = collect(load_recipes)
    servers = collect(load_servers)
    targets = collect(partial(load_targets, servers)) if servers is not None else None
    matrices = collect(load_matrices)
    channels = collect(load_channels)
    toolchains = collect(load_toolchains)
    if (
        recipes is None
        or servers is None
        or targets is None
        or matrices is None
        or channels is None
        or toolchains is None
    ):
        raise ConfigError("\n".join(faults))
    configs = Configs(
        recipes=recipes,
        targets=targets,
        servers=servers,
        matrices=matrices,
        channels=channels,
        toolchains=toolchains,
    )
    if faults := [
        *_recipe_faults(configs),
        *_compiler_faults(configs),
        *_cell_faults(configs),
        *_gate_faults(configs),
    ]:
        raise ConfigError(f"{configs_dir()}: names that no file has\n  " + "\n  ".join(faults))
    return configs


def load_recipes() -> dict[str, Recipe]:
    """Read ``recipes/*.toml`` and what is pinned of the branches they follow.

    Raises:
        ConfigError: with every fault of all recipes.
    """
    recipes, faults = {}, []
    for path in sorted((configs_dir() / "recipes").glob("*.toml")):
        try:
            recipe = _load_recipe(path)
        except ConfigError as error:
            faults.append(str(error))
        except SourceError as error:
            faults.append(f"{path}: {error}")
        else:
            recipes[recipe.name] = recipe
            faults += [f"{path}: {fault}" for fault in _missing_files(recipe)]
    if faults:
        raise ConfigError("\n".join(faults))
    return recipes


def _load_recipe(path: Path) -> Recipe:
    written = load_toml(RecipeFile, path)
    if written.name != path.stem:
        raise ConfigError(f"{path}: the recipe's name is '{written.name}', the file's is '{path.stem}'")
    return pin_folders(written.with_followed(read_followed(written.name)))


def _missing_files(recipe: Recipe) -> Iterator[str]:
    """Files that a recipe names and that are absent or differ from their hash: patches, scripts, extensions."""
    patches = [patch for source in recipe.versions.values() for patch in source.patches]
    patches += [patch for follow in recipe.follows.values() for patch in follow.patches]
    try:
        checked_patches(tuple(dict.fromkeys(patches)))
    except SourceError as error:
        yield from str(error).splitlines()
    known = [path.name for path in WHEEL_TESTS.iterdir()]
    components = [name for one in recipe.components.values() for name in (one.script, one.extension)]
    for name in dict.fromkeys((recipe.verify.script, *components)):
        if name not in known:
            yield f"no file '{name}' in {WHEEL_TESTS}; {nearest(name, known) or 'write it first'}"


def load_matrices() -> dict[str, Matrix]:
    """Read ``matrices.toml``.

    Raises:
        ConfigError: with every fault of the file.
    """
    path = configs_dir() / "matrices.toml"
    return validate_tables(Matrix, read_toml(path), origin=str(path))


def load_channels() -> dict[str, Channel]:
    """Read ``channels.toml``.

    Raises:
        ConfigError: with every fault of the file.
    """
    path = configs_dir() / "channels.toml"
    return validate_tables(Channel, read_toml(path), origin=str(path))


def load_servers() -> dict[str, Server]:
    """Read ``servers.toml``.

    Raises:
        ConfigError: with every fault of the file.
    """
    path = configs_dir() / "servers.toml"
    tables = validate_tables(ServerTable, read_toml(path), origin=str(path))
    return {name: Server(name=name, **table.model_dump()) for name, table in tables.items()}


def load_targets(servers: Mapping[str, Server] | None = None) -> Targets:
    """Read ``targets.toml``, and ``servers.toml`` unless its content is given.

    Raises:
        ConfigError: with every fault of the file.
    """
    path = configs_dir() / "targets.toml"
    return load_target_tables(
        read_toml(path), load_servers() if servers is None else servers, origin=str(path)
    )


def _recipe_faults(configs: Configs) -> Iterator[str]:
    for recipe in configs.recipes.values():
        yield from recipe_faults(recipe, configs.targets, configs.toolchains.compilers)


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
