"""``configs/matrices.toml``: which cells are built. Frozen data."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from builder.model.base import Frozen, Name, PythonTag


class Cells(Frozen):
    """A block of a matrix: the product of its lists."""

    recipe: Name
    versions: Annotated[tuple[str, ...], Field(min_length=1)]
    pythons: Annotated[tuple[PythonTag, ...], Field(min_length=1)]
    targets: Annotated[tuple[Name, ...], Field(min_length=1)]
    backends: Annotated[tuple[Name, ...], Field(min_length=1)]
    required: bool = False


class Matrix(Frozen):
    """One table of ``configs/matrices.toml``.

    Where it is ``closed``, a night takes in what its wheels depend on, too: one ``--index-url`` is enough.
    """

    description: str
    closed: bool = False
    cells: Annotated[tuple[Cells, ...], Field(min_length=1)]


class Matrices(Frozen):
    """``configs/matrices.toml``: each matrix by its name."""

    matrices: dict[str, Matrix]
