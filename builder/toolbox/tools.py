"""``configs/toolchains.toml``: compilers, Pythons, sysroots and emulators, as written."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from builder.model.base import Frozen
from builder.model.expectations import AllowedCode
from builder.settings import configs_dir, load_toml


class DebianTool(Frozen):
    """Packages of one Debian suite and architecture, unpacked into one folder.

    ``also`` are packages of further suites, by suite. A ``root`` is meant to be entered
    (:mod:`builder.compile.root`): its programs find their libraries where Debian puts them, and nothing is patched.
    """

    kind: Literal["debian"]
    about: str
    suite: str
    architecture: Literal["amd64", "arm64"]
    packages: tuple[str, ...]
    also: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    keep: tuple[str, ...] = ()
    root: bool = False


class PyPITool(Frozen):
    """Wheels from PyPI, unpacked into one folder."""

    kind: Literal["pypi"]
    about: str
    requirements: tuple[str, ...]


Tool = Annotated[DebianTool | PyPITool, Field(discriminator="kind")]


class PythonTool(Frozen):
    """A CPython for one wheel tag: programs that run here, headers for there, and an arm64 userland."""

    identifier: str
    suite: str
    build: tuple[str, ...]
    headers: tuple[str, ...]
    userland: tuple[str, ...]


class Compiler(Frozen):
    """A compiler a recipe may name; its tools' digests enter the compile digest.

    ``allow`` speaks of code that the compiler's own support libraries choose at run time.
    """

    version: str
    tools: tuple[str, ...]
    allow: tuple[AllowedCode, ...] = ()


class Toolchains(Frozen):
    """``configs/toolchains.toml``."""

    tools: dict[str, Tool]
    pythons: dict[str, PythonTool]
    compilers: dict[str, Compiler]


def load_toolchains() -> Toolchains:
    """Read ``configs/toolchains.toml``; raises :class:`ConfigError` with all its faults."""
    return load_toml(Toolchains, configs_dir() / "toolchains.toml")


def python_name(tag: str) -> str:
    """``cp311`` -> ``python3.11``."""
    return f"python{tag[2]}.{tag[3:]}"
