"""The lock files of recipes in ``configs/locks``: where they lie, and the reader of followed branches."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from builder.errors import ConfigError
from builder.model.sources import Followed
from builder.settings import configs_dir


def requirements_lock(recipe: str, purpose: str, tag: str) -> Path:
    """The hashed requirements of a recipe: ``purpose`` is ``build`` or ``tests``."""
    return configs_dir() / "locks" / f"{recipe}-{purpose}-{tag}.txt"


def followed_lock(recipe: str) -> Path:
    """Where the branches and tags that a recipe follows stood when they were pinned."""
    return configs_dir() / "locks" / f"{recipe}-followed.json"


def read_followed(recipe: str) -> dict[str, Followed]:
    """What :func:`refresh_followed` wrote; nothing where it never ran.

    Raises:
        ConfigError: the file has faults.
    """
    path = followed_lock(recipe)
    if not path.is_file():
        return {}
    try:
        return TypeAdapter(dict[str, Followed]).validate_json(path.read_bytes())
    except ValidationError as error:
        raise ConfigError(f"{path}: {error}") from None
