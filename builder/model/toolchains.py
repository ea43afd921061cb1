"""``configs/toolchains.toml``: compilers, Pythons, sysroots and emulators. Frozen data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from builder.model.base import GLIBC_PATTERN, Config, Name, PythonTag
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
    closure_beside: Name | None = None
    """Part of the same suite whose packages count as installed: `armwheels lock` pins all else that these need."""
    keep: tuple[str, ...] = ()
    """Members to unpack; without this key all are unpacked."""
    root: bool = False
    """Whether programs run with this folder as their root, so that no library path in them is changed."""
    arm64: Literal["same"] | tuple[str, ...] | None = None
    """Packages of the part for arm64 hosts, ``same`` for the same names; without it they lack the part."""


class PyPITool(Config):
    """Wheels from PyPI in one folder."""

    kind: Literal["pypi"]
    """Selects this kind of part."""
    about: str
    """One line about the part, for readers of the file."""
    requirements: tuple[str, ...]
    """Requirements (:pep:`508`) that name the wheels, without their dependencies."""
    arm64: bool = False
    """Whether wheels for arm64 hosts are pinned, too."""


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


class FortranTool(Config):
    """The Fortran compiler of a release of GCC."""

    part: str
    """Part of the toolbox with the compiler, without assembler and linker."""
    library: str
    """Part of the toolbox with the libgfortran to link with: the one of the sysroot's release."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Both parts; their hashes enter the compile digest of recipes with Fortran."""
        return (self.part, self.library)


class GnuCompiler(Config):
    """A release of GCC, over the C library and the libstdc++ of an older Debian."""

    kind: Literal["gnu"]
    """Selects this kind of compiler."""
    version: str
    """Version of the compiler, which selects its flags in ``targets.toml``; programs have its first number."""
    part: str
    """Part of the toolbox with the compiler and the binutils."""
    sysroot: str
    """Part of the toolbox with the C library and libstdc++ that wheels are linked with."""
    libstdcxx: Annotated[int, Field(gt=0)]
    """Release of GCC that the sysroot's libstdc++ belongs to."""
    glibc: Annotated[str, Field(pattern=GLIBC_PATTERN)]
    """Version of the sysroot's C library."""
    licences: tuple[str, ...]
    """Parts of the toolbox with the licences of the sysroot's libraries; they enter the wheel digest."""
    fortran: FortranTool | None = None
    """Fortran compiler of the release, for recipes with ``fortran = true``."""
    cpus: dict[Name, str] = Field(default_factory=dict)
    """Value of ``-mcpu`` by target where ``targets.toml`` has another: an older name, or a lesser CPU."""
    allow: tuple[AllowedCode, ...] = ()
    """Code of the compiler's support libraries that is selected at run time."""

    @property
    def tools(self) -> tuple[str, ...]:
        """Parts of the toolbox whose hashes enter the compile digest of every recipe."""
        return (self.part, self.sysroot)


class ZigCompiler(Config):
    """A release of zig: clang, with a C library of any version and a C++ library of its own."""

    kind: Literal["zig"]
    """Selects this kind of compiler."""
    version: str
    """Version of the compiler, which selects its flags in ``targets.toml``."""
    part: str
    """Part of the toolbox with the compiler."""
    libgcc: str
    """Part of the toolbox with a ``libgcc.a``, whose helper functions replace those of zig."""
    libgcc_release: Annotated[int, Field(gt=0)]
    """Release of GCC that this ``libgcc.a`` belongs to."""
    cpus: dict[Name, str] = Field(default_factory=dict)
    """Value of ``-mcpu`` by target where ``targets.toml`` has another: an older name, or a lesser CPU."""
    allow: tuple[AllowedCode, ...] = ()
    """Code of the compiler's support libraries that is selected at run time."""

    @property
    def tools(self) -> tuple[str, ...]:
        """Parts of the toolbox whose hashes enter the compile digest of every recipe."""
        return (self.part, self.libgcc)

    @property
    def fortran(self) -> None:
        """zig has no Fortran compiler."""


CompilerTable = Annotated[GnuCompiler | ZigCompiler, Field(discriminator="kind")]


class RustTool(Config):
    """The Rust compiler, which every recipe with Rust uses."""

    version: str
    """Version of rustc."""
    part: str
    """Part of the toolbox with rustc, cargo and the standard library for this machine."""
    library: str
    """Part of the toolbox with the standard library for arm64, of the same release."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Both parts; their hashes enter the compile digest of recipes with Rust."""
        return (self.part, self.library)


class MeasuredLibrary(Config):
    """A shared library of Debian that `armwheels libraries` measures: the pinned release and others."""

    about: str
    """One line about the library, for readers of the file."""
    part: str
    """Part of the toolbox with the release that recipes pin."""
    others: Annotated[tuple[str, ...], Field(min_length=1)]
    """Parts of the toolbox with other releases to hold beside it."""
    files: Annotated[tuple[str, ...], Field(min_length=1)]
    """Globs of the shared libraries in each part, named as programs load them."""
    program: str
    """Script in ``builder/wheel_benches`` with the workloads."""
    package: Annotated[str, Field(pattern=r"^[a-z_0-9]+$")]
    """Python package that the script imports; its folder ``lib`` gets the files."""
    driver: str | None = None
    """Source in ``builder/wheel_benches`` that calls what ctypes cannot: C, or C++ with ``headers``."""
    headers: tuple[str, ...] = ()
    """Folders in each part with the headers of the library."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The pinned release first."""
        return (self.part, *self.others)


class Toolchains(Config):
    """``configs/toolchains.toml``: what the toolbox fetches; ``toolchains.lock`` pins each file by sha256."""

    tools: dict[Name, Tool]
    """Parts of the toolbox."""
    pythons: dict[PythonTag, PythonTool]
    """Pythons by wheel tag, such as ``cp313``."""
    compilers: dict[Name, CompilerTable]
    """Compilers by the name that recipes use."""
    rust: RustTool | None = None
    """The Rust compiler."""
    libraries: dict[Name, MeasuredLibrary] = Field(default_factory=dict)
    """Libraries that `armwheels libraries` measures."""

    @property
    def rust_parts(self) -> tuple[str, ...]:
        """The parts of the Rust compiler, if there is one."""
        return self.rust.parts if self.rust is not None else ()

    @model_validator(mode="after")
    def _libraries_are_parts_of_debian(self) -> Toolchains:
        for name, library in self.libraries.items():
            for part in library.parts:
                if part not in self.tools or self.tools[part].kind != "debian":
                    raise ValueError(f"libraries.{name}: `{part}` is no part with packages of Debian")
        return self

    @model_validator(mode="after")
    def _closures_stand_on_parts_of_their_suite(self) -> Toolchains:
        for name, tool in self.tools.items():
            if not isinstance(tool, DebianTool) or tool.closure_beside is None:
                continue
            base = self.tools.get(tool.closure_beside)
            if not isinstance(base, DebianTool) or (base.suite, base.architecture) != (
                tool.suite,
                tool.architecture,
            ):
                raise ValueError(
                    f"tools.{name}: `closure_beside` needs a part of {tool.suite} for {tool.architecture}"
                )
            if tool.also:
                raise ValueError(f"tools.{name}: `closure_beside` is for packages of one suite alone")
        return self
