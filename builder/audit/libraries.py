"""Recognises libraries that choose their code by the CPU, inside the files of a wheel.

The libraries are data (``configs/dispatch.toml``): how to tell that a file has one, by strings or symbols, and
which of its functions hold instructions that only some CPUs have.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from builder.audit.elf import Elf
from builder.audit.loaded import Loaded
from builder.model.expectations import DispatchFile, DispatchLibrary
from builder.settings import configs_dir, load_toml

_FILE = "dispatch.toml"
_PRINTABLE = frozenset(range(0x20, 0x7F))
_LONGEST_STRING = 200


@dataclass(frozen=True)
class Embedded:
    """A library that a file has; ``version`` is that of its own string, if it has one."""

    library: DispatchLibrary
    version: str | None

    @property
    def why(self) -> str:
        """The reason for which its functions may hold instructions that the target lacks."""
        return f"{self}: {self.library.how}"

    def __str__(self) -> str:
        return f"{self.library.name} {self.version}" if self.version else self.library.name


def known_libraries() -> tuple[DispatchLibrary, ...]:
    """Return the libraries of ``configs/dispatch.toml``.

    Raises:
        ConfigError: the file has a fault.
    """
    return load_toml(DispatchFile, configs_dir() / _FILE).library


def rules_digest() -> str:
    """Return the sha256 of ``configs/dispatch.toml``: audits that were made by it hold until it changes."""
    return hashlib.sha256((configs_dir() / _FILE).read_bytes()).hexdigest()


def embedded(elf: Elf, known: Sequence[DispatchLibrary]) -> tuple[Embedded, ...]:
    """Return the known libraries that a file has, in the order of the data."""
    dynamic = Loaded(elf).names if elf.is_loadable else ()
    found = []
    for one in known:
        texts = [text for text in one.strings if elf.image.find(text.encode()) >= 0]
        if texts or _has_symbol(elf, frozenset(dynamic), one.symbols):
            version = _version(elf.image, one.version_string) if one.version_string else None
            found.append(Embedded(one, version))
    return tuple(found)


def _has_symbol(elf: Elf, dynamic: frozenset[str], names: Sequence[str]) -> bool:
    return bool(dynamic.intersection(names)) or len(elf.symbols.named(names)) > 0


def _version(image: bytes, marker: str) -> str | None:
    """Return the version behind ``marker`` in the file, or else in a printable string that has the marker."""
    name = re.escape(marker.encode().rstrip(b"0123456789."))
    if behind := re.search(name + rb"v?(\d+(?:\.\d+)+[a-z]?)", image):
        return behind[1].decode()
    at = -1
    while (at := image.find(marker.encode(), at + 1)) >= 0:
        first, last = at, at
        while first > 0 and image[first - 1] in _PRINTABLE and at - first < _LONGEST_STRING:
            first -= 1
        while last < len(image) and image[last] in _PRINTABLE and last - at < _LONGEST_STRING:
            last += 1
        if match := re.search(rb"\d+(?:\.\d+)+[a-z]?", image[first:last]):
            return match[0].decode()
    return None
