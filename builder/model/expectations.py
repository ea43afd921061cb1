"""What the audit expects of a wheel beyond what holds for every wheel. Frozen data."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field, field_validator

from builder.model.base import Frozen
from builder.model.extensions import EXTENSION_NAMES


class AllowedCode(Frozen):
    """Code chosen at run time, which may hold instructions beyond the target.

    In a recipe::

        [[audit.allow]]
        member = "numpy.libs/libscipy_openblas*"
        symbol = ".*_(NEOVERSE[A-Z0-9]+|A64FX)"
        why = "OpenBLAS picks its kernels by the CPU it finds"

    A compile unit that is built for one choice is named by ``unit``: its functions that no other unit sees.
    """

    member: Annotated[str, Field(min_length=1, description="glob over paths in the wheel")]
    symbol: Annotated[
        str | None,
        Field(description="regular expression for the whole symbol; without it, all code of the member"),
    ] = None
    unit: Annotated[
        str | None,
        Field(description="glob over the name of the source file that the code's symbol is local to"),
    ] = None
    why: Annotated[str, Field(min_length=1)]

    @field_validator("symbol")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
        return value

    def covers_member(self, member: str) -> bool:
        """Whether the rule speaks of ``member``; an archive's object is matched with and without its part."""
        return fnmatchcase(member, self.member) or fnmatchcase(member.partition("(")[0], self.member)

    def covers(self, member: str, symbol: str | None, unit: str | None = None) -> bool:
        """Whether the rule allows code of ``symbol`` (``None``: none is known there), local to ``unit``."""
        if not self.covers_member(member):
            return False
        if self.unit is not None and (unit is None or not fnmatchcase(unit, self.unit)):
            return False
        return self.symbol is None or (symbol is not None and re.fullmatch(self.symbol, symbol) is not None)


class Supplied(Frozen):
    """Shared libraries that another distribution has loaded by the time they are needed; sonames.

    ``requirement`` (:pep:`508`) is what the wheel's metadata must ask for to be sure of them.
    """

    requirement: str
    libraries: tuple[str, ...]


class Expectations(Frozen):
    """What a recipe promises of its wheels, beyond what holds for every wheel.

    ``promises`` are extension names (:data:`builder.model.extensions.EXTENSION_NAMES`) that must be seen at
    least once outside code chosen at run time. ``flags`` are machine flags each recorded compile unit must
    carry; without it the passport's are expected. ``baseline_flags`` are those that units outside a recipe's
    hot paths carry instead; without it there are no such units. ``supplied`` is what a framework's extension
    leans on. ``max_size_bytes`` limits the wheel file.
    """

    allow: tuple[AllowedCode, ...] = ()
    promises: tuple[str, ...] = ()
    max_size_bytes: Annotated[int, Field(gt=0)] | None = None
    flags: tuple[str, ...] | None = None
    baseline_flags: tuple[str, ...] | None = None
    supplied: Supplied | None = None

    @field_validator("promises")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(value) - set(EXTENSION_NAMES))
        if unknown:
            raise ValueError(
                f"no such extension: {', '.join(unknown)}; known are {', '.join(EXTENSION_NAMES)}"
            )
        return value
