"""The stage numbers of compiling: each is raised by hand when the same inputs would give another raw wheel."""

from __future__ import annotations

from collections.abc import Mapping

from builder.compile.bazel_command import BAZEL_VERSION
from builder.compile.compilers import compiler_named
from builder.compile.compilers.base import WRAPPER_VERSION
from builder.compile.container import CONTAINER_VERSION
from builder.compile.cross import CROSS_VERSION
from builder.compile.frontends import SETUPTOOLS_VERSION
from builder.compile.rust import RUST_VERSION
from builder.model.toolchains import CompilerTable


def compile_stages(tables: Mapping[str, CompilerTable]) -> dict[str, int]:
    """Stage numbers as they enter compile digests: ``compile``, and frontends and compilers by their names."""
    named = {name: compiler_named(name, tables).stage for name in tables}
    compilers = {name: stage for name, stage in named.items() if stage is not None}
    frontends = {
        "bazel": BAZEL_VERSION,
        "setuptools": SETUPTOOLS_VERSION,
        "rust": RUST_VERSION,
        "cibuildwheel": CONTAINER_VERSION,
    }
    return {**compilers, "compile": combined(CROSS_VERSION, WRAPPER_VERSION), **frontends}


def combined(driver: int, wrapper: int) -> int:
    """One stage number for two: different pairs give different numbers.

    Raises:
        ValueError: ``wrapper`` is not below 100, so that (1, 100) and (2, 0) would be the same.
    """
    if driver < 1 or not 0 <= wrapper < 100:
        raise ValueError(
            f"stage numbers {driver} and {wrapper} cannot be combined: the second must be below 100"
        )
    return driver * 100 + wrapper
