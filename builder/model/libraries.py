"""Libraries a recipe links: from wheels, linked anew, built from source, or a framework's. Frozen data."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from builder.model.base import Frozen, Name, Sha256
from builder.model.expectations import Supplied
from builder.model.sources import VersionSource


class WheelDependency(Frozen):
    """A library taken ready-made from a wheel of PyPI, and described to the build by pkg-config.

    ``libraries`` and ``headers`` are folders inside the wheel. It is machine code that others compiled, and the
    passport says so.
    """

    name: str
    version: str
    filename: str
    sha256: Sha256
    libraries: str
    headers: str
    pkg_config: str
    link: str
    cflags: tuple[str, ...] = ()
    licence: str
    licence_files: tuple[str, ...]


class Framework(Frozen):
    """The framework a recipe extends: a wheel of PyPI to compile and link against, of which nothing is copied.

    ``headers`` are folders inside the wheel, ``libraries`` the shared libraries there that an extension may need:
    the framework has loaded them before. The extension's own metadata requires this version, so that an installer
    brings it; the audit sees to that.
    """

    name: str
    version: str
    filename: str
    sha256: Sha256
    headers: Annotated[tuple[str, ...], Field(min_length=1)]
    libraries: Annotated[tuple[str, ...], Field(min_length=1)]

    @property
    def requirement(self) -> str:
        """What the extension's metadata must ask for (:pep:`508`)."""
        return f"{self.name}=={self.version}"

    @property
    def supplied(self) -> Supplied:
        """What an extension's wheel may lean on without holding it."""
        sonames = tuple(library.rsplit("/", 1)[-1] for library in self.libraries)
        return Supplied(requirement=self.requirement, libraries=sonames)


class StaticDependency(Frozen):
    """A static library of a part of the toolbox, linked anew into a shared one against the target's own sysroot.

    Machine code that others compiled, and the passport says so; but what it needs of the C library is what the
    sysroot has, so that it runs where the wheel's tag says. ``archive`` (a glob; all that fit make one library) and
    ``headers`` are paths inside the part. ``{library:NAME}`` in ``link`` is a folder, as in build settings.
    """

    name: str
    part: str
    package: str
    archive: str
    headers: str
    soname: str
    link: tuple[str, ...] = ()
    licence: str
    licence_files: tuple[str, ...]


class BuiltDependency(Frozen):
    """A library built from its own source by CMake, for the baseline: it picks its kernels at run time.

    No target's flags reach it, so all targets share the one result. ``targets`` are what CMake is to build,
    ``libraries`` what comes of it (paths in the build folder), ``headers`` folders of the source, each by the name
    it has among include folders (``.`` for one whose own content belongs there).
    """

    name: Name
    version: str
    source: VersionSource
    options: tuple[str, ...] = ()
    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    libraries: Annotated[tuple[str, ...], Field(min_length=1)]
    headers: dict[str, str]
    licence: str
    licence_files: Annotated[tuple[str, ...], Field(min_length=1)]


class Backend(Frozen):
    """One mathematics library a recipe can be built with.

    ``licensed`` is the variable that names the user's own copy of a library which may not be passed on: without it
    there is no such build, and what is built stays on this machine.
    """

    default: bool = False
    licensed: Annotated[str | None, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] = None
    options: tuple[str, ...] = ()
    dependencies: tuple[WheelDependency, ...] = ()
    relinked: tuple[StaticDependency, ...] = ()
    built: tuple[BuiltDependency, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)
