"""Moves a recipe to another version of its project, and says what changed."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from packaging.version import InvalidVersion, Version

from builder.errors import ConfigError, SourceError
from builder.folders import matrix_files, recipe_files
from builder.model.recipe import Recipe, RecipeFile
from builder.model.sources import SdistSource, VersionSource
from builder.model.toolchains import Toolchains
from builder.recipes.new import Report, Subject, examine
from builder.recipes.sdist import Sdist, read_sdist
from builder.recipes.write import build_requires
from builder.settings import validate
from builder.source import prepare, sdist_file
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


def move_to(
    recipe: Recipe, version: str | None, toolchains: Toolchains, home: Path, report: Report
) -> tuple[list[Path], list[Change]]:
    """Move a recipe to a version of pip's index, or to the newest final one: :func:`update_recipe`.

    Raises:
        ConfigError: the recipe has no source distribution, or there is no such version that can be built.
        ToolboxError: the index does not answer.
        SourceError: a source distribution cannot be read.
    """
    _, source = newest_version(recipe)
    earlier = read_sdist(sdist_file(recipe.project, source, home))
    return update_recipe(recipe, earlier, examine(recipe.project, version, toolchains, home, report), home)


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
    files = matrix_files()
    cells, retired = move_cells(files, recipe.name, old, new)
    changes = [
        Change(what=f"version {old} -> {new}"),
        Change(what=f"sha256 {pinned.sha256[:12]} -> {subject.file.sha256[:12]} ({subject.file.filename})"),
    ]
    changes += [Change(what=f"version {one} leaves the matrices") for one in retired]
    source = {"filename": subject.file.filename, "sha256": subject.file.sha256}
    move_version(document, old, new, source, subject.sdist.epoch, keep=keeps(files, recipe.name, old))
    changes += _backend(document, recipe, before, subject)
    changes += _requirements(document, recipe, before, subject)
    text = tomlkit.dumps(document)
    changed = validate(RecipeFile, tomllib.loads(text), origin=str(path))
    write_text(path, text)
    for file, rewritten in cells.items():
        write_text(file, rewritten)
    changes += _patches(recipe, changed.versions[new], home)
    return [path, *cells], changes


def move_version(
    document: Any, old: str, new: str, source: Mapping[str, Any], epoch: int, *, keep: bool
) -> None:
    """Put the version ``new`` with this source in the place of ``old``, or behind it to ``keep`` that, too."""
    versions = document["versions"]
    before = tomlkit.parse(tomlkit.dumps({"table": versions[old]}))["table"] if keep else None
    table: Any = versions[old]
    table["epoch"] = epoch
    for key, value in source.items():
        table["source"][key] = value
    entries = [(key, versions[key]) for key in list(versions)]
    for key, _ in entries:
        del versions[key]
    for key, entry in entries:
        if key == old and before is not None:
            versions[old] = before
        versions[new if key == old else key] = entry


def keeps(files: Iterable[Path], name: str, old: str) -> bool:
    """Whether a matrix still builds ``old`` once a newer version is there."""
    cells = [one for path in files for one in _cells(tomlkit.parse(path.read_text(encoding="utf-8")), name)]
    return any(old in one["versions"] and one.get("newest", 1) > 1 for one in cells)


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


def move_cells(files: Iterable[Path], name: str, old: str, new: str) -> tuple[dict[Path, str], list[str]]:
    """Let the matrices that build ``old`` build ``new``.

    Returns the new text of each file that changes, and the versions that no matrix builds any more: a block keeps
    its ``newest`` versions.
    """
    changed: dict[Path, str] = {}
    before: set[str] = set()
    after: set[str] = set()
    for path in files:
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
        cells = _cells(document, name)
        before |= {str(version) for one in cells for version in one["versions"]}
        moved = [one for one in cells if old in one["versions"]]
        for one in moved:
            _move(one["versions"], old, new, one.get("newest", 1))
        after |= {str(version) for one in cells for version in one["versions"]}
        if moved:
            changed[path] = tomlkit.dumps(document)
    return changed, sorted(before - after)


def _cells(document: Any, name: str) -> list[Any]:
    return [one for matrix in document.values() for one in matrix.get("cells", ()) if one["recipe"] == name]


def _move(versions: Any, old: str, new: str, newest: int) -> None:
    """Replace ``old`` if one version stays, else add ``new`` and drop the oldest; names of branches stay."""
    if newest == 1:
        versions[list(versions).index(old)] = new
        return
    versions.append(new)
    numbered = sorted((str(one) for one in versions if is_version(str(one))), key=Version)
    for one in numbered[:-newest]:
        versions.remove(one)


def is_version(text: str) -> bool:
    """Whether a name in a matrix is a version of :pep:`440`, and not that of a branch."""
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True
