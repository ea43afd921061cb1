"""Guesses about a project: the system libraries that it links, and its licence. Pure.

Each guess is a sentence that names where it comes from, for a comment of the recipe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from builder.model.toolchains import DebianTool, Toolchains
from builder.recipes.sdist import Sdist, aside

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "yaml": ("libyaml-dev",),
    "ffi": ("libffi-dev",),
    "z": ("zlib1g-dev",),
    "bz2": ("libbz2-dev",),
    "lzma": ("liblzma-dev",),
    "zstd": ("libzstd-dev",),
    "lz4": ("liblz4-dev",),
    "jpeg": ("libjpeg62-turbo-dev",),
    "png": ("libpng-dev",),
    "tiff": ("libtiff-dev",),
    "webp": ("libwebp-dev",),
    "freetype": ("libfreetype-dev",),
    "xml2": ("libxml2-dev",),
    "xslt": ("libxslt1-dev",),
    "ssl": ("libssl-dev",),
    "crypto": ("libssl-dev",),
    "sqlite3": ("libsqlite3-dev",),
    "curl": ("libcurl4-openssl-dev",),
    "pq": ("libpq-dev",),
    "gmp": ("libgmp-dev",),
    "hdf5": ("libhdf5-dev",),
    "geos_c": ("libgeos-dev",),
    "blas": ("libblas-dev",),
    "lapack": ("liblapack-dev",),
}
"""The Debian packages with the headers of a library, by its name for the linker."""
_LINKED = re.compile(r"\blibraries\b[^=\n]{0,20}=\s*\[([^\]]*)\]")
_CONFIG = re.compile(r"\b(xml2|xslt|curl|freetype|pq|geos)-config\b")
_QUOTED = re.compile(r"[\"']([A-Za-z0-9_+.-]+)[\"']")
_MESON = re.compile(r"\bdependency\(\s*'([A-Za-z0-9_+.-]+)'")
_CMAKE = re.compile(r"\bfind_package\(\s*([A-Za-z0-9_]+)", re.IGNORECASE)
_OTHER_NAMES = {
    "yaml-0.1": "yaml",
    "libffi": "ffi",
    "zlib": "z",
    "libjpeg": "jpeg",
    "libpng": "png",
    "liblzma": "lzma",
    "bzip2": "bz2",
    "libxml-2.0": "xml2",
    "libxslt": "xslt",
    "libzstd": "zstd",
    "openssl": "ssl",
    "libcurl": "curl",
    "libxml2": "xml2",
    "freetype2": "freetype",
}
_GRAFTED = re.compile(r"\.libs/lib([A-Za-z0-9_+]+?)(-[0-9a-f]{8})?[-.0-9]*\.so")


@dataclass(frozen=True, kw_only=True)
class LibraryGuess:
    """A library that the project may link: its name, where that was seen, and the part with its headers."""

    name: str
    seen: str
    part: str | None

    @property
    def packages(self) -> tuple[str, ...]:
        return PACKAGES[self.name]


def guess_libraries(
    sdist: Sdist, wheel_members: Iterable[str], toolchains: Toolchains
) -> tuple[LibraryGuess, ...]:
    """The system libraries that the build files name, or that PyPI's wheel contains."""
    seen: dict[str, str] = {}
    for member in wheel_members:
        if match := _GRAFTED.search(member):
            seen.setdefault(_plain(match[1]), f"PyPI's wheel has {member.rsplit('/', 1)[-1]}")
    for name, text in sdist.texts.items():
        # The project says which libraries its Meson subprojects look for, and their defaults do not count.
        if aside(name) or name.startswith("subprojects/"):
            continue
        for found in _named(name, text):
            seen.setdefault(_plain(found), f"{name} names {found}")
    return tuple(
        LibraryGuess(name=name, seen=where, part=_part(PACKAGES[name], toolchains))
        for name, where in sorted(seen.items())
        if name in PACKAGES
    )


def _named(name: str, text: str) -> Iterable[str]:
    if "/" not in name and name.endswith((".py", ".cfg")):
        linked = [library for group in _LINKED.findall(text) for library in _QUOTED.findall(group)]
        return [*linked, *_CONFIG.findall(text)]
    if name.endswith("meson.build"):
        return _MESON.findall(text)
    return _CMAKE.findall(text) if name == "CMakeLists.txt" else ()


def _plain(name: str) -> str:
    lower = name.lower()
    return _OTHER_NAMES.get(lower, lower)


def _part(packages: tuple[str, ...], toolchains: Toolchains) -> str | None:
    """The part of the toolbox that has the headers for the target."""
    for name, tool in toolchains.tools.items():
        if (
            isinstance(tool, DebianTool)
            and tool.architecture == "arm64"
            and set(packages) <= set(tool.packages)
        ):
            return name
    return None


def guess_licence(sdist: Sdist) -> str:
    """The licence of the project as its metadata states it."""
    metadata = sdist.metadata
    if stated := metadata.get("License-Expression"):
        return f"{stated} (License-Expression)"
    classifiers = [
        one.rsplit(" :: ", 1)[-1]
        for one in metadata.get_all("Classifier", [])
        if one.startswith("License ::")
    ]
    if classifiers:
        return f"{', '.join(classifiers)} (classifiers)"
    first = (metadata.get("License") or "").strip().splitlines()
    return f"{first[0][:80]} (License)" if first else "not stated by the metadata"
