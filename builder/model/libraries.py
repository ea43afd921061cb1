"""Libraries that a recipe links: from wheels, relinked, built from source, or a framework's. Frozen data."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from builder.model.base import Config, Name, PythonTag, Sha256
from builder.model.expectations import Supplied
from builder.model.sources import VersionSource


class WheelDependency(Config):
    """A prebuilt library from a PyPI wheel, found by pkg-config.

    The passport marks it as machine code that others compiled.
    """

    name: str
    """Project name on PyPI."""
    version: str
    """Version of the wheel."""
    filename: str
    """File name of the wheel as the index lists it."""
    sha256: Sha256
    """sha256 of the wheel."""
    libraries: str
    """Folder of the shared libraries inside the wheel."""
    headers: str
    """Folder of the headers inside the wheel."""
    pkg_config: str
    """Name of the pkg-config module to write for the build."""
    link: str
    """Linker options of the pkg-config module, without ``-L``."""
    cflags: tuple[str, ...] = ()
    """Compiler options of the pkg-config module, without ``-I``."""
    licence: str
    """Licence as an SPDX expression."""
    licence_files: tuple[str, ...]
    """Licence texts, as paths inside the wheel."""


class FrameworkWheel(Config):
    """A framework's wheel for one Python."""

    filename: str
    """File name of the wheel as the index lists it."""
    sha256: Sha256
    """sha256 of the wheel."""


class Framework(Config):
    """The framework that this recipe extends, as a PyPI wheel to compile and link against.

    Nothing of it is copied. The extension's metadata requires exactly this version; the audit checks that.
    """

    name: str
    """Project name on PyPI."""
    version: str
    """Version of the wheel."""
    filename: str
    """File name of the wheel as the index lists it."""
    sha256: Sha256
    """sha256 of the wheel."""
    headers: Annotated[tuple[str, ...], Field(min_length=1)]
    """Folders of headers inside the wheel."""
    libraries: Annotated[tuple[str, ...], Field(min_length=1)]
    """Shared libraries inside the wheel that the extension may need; the framework has loaded them before."""
    pythons: dict[PythonTag, FrameworkWheel] = Field(default_factory=dict)
    """The framework's wheels for other Pythons than that of ``filename``."""

    def on(self, python: str) -> Framework:
        """The framework as it is for one Python: with that Python's wheel, and no other."""
        wheel = self.pythons.get(python)
        chosen = wheel.model_dump() if wheel else {}
        return self.model_copy(update={**chosen, "pythons": {}})

    @property
    def requirement(self) -> str:
        """What the extension's metadata must require (:pep:`508`)."""
        return f"{self.name}=={self.version}"

    @property
    def supplied(self) -> Supplied:
        """The shared libraries that an extension's wheel may need without holding them."""
        sonames = tuple(library.rsplit("/", 1)[-1] for library in self.libraries)
        return Supplied(requirement=self.requirement, libraries=sonames)


class StaticDependency(Config):
    """A static library from the toolbox, linked into a shared one.

    It is linked against the target's sysroot, so that it needs no newer C library than the wheel's tag allows. The
    passport marks it as machine code that others compiled.
    """

    name: str
    """Name of the library in the build's paths."""
    part: str
    """Part of the toolbox that holds the library."""
    package: str
    """Debian package of the part whose version and hash the passport states."""
    archive: str
    """Glob over static libraries inside the part; all matches make one shared library."""
    headers: str
    """Folder of the headers inside the part."""
    soname: str
    """soname of the shared library."""
    link: tuple[str, ...] = ()
    """Linker options; ``{library:NAME}`` stands for the folder of a library from ``built``."""
    licence: str
    """Licence as an SPDX expression."""
    licence_files: tuple[str, ...]
    """Licence texts, as paths inside the part."""


class BuiltDependency(Config):
    """A library that CMake builds from source, for the baseline CPU.

    It selects its kernels at run time. No target's flags reach it, so that all targets share one result.
    """

    name: Name
    """Name of the library, for ``{library:NAME}``."""
    version: str
    """Version of the library."""
    source: VersionSource
    """Source of the library."""
    options: tuple[str, ...] = ()
    """CMake options."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    """CMake targets to build."""
    libraries: Annotated[tuple[str, ...], Field(min_length=1)]
    """Shared libraries to take, as paths in the build folder."""
    headers: dict[str, str]
    """Folders of the source, each with its name among the include folders; ``.`` puts the content at the top."""
    licence: str
    """Licence as an SPDX expression."""
    licence_files: Annotated[tuple[str, ...], Field(min_length=1)]
    """Licence texts, as paths in the source."""


class Backend(Config):
    """A mathematics library that the recipe can be built with; ``none`` where it has none."""

    default: bool = False
    """Whether this is the default backend, which wheel versions do not name; exactly one is."""
    licensed: Annotated[str | None, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] = None
    """Environment variable that names the user's copy of a licensed library; such wheels are never published."""
    options: tuple[str, ...] = ()
    """Build options of this backend, after those of the recipe and the version."""
    dependencies: tuple[WheelDependency, ...] = ()
    """Prebuilt libraries from PyPI wheels."""
    relinked: tuple[StaticDependency, ...] = ()
    """Static libraries from the toolbox, linked into shared ones."""
    built: tuple[BuiltDependency, ...] = ()
    """Libraries that CMake builds from source."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Environment variables of this backend; they replace those of the recipe and the version."""

    @property
    def all(self) -> tuple[WheelDependency | StaticDependency | BuiltDependency, ...]:
        """The libraries of every kind."""
        return (*self.dependencies, *self.relinked, *self.built)
