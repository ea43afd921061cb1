"""Folders of the project or of this machine, whose files are their own pin."""

from __future__ import annotations

import hashlib
import shutil
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from builder.errors import SourceError
from builder.model.recipe import Recipe
from builder.model.sources import FolderPart, FolderSource
from builder.settings import ROOT
from builder.whole import sha256_of

_Folder = TypeVar("_Folder", FolderSource, FolderPart)


def pin_folders(recipe: Recipe, base: Path = ROOT) -> Recipe:
    """The recipe with the sha256 of each folder it is built from, as the folder is now.

    A relative path starts at ``base``.

    Raises:
        SourceError: there is no such folder, it holds nothing, or it is not what the recipe pins.
    """
    versions = {}
    for version, source in recipe.versions.items():
        update: dict[str, object] = {"folders": tuple(_pinned(part, base) for part in source.folders)}
        if isinstance(source.source, FolderSource):
            update["source"] = _pinned(source.source, base)
        versions[version] = source.model_copy(update=update)
    return recipe.model_copy(update={"versions": versions})


def _pinned(folder: _Folder, base: Path) -> _Folder:
    path = folder.path if base == ROOT else str(base / folder.path)
    found = _folder_sha256(_folder(path))
    if folder.sha256 not in (None, found):
        raise SourceError(f"{path}: sha256 of its files is {found}, the recipe pins {folder.sha256}")
    return folder.model_copy(update={"sha256": found, "path": path})


_NOT_SOURCES = (
    *("__pycache__", "build", "dist", "*.egg-info", "*~", ".*.sw?", ".#*", ".DS_Store"),
    *(".git", ".hg", ".svn", ".venv", ".tox", ".nox", ".eggs", ".*_cache", ".hypothesis", ".idea", ".vscode"),
)
"""What builds, tests, editors and version control write. Other names with a dot are sources, such as ``.cargo``."""


def _folder(path: str) -> Path:
    folder = ROOT / path
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder")
    return folder


def _folder_sha256(folder: Path) -> str:
    """sha256 over the names, the executable bits and the bytes of the files, in order of their names.

    Raises:
        SourceError: it has no file, or a symbolic link, whose target would not be hashed.
    """
    lines = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if any(fnmatchcase(part, pattern) for part in inside.parts for pattern in _NOT_SOURCES):
            continue
        if path.is_symlink():
            raise SourceError(f"{path}: a folder of sources may contain no symbolic links")
        if path.is_file():
            program = bool(path.stat().st_mode & 0o100)
            lines.append(f"{inside.as_posix()} {int(program)} {sha256_of(path)}\n")
    if not lines:
        raise SourceError(f"{folder}: contains no sources")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def copy_folder(source: FolderSource | FolderPart, tree: Path) -> None:
    """Copy the folder's sources, and check that they are still what was hashed.

    Raises:
        SourceError: a file was changed since.
    """
    shutil.copytree(_folder(source.path), tree, ignore=shutil.ignore_patterns(*_NOT_SOURCES))
    if _folder_sha256(tree) != pinned_sha256(source.path, source.sha256):
        raise SourceError(f"{source.path} was changed after the run had begun; run again")


def pinned_sha256(path: str, sha256: str | None) -> str:
    """The hash that :func:`pin_folders` filled in."""
    if sha256 is None:
        raise SourceError(f"{path}: its files were not hashed when the recipe was loaded")
    return sha256
