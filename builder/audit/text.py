"""The executable words of a file, and searches among them in parts: a library can have 50 million words.

A search over the whole would need several times the memory of the words for its intermediate results.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builder.audit.elf import Addresses, Code, Elf, Words

Indexes = NDArray[np.intp]
Numbers = NDArray[np.int32]

_PART_WORDS = 1 << 20
# Between two sections of code lies padding to their alignment.
_PADDING_BYTES = 4096


@dataclass(frozen=True)
class Text:
    """All executable words of a file in the order of their addresses.

    ``firsts`` are the indexes at which sections begin, and ``bases`` their addresses.
    """

    words: Words
    firsts: Indexes
    bases: Addresses

    def addresses(self, indexes: Indexes) -> Addresses:
        """Return the addresses of words."""
        section = np.searchsorted(self.firsts, indexes, side="right") - 1
        return self.bases[section] + (indexes - self.firsts[section]).astype(np.uint64) * np.uint64(4)

    def index(self, address: int) -> int:
        """Return the index of the word at an address, or that of the next word."""
        section = int(np.searchsorted(self.bases, np.uint64(address), side="right")) - 1
        if section < 0:
            return 0
        end = int(self.firsts[section + 1]) if section + 1 < len(self.firsts) else len(self.words)
        return min(int(self.firsts[section]) + (address - int(self.bases[section])) // 4, end)

    def slice(self, start: int, end: int) -> Words:
        """Return the words from address ``start`` to before ``end``."""
        return self.words[self.index(start) : self.index(end)]

    def matching(self, mask: int, value: int) -> Indexes:
        """Return the indexes of words whose bits in ``mask`` are ``value``."""
        return matching(self.words, mask, value)


def parts(words: Words) -> Iterator[tuple[int, Words]]:
    """Yield the words in parts, each with the index of its first word."""
    for first in range(0, len(words), _PART_WORDS):
        yield first, words[first : first + _PART_WORDS]


def matching(words: Words, mask: int, value: int) -> Indexes:
    """Return the indexes of words whose bits in ``mask`` are ``value``."""
    found = [
        first + np.flatnonzero(part & np.uint32(mask) == np.uint32(value)) for first, part in parts(words)
    ]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.intp)


def text_of(elf: Elf, codes: list[Code]) -> Text:
    """Return all executable words of a file; ``codes`` are its sections in the order of their addresses.

    Linkers place the sections one behind the other, in the file as in memory. Then the words are a view of the
    file, with the padding between the sections.
    """
    if not codes:
        none = np.zeros(0, np.intp)
        return Text(np.zeros(0, np.uint32), none, none.astype(np.uint64))
    first, last = codes[0], codes[-1]
    size = last.address + 4 * len(last.words) - first.address
    together = len({one.address - one.offset for one in codes}) == 1
    if together and size - 4 * sum(len(one.words) for one in codes) <= _PADDING_BYTES * len(codes):
        words = np.frombuffer(elf.image, dtype="<u4", offset=first.offset, count=size // 4)
        return Text(words, np.zeros(1, np.intp), np.array([first.address], dtype=np.uint64))
    firsts = np.cumsum([0, *(len(code.words) for code in codes[:-1])]).astype(np.intp)
    bases = np.array([code.address for code in codes], dtype=np.uint64)
    return Text(np.concatenate([code.words for code in codes]), firsts, bases)
