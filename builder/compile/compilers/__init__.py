"""The compilers that recipes may name, one file each; :class:`~builder.compile.compilers.base.Compiler` lists all
that a file must answer. ``configs/toolchains.toml`` says which release of each compiler is used.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from builder.compile.compilers.base import Compiler
from builder.compile.compilers.gcc import GCC
from builder.compile.compilers.zig import ZIG
from builder.errors import ConfigError

COMPILERS: Mapping[str, Compiler] = {compiler.name: compiler for compiler in (GCC, ZIG)}


def compiler_named(name: str) -> Compiler:
    """The compiler of that name.

    Raises:
        ConfigError: there is none; the message suggests the nearest name.
    """
    if name not in COMPILERS:
        near = difflib.get_close_matches(name, COMPILERS, n=1)
        advice = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(sorted(COMPILERS))}"
        raise ConfigError(f"no compiler '{name}'; {advice}")
    return COMPILERS[name]
