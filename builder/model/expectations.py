"""What the audit expects of a wheel beyond what holds for every wheel. Frozen data."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from builder.model.base import Config, Frozen
from builder.model.extensions import EXTENSION_NAMES

Bytes = Annotated[int, Field(gt=0)]


class AllowedCode(Config):
    """Code that is selected at run time and may hold instructions beyond the target.

    Example::

        [[audit.allow]]
        member = "numpy.libs/libscipy_openblas*"
        symbol = ".*_(NEOVERSE[A-Z0-9]+|A64FX)"
        why = "OpenBLAS selects its kernels by the CPU it finds"
    """

    member: Annotated[str, Field(min_length=1)]
    """Glob over paths in the wheel; an object of a static archive matches with and without its own name."""
    symbol: str | None = None
    """Regular expression for the whole symbol; without this key all code of the member is allowed."""
    unit: str | None = None
    """Glob over the name of the source file that the symbol is local to."""
    why: Annotated[str, Field(min_length=1)]
    """Reason why this code never runs on a CPU that lacks the instructions."""

    @field_validator("symbol")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        return _regular(value)

    def covers_member(self, member: str) -> bool:
        """Whether the rule applies to ``member``; an archive's object is matched with and without its part."""
        return fnmatchcase(member, self.member) or fnmatchcase(member.partition("(")[0], self.member)

    def covers(self, member: str, symbol: str | None, unit: str | None = None) -> bool:
        """Whether the rule allows code of ``symbol`` (``None``: unknown), which is local to ``unit``."""
        if not self.covers_member(member):
            return False
        if self.unit is not None and (unit is None or not fnmatchcase(unit, self.unit)):
            return False
        return self.symbol is None or (symbol is not None and re.fullmatch(self.symbol, symbol) is not None)


class AllowFile(Config):
    """A file of rules for a wheel that no recipe here builds: ``[[allow]]`` tables, as in a recipe's audit."""

    allow: tuple[AllowedCode, ...]
    """Code that is selected at run time and may hold instructions beyond the target."""


class DispatchLibrary(Config):
    """A library that chooses code by the CPU at run time, wherever it is linked in.

    Example::

        [[library]]
        name = "OpenBLAS"
        strings = ["OpenBLAS 0."]
        version_string = "OpenBLAS 0."
        functions = ".*_(NEOVERSE[A-Z0-9]+|A64FX)"
        extensions = ["sve"]
        how = "DYNAMIC_ARCH picks a table of kernels by MIDR_EL1 (driver/others/dynamic_arm64.c)"
    """

    name: Annotated[str, Field(min_length=1)]
    strings: tuple[str, ...] = ()
    """Strings of which a file with the library has one."""
    symbols: tuple[str, ...] = ()
    """Names of functions of which a file with the library has one."""
    version_string: str | None = None
    """Part of the printable string in which the version stands."""
    functions: str | None = None
    """Regular expression for the whole name of a function that it chooses; without it, the code's flow tells."""
    extensions: Annotated[tuple[str, ...], Field(min_length=1)]
    """The extensions whose presence the library tests."""
    how: Annotated[str, Field(min_length=1)]
    """How it tests the CPU, and in which of its source files."""

    @field_validator("functions")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        return _regular(value)

    @field_validator("extensions")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return known_extensions(value)

    @model_validator(mode="after")
    def _recognisable(self) -> DispatchLibrary:
        if not self.strings and not self.symbols:
            raise ValueError("needs strings or symbols by which it is recognised")
        return self

    def chooses(self, symbol: str | None, extension: str) -> bool:
        """Whether a function of that name holds code of an extension that the library tests for.

        Compilers give copies of a function a suffix, such as ``.constprop.0``, which does not count.
        """
        return (
            extension in self.extensions
            and self.functions is not None
            and symbol is not None
            and re.fullmatch(self.functions, symbol.partition(".")[0]) is not None
        )


class DispatchFile(Config):
    """``configs/dispatch.toml``."""

    library: tuple[DispatchLibrary, ...]


class UnoptimizedUnit(Config):
    """Units that are compiled without optimisation on purpose.

    Example::

        [[audit.unoptimized]]
        unit = "src/*_slow_path.c"
        why = "GCC 12 compiles its inline assembly wrongly with -O"
    """

    unit: Annotated[str, Field(min_length=1)]
    """Glob over the unit's name: the path of its source as the audit reports it."""
    why: Annotated[str, Field(min_length=1)]
    """Reason why these units must not be optimised; the audit shows it."""

    def covers(self, unit: str) -> bool:
        """Whether the rule applies to the unit of that name."""
        return fnmatchcase(unit, self.unit)


class AuditSettings(Config):
    """Rules of the audit for this recipe's wheels."""

    allow: tuple[AllowedCode, ...] = ()
    """Code that is selected at run time and may hold instructions beyond the target."""
    unoptimized: tuple[UnoptimizedUnit, ...] = ()
    """Units that may be compiled without ``-O``, or with ``-O0``; the audit refuses any other such unit."""
    max_size_bytes: Bytes | None = None
    """Largest size of the wheel file in bytes; without this key any size passes."""
    flags: tuple[str, ...] | None = None
    """Machine flags that each recorded compile unit must carry; without this key those of the passport."""


class Supplied(Frozen):
    """Shared libraries that another distribution has loaded by the time they are needed.

    ``requirement`` (:pep:`508`) is what the wheel's metadata must require; ``libraries`` are sonames.
    """

    requirement: str
    libraries: tuple[str, ...]


class Expectations(Frozen):
    """What the audit expects of one wheel, put together from its recipe, its compiler and its target.

    ``promises`` are extension names (:data:`builder.model.extensions.EXTENSION_NAMES`) that must occur outside code
    selected at run time. ``unoptimized`` names units that may be compiled without optimisation. ``flags`` are
    machine flags that each recorded compile unit must carry; ``None`` means those of the passport.
    ``baseline_flags`` are what units outside the recipe's hot paths carry instead; ``None`` means that there are no
    such units. ``supplied`` is what the framework of an extension provides.
    ``max_size_bytes`` limits the wheel file.
    """

    allow: tuple[AllowedCode, ...] = ()
    unoptimized: tuple[UnoptimizedUnit, ...] = ()
    promises: tuple[str, ...] = ()
    max_size_bytes: Bytes | None = None
    flags: tuple[str, ...] | None = None
    baseline_flags: tuple[str, ...] | None = None
    supplied: Supplied | None = None

    @field_validator("promises")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return known_extensions(value)


def known_extensions(names: tuple[str, ...]) -> tuple[str, ...]:
    """The same names.

    Raises:
        ValueError: one of them is no extension that the audit tells apart.
    """
    unknown = sorted(set(names) - set(EXTENSION_NAMES))
    if unknown:
        raise ValueError(f"no such extension: {', '.join(unknown)}; known are {', '.join(EXTENSION_NAMES)}")
    return names


def _regular(value: str | None) -> str | None:
    """The same text, or None.

    Raises:
        ValueError: it is no regular expression.
    """
    if value is not None:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
    return value
