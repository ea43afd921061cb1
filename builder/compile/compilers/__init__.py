"""The kinds of compilers, one file each; :class:`~builder.compile.compilers.base.Compiler` lists all that a file
must answer. A table ``[compilers.NAME]`` of ``configs/toolchains.toml`` makes a compiler of one kind and release.
"""

from __future__ import annotations

from collections.abc import Mapping

from builder.compile.compilers.base import Compiler
from builder.compile.compilers.gnu import Gnu
from builder.compile.compilers.zig import Zig
from builder.errors import ConfigError
from builder.model.build import Build
from builder.model.toolchains import CompilerTable, GnuCompiler
from builder.settings import there_are
from builder.toolbox.toolbox import Toolbox


def compiler_named(name: str, tables: Mapping[str, CompilerTable]) -> Compiler:
    """The compiler of that name; ``tables`` are those of ``toolchains.toml``.

    Raises:
        ConfigError: there is none; the message suggests the nearest name.
    """
    if name not in tables:
        raise ConfigError(f"no compiler '{name}'; {there_are(name, tables)}")
    table = tables[name]
    return Gnu(name, table) if isinstance(table, GnuCompiler) else Zig(name, table)


def compiler_of(build: Build, toolbox: Toolbox) -> Compiler:
    """The compiler of a build."""
    return compiler_named(build.compiler, toolbox.toolchains.compilers)
