"""Base classes of the models, and field types that several of them share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """Base of all data between stages: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Config(Frozen):
    """Base of the tables of ``configs/``.

    The docstring below each attribute becomes its description in the JSON schema, from which ``docs/reference`` is
    generated.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)


NAME_PATTERN = r"^[a-z0-9]+(-[a-z0-9]+)*$"
GLIBC_PATTERN = r"^2\.[0-9]+$"
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=64)]
PythonTag = Annotated[str, Field(pattern=r"^cp3[0-9]+t?$")]
