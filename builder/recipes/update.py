"""Moves a recipe to another version of its project, and says what changed."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from packaging.version import Version

from builder.errors import ConfigError, SourceError
from builder.folders import matrix_files, recipe_files
from builder.model.recipe import Recipe, RecipeFile
from builder.model.sources import SdistSource, VersionSource
from builder.recipes.new import Subject
from builder.recipes.sdist import Sdist
from builder.recipes.write import build_requires
from builder.settings import validate
from builder.source import prepare
from builder.whole import write_text


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that differs between the two versions; a ``fault`` must be mended by a person."""

    what: str
    fault: bool = False


def newest_version(recipe: Recipe) -> tuple[str, SdistSource]:
    """The newest version of a recipe whose source is a source distribution, and that source.

    Raises:
        ConfigError: it has none.
    """
    own = {
        version: source.source
        for version, source in recipe.versions.items()
        if isinstance(source.source, SdistSource)
    }
    if not own:
        raise ConfigError(f"recipe {recipe.name} has no source distribution, which alone can be updated")
    newest = max(own, key=Version)
    return newest, own[newest]


def update_recipe(
    recipe: Recipe, before: Sdist, subject: Subject, home: Path
) -> tuple[list[Path], list[Change]]:
    """Write the recipe and its matrices with the new version in place of the old one.

    Returns the files that were written, none if the recipe has the version already, and the changes.

    Raises:
        ConfigError: the recipe would not be valid.
    """
    (old, pinned), new = newest_version(recipe), str(subject.release.version)
    if Version(new) == Version(old):
        return [], []
    [path] = recipe_files()[recipe.name]
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    changes = [
        Change(what=f"version {old} -> {new}"),
        Change(what=f"sha256 {pinned.sha256[:12]} -> {subject.file.sha256[:12]} ({subject.file.filename})"),
    ]
    _move_version(document, old, new, subject)
    changes += _backend(document, recipe, before, subject)
    changes += _requirements(document, recipe, before, subject)
    text = tomlkit.dumps(document)
    changed = validate(RecipeFile, tomllib.loads(text), origin=str(path))
    write_text(path, text)
    changes += _patches(recipe, changed.versions[new], home)
    return [path, *_move_cells(recipe.name, old, new)], changes


def _move_version(document: Any, old: str, new: str, subject: Subject) -> None:
    """Give the table of the old version the new name, at its place, and the new source."""
    versions = document["versions"]
    table = versions[old]
    table["epoch"] = subject.sdist.epoch
    table["source"]["filename"] = subject.file.filename
    table["source"]["sha256"] = subject.file.sha256
    entries = [(key, versions[key]) for key in list(versions)]
    for key, _ in entries:
        del versions[key]
    for key, entry in entries:
        versions[new if key == old else key] = entry


def _backend(document: Any, recipe: Recipe, before: Sdist, subject: Subject) -> list[Change]:
    changes = []
    if before.backend != subject.sdist.backend:
        changes.append(Change(what=f"build backend {before.backend} -> {subject.sdist.backend}"))
    if subject.frontend != recipe.build.frontend and subject.frontend != before.frontend:
        document["build"]["frontend"] = subject.frontend
        changes.append(Change(what=f"frontend {recipe.build.frontend} -> {subject.frontend}"))
    return changes


def _requirements(document: Any, recipe: Recipe, before: Sdist, subject: Subject) -> list[Change]:
    """Carry the difference of the declared requirements into the recipe's own, which may have more."""
    earlier, later = _wanted(before, recipe.build.frontend), _wanted(subject.sdist, subject.frontend)
    removed = [one for one in earlier if one not in later]
    added = [one for one in later if one not in earlier]
    own = list(recipe.build.requires)
    for one in removed:
        if one in own:
            own.remove(one)
    own += [one for one in added if one not in own]
    if own != list(recipe.build.requires):
        listed = tomlkit.array()
        listed.extend(own)
        document["build"]["requires"] = listed.multiline(len(str(own)) > 90)
    return [
        *(Change(what=f"build requirement added: {one}") for one in added),
        *(Change(what=f"build requirement removed: {one}") for one in removed),
    ]


def _wanted(sdist: Sdist, frontend: str) -> tuple[str, ...]:
    return build_requires(frontend, sdist.requires, sdist.uses_cmake)


def _patches(recipe: Recipe, source: VersionSource, home: Path) -> list[Change]:
    """Each patch that does not apply to the new source."""
    changes = []
    applied: list[Any] = []
    for patch in source.patches:
        trial = source.model_copy(update={"patches": (*applied, patch)})
        try:
            prepare(recipe.project, trial, home)
        except SourceError as error:
            changes.append(Change(what=f"patch no longer applies: {error}", fault=True))
        else:
            applied.append(patch)
            changes.append(Change(what=f"patch applies: {patch.file}"))
    return changes


def _move_cells(name: str, old: str, new: str) -> list[Path]:
    """Let the matrices build the new version; returns the files that changed."""
    written = []
    for path in matrix_files():
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
        cells = [
            one for matrix in document.values() for one in matrix.get("cells", ()) if one["recipe"] == name
        ]
        moved = [one for one in cells if old in one["versions"]]
        for one in moved:
            _replace(one["versions"], old, new)
        if moved:
            write_text(path, tomlkit.dumps(document))
            written.append(path)
    return written


def _replace(versions: Any, old: str, new: str) -> None:
    versions[list(versions).index(old)] = new
