"""Reads a source distribution without unpacking it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from builder.errors import SourceError
from builder.source.backend import backend_of, frontend_of, pyproject_of

if sys.version_info >= (3, 12):
    import tarfile
else:
    from backports import tarfile

EARLIEST = 315532800
"""1980-01-01, the earliest date of a member of a zip file, and so of a wheel."""
COMPILED = (".c", ".cc", ".cpp", ".cxx", ".pyx", ".rs", ".f", ".f90", ".f77", ".pyf", ".s", ".S")
FORTRAN = (".f", ".f90", ".f77", ".pyf")
_ASIDE = frozenset(
    [
        "test",
        "tests",
        "testing",
        "bench",
        "benches",
        "benchmark",
        "benchmarks",
        "example",
        "examples",
        "doc",
        "docs",
        "fuzz",
        "demo",
        "demos",
    ]
)
_TEXTS = (
    "pyproject.toml",
    "PKG-INFO",
    "setup.py",
    "setup.cfg",
    "CMakeLists.txt",
    "meson.build",
    "Cargo.toml",
)
_TEXT_SUFFIXES = (".cmake", ".sh", ".py")
_LARGEST_TEXT = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Sdist:
    """A source distribution: the names of its files, and the text of those that say how it is built.

    Paths start below the archive's top folder.
    """

    filename: str
    names: tuple[str, ...]
    texts: Mapping[str, str]
    epoch: int

    @cached_property
    def metadata(self) -> Message:
        """The core metadata in ``PKG-INFO``."""
        return Parser().parsestr(self.texts.get("PKG-INFO", ""), headersonly=True)

    @cached_property
    def pyproject(self) -> Mapping[str, Any]:
        """The content of ``pyproject.toml``.

        Raises:
            SourceError: it is not TOML.
        """
        try:
            return pyproject_of(self.texts.get)
        except ValueError as error:
            raise SourceError(f"{self.filename}: pyproject.toml is not valid TOML: {error}") from error

    @property
    def backend(self) -> str:
        return backend_of(self.pyproject)

    @property
    def frontend(self) -> str | None:
        found = frontend_of(self.pyproject, self.texts.get)
        return f"{found}-rust" if found == "setuptools" and self.is_rust else found

    @property
    def is_rust(self) -> bool:
        """Whether the build compiles crates."""
        tools = ("maturin", "setuptools-rust", "setuptools_rust")
        crates = any(name.endswith("Cargo.toml") and not aside(name) for name in self.names)
        return crates and any(tool in one for one in self.requires for tool in tools)

    @property
    def requires(self) -> tuple[str, ...]:
        """The declared build requirements (:pep:`518`)."""
        return tuple(self.pyproject.get("build-system", {}).get("requires", ("setuptools", "wheel")))

    @cached_property
    def compiled(self) -> tuple[str, ...]:
        """The files that a compiler reads, without those of tests, benchmarks and documentation."""
        return tuple(name for name in self.names if name.endswith(COMPILED) and not aside(name))

    @property
    def is_compiled(self) -> bool:
        setup = self.texts.get("setup.py", "")
        return bool(self.compiled) or "cffi_modules" in setup or "ext_modules" in setup

    @property
    def uses_cmake(self) -> bool:
        """Whether the build runs CMake."""
        if self.frontend == "scikit-build-core":
            return True
        lists = any(name.endswith("CMakeLists.txt") and not aside(name) for name in self.names)
        return lists and "cmake" in self.texts.get("setup.py", "").lower()


def aside(name: str) -> bool:
    """Whether a file belongs to tests, benchmarks, examples or documentation."""
    return any(part.lower() in _ASIDE for part in PurePosixPath(name).parts[:-1])


def read_sdist(path: Path) -> Sdist:
    """Read the names and the texts of an archive.

    Raises:
        SourceError: it is no tar archive.
    """
    names, texts, newest = [], {}, EARLIEST
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                inside = member.name.partition("/")[2]
                if not member.isfile() or not inside:
                    continue
                names.append(inside)
                newest = max(newest, int(member.mtime))
                file = archive.extractfile(member) if _is_text(inside, member.size) else None
                if file is not None:
                    texts[inside] = file.read().decode("utf-8", "replace")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise SourceError(f"{path.name} could not be read: {error}") from error
    return Sdist(filename=path.name, names=tuple(names), texts=texts, epoch=newest)


def _is_text(name: str, size: int) -> bool:
    path = PurePosixPath(name)
    if size > _LARGEST_TEXT:
        return False
    if name in ("PKG-INFO", ".cargo/config.toml", ".cargo/config") or path.name in _TEXTS[2:]:
        return True
    if path.match("requirements/*.txt") and len(path.parts) == 2:
        return True
    return path.name == "pyproject.toml" or (path.suffix in _TEXT_SUFFIXES and len(path.parts) <= 3)
