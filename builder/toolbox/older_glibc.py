"""A sysroot as an older glibc would show it, for wheels that run on systems older than the sysroot's own.

A linker gives each reference the version that the library marks as the default: against glibc 2.31 ``exp`` becomes
``exp@GLIBC_2.29``, which no older system has. The library still has ``exp@GLIBC_2.17``. A copy of the sysroot marks
the newest version of each symbol that the older glibc has as well (bit 15 of an entry of ``.gnu.version``: Linux
Standard Base, "Symbol Versioning"). A symbol without such a version cannot be linked, as on the older system, so
that configuration checks do not find it. ``__GLIBC_PREREQ`` answers as there (``features.h``).
"""

from __future__ import annotations

import os
import re
import shutil
import struct
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerSymSection
from elftools.elf.sections import SymbolTableSection

from builder.errors import ToolboxError
from builder.whole import create_once

_CONTENT = 1
"""Raise this by hand when the same sysroot would give another copy. It is part of the copy's name."""
_HIDDEN = 0x8000
_GLIBC = re.compile(r"GLIBC_2\.([0-9]+)(?:\.[0-9]+)?")
# glibc 2.31 took pointers where older versions took values (its NEWS): headers and older versions disagree.
_OTHER_ARGUMENTS = re.compile(r"totalorder(mag)?(f|l|f[0-9]+x?)?")
_MINOR = re.compile(rb"^(#define\s+__GLIBC_MINOR__\s+)([0-9]+)$", re.MULTILINE)
_LIBRARIES = "lib/aarch64-linux-gnu"
_FEATURES = "usr/include/features.h"


def with_older_glibc(sysroot: Path, glibc: str) -> Path:
    """Return a copy of ``sysroot`` that links and compiles as ``glibc`` would, such as ``2.28``; made once.

    All other files of the copy are hard links to the sysroot's.

    Raises:
        ToolboxError: the sysroot's glibc is older than ``glibc``, or the sysroot has none.
    """
    minor = int(glibc.removeprefix("2."))

    def make(copy: Path) -> None:
        shutil.copytree(sysroot, copy, symlinks=True, copy_function=os.link)
        _lower_macro(copy / _FEATURES, minor)
        for library in sorted((copy / _LIBRARIES).iterdir()):
            if library.is_file() and not library.is_symlink():
                _lower_library(library, minor)

    return create_once(sysroot.with_name(f"{sysroot.name}-glibc-{glibc}-{_CONTENT}"), make)


def _lower_macro(features: Path, minor: int) -> None:
    found = _MINOR.search(features.read_bytes()) if features.is_file() else None
    if found is None:
        raise ToolboxError(f"{features.name} of the sysroot names no version of glibc")
    if int(found[2]) < minor:
        raise ToolboxError(f"the sysroot has glibc 2.{int(found[2])}, which cannot stand in for 2.{minor}")
    _replace(features, _MINOR.sub(rb"\g<1>%d" % minor, features.read_bytes()))


def _lower_library(library: Path, minor: int) -> None:
    """Move the default of each symbol to its newest version that glibc 2.``minor`` has."""
    data = library.read_bytes()
    if not data.startswith(b"\x7fELF"):
        return
    with library.open("rb") as file:
        elf = ELFFile(file)
        symbols, entries = elf.get_section_by_name(".dynsym"), elf.get_section_by_name(".gnu.version")
        definitions = elf.get_section_by_name(".gnu.version_d")
        if not isinstance(definitions, GNUVerDefSection):
            return
        if not isinstance(symbols, SymbolTableSection) or not isinstance(entries, GNUVerSymSection):
            raise ToolboxError(f"{library.name} of the sysroot has versions without symbols")
        versions = {
            definition["vd_ndx"]: int(found[1])
            for definition, names in definitions.iter_versions()
            if (found := _GLIBC.fullmatch(next(iter(names)).name))
        }
        offset = entries["sh_offset"]
        changed = lowered(
            [symbol.name if symbol["st_shndx"] != "SHN_UNDEF" else None for symbol in symbols.iter_symbols()],
            list(struct.unpack_from(f"<{symbols.num_symbols()}H", data, offset)),
            versions,
            minor,
        )
    if changed:
        patched = bytearray(data)
        for index, entry in changed.items():
            struct.pack_into("<H", patched, offset + 2 * index, entry)
        _replace(library, bytes(patched))


def lowered(
    names: list[str | None], entries: list[int], versions: dict[int, int], minor: int
) -> dict[int, int]:
    """The entries of ``.gnu.version`` to change, by index.

    ``names`` are the defined symbols, ``versions`` maps the number of a version to its minor version of glibc. A
    symbol of which no version was the default stays so: it is there for old programs alone.
    """
    older: dict[str, tuple[int, int]] = {}
    newer: dict[str, int] = {}
    for index, (name, entry) in enumerate(zip(names, entries, strict=True)):
        version = versions.get(entry & ~_HIDDEN)
        if name is None or version is None:
            continue
        if version <= minor and not (minor < 31 and _OTHER_ARGUMENTS.fullmatch(name)):
            older[name] = max(older.get(name, (0, 0)), (version, index))
        elif not entry & _HIDDEN:
            newer[name] = index
    changed = {index: entries[index] | _HIDDEN for index in newer.values()}
    for name in newer.keys() & older.keys():
        index = older[name][1]
        changed[index] = entries[index] & ~_HIDDEN
    return changed


def _replace(path: Path, data: bytes) -> None:
    """Write new content under the name alone: the old file has other names, and stays as it is."""
    mode = path.stat().st_mode
    path.unlink()
    path.write_bytes(data)
    path.chmod(mode)
