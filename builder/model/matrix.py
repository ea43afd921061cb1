"""``configs/matrices.toml``: which cells are built. Frozen data."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from builder.model.base import Config, Name, PythonTag


class Cells(Config):
    """A block of cells, the product of its lists."""

    recipe: Name
    """Recipe to build, by its file name in ``configs/recipes``."""
    versions: Annotated[tuple[str, ...], Field(min_length=1)]
    """Versions of the recipe, or names of its ``[follows]`` tables."""
    newest: Annotated[int, Field(ge=1)] = 1
    """How many versions ``armwheels recipe update`` leaves in ``versions``: older ones leave the matrix."""
    pythons: Annotated[tuple[PythonTag, ...], Field(min_length=1)]
    """Python tags of ``toolchains.toml``, such as ``cp313``."""
    targets: Annotated[tuple[Name, ...], Field(min_length=1)]
    """CPU targets of ``targets.toml``, by name or alias."""
    backends: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Backends of the recipe."""
    required: bool = False
    """Whether a missing wheel of this block keeps the channel where it is."""


class Matrix(Config):
    """One table of ``configs/matrices.toml``: a named list of cells."""

    description: str
    """One line about the matrix, for readers of the file."""
    closed: bool = False
    """Whether a nightly run also mirrors the wheels' dependencies, so that one ``--index-url`` is enough."""
    cells: Annotated[tuple[Cells, ...], Field(min_length=1)]
    """Blocks of cells."""
