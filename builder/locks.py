"""Paths of the lock files of recipes, and the reader of pinned branches and tags."""

from __future__ import annotations

import json
from pathlib import Path

from builder.errors import ConfigError
from builder.folders import lock_folder
from builder.model.sources import Followed
from builder.settings import validate_tables


def requirements_lock(recipe: str, purpose: str, tag: str) -> Path:
    """The file with the hashed requirements of a recipe; ``purpose`` is ``build`` or ``tests``."""
    return lock_folder(recipe) / f"{recipe}-{purpose}-{tag}.txt"


def followed_lock(recipe: str) -> Path:
    """The file with the pinned commits of the branches and tags that a recipe follows."""
    return lock_folder(recipe) / f"{recipe}-followed.json"


def read_followed(recipe: str) -> dict[str, Followed]:
    """The pinned commits of a recipe by the keys of its ``follows``; empty if nothing is pinned.

    Raises:
        ConfigError: the file has faults.
    """
    path = followed_lock(recipe)
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from error
    return validate_tables(Followed, data, origin=str(path))
