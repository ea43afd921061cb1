"""``configs/toolchains.toml``: compilers, Pythons, sysroots and emulators. Frozen data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from builder.model.base import Config, Name, PythonTag
from builder.model.expectations import AllowedCode


class DebianTool(Config):
    """Packages of one Debian suite and architecture in one folder."""

    kind: Literal["debian"]
    """Selects this kind of part."""
    about: str
    """One line about the part, for readers of the file."""
    suite: str
    """Debian suite, such as ``bookworm``."""
    architecture: Literal["amd64", "arm64"]
    """Debian architecture of the packages."""
    packages: tuple[str, ...]
    """Names of the packages."""
    also: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Names of further packages by suite."""
    keep: tuple[str, ...] = ()
    """Members to unpack; without this key all are unpacked."""
    root: bool = False
    """Whether programs run with this folder as their root, so that no library path in them is changed."""


class PyPITool(Config):
    """Wheels from PyPI in one folder."""

    kind: Literal["pypi"]
    """Selects this kind of part."""
    about: str
    """One line about the part, for readers of the file."""
    requirements: tuple[str, ...]
    """Requirements (:pep:`508`) that name the wheels, without their dependencies."""


Tool = Annotated[DebianTool | PyPITool, Field(discriminator="kind")]


class PythonTool(Config):
    """A CPython to build with here, its arm64 headers, and an arm64 userland for emulation."""

    identifier: str
    """Identifier of cibuildwheel for this Python and platform."""
    suite: str
    """Debian suite of all packages below."""
    build: tuple[str, ...]
    """amd64 packages of the Python that runs the build."""
    headers: tuple[str, ...]
    """arm64 packages of the headers and the sysconfig data."""
    userland: tuple[str, ...]
    """arm64 packages of the Python that runs under emulation."""


class Compiler(Config):
    """A compiler that a recipe may select."""

    version: str
    """Version of the compiler, which selects its flags in ``targets.toml``."""
    tools: tuple[str, ...]
    """Parts of the toolbox that make up the compiler; their hashes enter the compile digest."""
    allow: tuple[AllowedCode, ...] = ()
    """Code of the compiler's support libraries that is selected at run time."""


class Toolchains(Config):
    """``configs/toolchains.toml``: what the toolbox fetches; ``toolchains.lock`` pins each file by sha256."""

    tools: dict[Name, Tool]
    """Parts of the toolbox."""
    pythons: dict[PythonTag, PythonTool]
    """Pythons by wheel tag, such as ``cp311``."""
    compilers: dict[Name, Compiler]
    """Compilers by the name that recipes use."""
