"""A candidate: a copy of the configuration in which one recipe has a new version. The recipe that works stays."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import tomlkit

from builder.errors import ConfigError
from builder.folders import matrix_files, recipe_files, recipe_folders
from builder.load import Configs, load_configs
from builder.model.recipe import RecipeFile
from builder.recipes.update import keeps, move_cells, move_to, move_version
from builder.refresh import refresh_followed, refresh_requirements
from builder.settings import configs_dir, validate
from builder.watch.newer import Newer
from builder.whole import write_text

Report = Callable[[str], None]


@contextmanager
def candidate(newer: Newer, home: Path) -> Iterator[Path]:
    """A copy of ``configs/`` and of the user's recipes, which this process and its children use for this block.

    It stays behind, with all pins: a person may read what would change.
    """
    folder = home / "watch/candidates" / f"{newer.recipe}-{newer.new}-{newer.pin[:12]}"
    shutil.rmtree(folder, ignore_errors=True)
    _, *own = recipe_folders()
    shutil.copytree(configs_dir(), folder / "configs")
    copies = [folder / f"recipes-{number}" for number, _ in enumerate(own)]
    for original, copy in zip(own, copies, strict=True):
        shutil.copytree(original, copy, ignore=shutil.ignore_patterns(".git"))
    named = {
        "ARMWHEELS_CONFIGS": str(folder / "configs"),
        "ARMWHEELS_RECIPES": os.pathsep.join(map(str, copies)),
    }
    before = {name: os.environ.get(name) for name in named}
    os.environ.update(named)
    try:
        yield folder
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def move_candidate(newer: Newer, pythons: tuple[str, ...], home: Path, report: Report) -> tuple[str, ...]:
    """Move the recipe of the configuration in use to the new version, with its locks; returns what changed.

    Raises:
        ConfigError: the moved recipe has faults, or a patch no longer applies.
        ToolboxError: requirements cannot be resolved.
        SourceError: the source cannot be fetched.
    """
    configs = load_configs(without_broken=True)
    recipe = configs.recipe(newer.recipe)
    match newer.kind:
        case "sdist":
            _, changes = move_to(recipe, newer.new, configs.toolchains, home, report)
            if faults := [change.what for change in changes if change.fault]:
                raise ConfigError("\n".join(faults))
            said = tuple(change.what for change in changes)
        case "follow":
            refresh_followed(recipe, report)
            said = (f"{newer.follow}: {newer.old} -> {newer.new}, commit {newer.pin[:12]}",)
        case _:
            said = _move_source(newer, configs)
    moved = load_configs(without_broken=True).recipe(newer.recipe)
    for tag in pythons:
        refresh_requirements(moved, tag, report)
    return said


def _move_source(newer: Newer, configs: Configs) -> tuple[str, ...]:
    """Give the recipe the new source in the place of the old one, and let the matrices build it."""
    [path] = recipe_files()[newer.recipe]
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    source = dict(newer.source)
    own = configs.recipe(newer.recipe).versions[newer.old].epoch
    epoch = int(source.pop("epoch", own))
    files = matrix_files()
    cells, retired = move_cells(files, newer.recipe, newer.old, newer.new)
    move_version(document, newer.old, newer.new, source, epoch, keep=keeps(files, newer.recipe, newer.old))
    text = tomlkit.dumps(document)
    validate(RecipeFile, tomllib.loads(text), origin=str(path))
    write_text(path, text)
    for file, rewritten in cells.items():
        write_text(file, rewritten)
    return (
        f"version {newer.old} -> {newer.new}",
        f"source {newer.pin[:12]}",
        *(f"version {one} leaves the matrices" for one in retired),
    )
