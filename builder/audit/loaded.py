"""What the loader makes of one ELF file: symbols, relocated words, and the functions it runs.

Relocations are those of ELF for the Arm 64-bit Architecture, section 5.7; ``.eh_frame_hdr`` is that of LSB Core,
section 10.6.
"""

from __future__ import annotations

import io
from functools import cached_property

import numpy as np
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section
from numpy.typing import NDArray

from builder.audit.elf import (
    Addresses,
    Code,
    Elf,
    MalformedElfError,
    SymbolTable,
    parsing,
    section_bytes,
    symbol_table,
)

_RELA = np.dtype([("offset", "<u8"), ("info", "<u8"), ("addend", "<i8")])
_ABS64, _GLOB_DAT, _JUMP_SLOT, _RELATIVE, _IRELATIVE = 257, 1025, 1026, 1027, 1032
_KIND = np.uint64(0xFFFFFFFF)  # of r_info; the upper half is the symbol
_IFUNC = 10  # STT_GNU_IFUNC
_LAST_ADDRESS = 1 << 56  # of a process (DDI 0487, D8.1)


class Loaded:
    """One loadable ELF file as the loader sees it. Everything is computed when it is first asked for."""

    def __init__(self, elf: Elf) -> None:
        self.elf = elf
        with parsing(elf.member):
            self._file = ELFFile(io.BytesIO(elf.image))
            self._sections = list(self._file.iter_sections())
            self.sections = {section.name: section for section in self._sections}
            ends = [(one["sh_addr"], one["sh_size"]) for one in self._sections]
            ends += [
                (one["p_vaddr"], max(one["p_memsz"], one["p_filesz"])) for one in self._file.iter_segments()
            ]
            if any(start + size >= _LAST_ADDRESS for start, size in ends):
                raise MalformedElfError(f"{elf.member}: a section or segment lies beyond the address space")

    @cached_property
    def codes(self) -> list[Code]:
        """The executable sections that hold words, by address."""
        return sorted((one for one in self.elf.code() if len(one.words)), key=lambda one: one.address)

    def is_code(self, addresses: Addresses) -> NDArray[np.bool_]:
        """Return which addresses are those of words of executable sections."""
        inside = np.zeros(len(addresses), dtype=np.bool_)
        for code in self.codes:
            inside |= (addresses >= code.address) & (addresses < code.address + 4 * len(code.words))
        inside &= addresses % np.uint64(4) == 0
        return inside

    @cached_property
    def constructors(self) -> Addresses:
        """The functions that the loader runs: ``DT_INIT`` and ``.init_array``; for a program its entry point."""
        found = self._run_by_loader("DT_INIT", ("DT_PREINIT_ARRAY", "DT_INIT_ARRAY"))
        found |= self._pointers_of_sections((".preinit_array", ".init_array", ".ctors"))
        if (init := self.sections.get(".init")) is not None:
            found.add(int(init["sh_addr"]))
        if self.is_program:
            found.add(int(self._file["e_entry"]))
        return np.array(sorted(found), dtype=np.uint64)

    @cached_property
    def destructors(self) -> Addresses:
        """The functions that the loader runs when the process ends: ``DT_FINI`` and ``.fini_array``."""
        found = self._run_by_loader("DT_FINI", ("DT_FINI_ARRAY",))
        return np.array(sorted(found | self._pointers_of_sections((".fini_array",))), dtype=np.uint64)

    @cached_property
    def resolvers(self) -> Addresses:
        """The functions that the loader calls for the address of an IFUNC, before any constructor.

        A call through the PLT of a symbol with a resolver is a call of the resolver, and counts as such.
        """
        symbols = self.dynamic_symbols.entries
        found = [np.zeros(0, dtype=np.uint64)]
        for table in self.relocations:
            kinds = table["info"] & _KIND
            found.append(table["addend"][kinds == _IRELATIVE].astype(np.uint64))
            bound = table["info"][np.isin(kinds, (_ABS64, _GLOB_DAT))] >> np.uint64(32)
            if len(symbols):
                own = symbols[bound.astype(np.intp)]
                found.append(own["value"][(own["info"] & 0xF == _IFUNC) & (own["section"] != 0)])
        return np.unique(np.concatenate(found))

    def _run_by_loader(self, function: str, arrays: tuple[str, ...]) -> set[int]:
        """Return the functions that the dynamic section names: one by a tag, others in arrays."""
        tags = self._dynamic_tags
        found = {tags[function]} if tags.get(function) else set()
        for name in arrays:
            if name in tags:
                found |= self._pointers_between(tags[name], tags.get(f"{name}SZ", 0))
        return found

    def _pointers_of_sections(self, names: tuple[str, ...]) -> set[int]:
        sections = [self.sections[name] for name in names if name in self.sections]
        found: set[int] = set()
        return found.union(*(self._pointers_between(one["sh_addr"], one["sh_size"]) for one in sections))

    def _pointers_between(self, start: int, size: int) -> set[int]:
        """Return the addresses of code in a table. In a program that is not moved, no relocation writes them."""
        slots, values = self.pointers
        found = values[(slots >= start) & (slots < start + size)]
        if self.elf.kind == "ET_EXEC" and start + size < _LAST_ADDRESS:
            words = self.words_at(
                np.arange(start, start + min(size, len(self.elf.image)), 8, dtype=np.uint64)
            )
            found = np.concatenate([found, words[self.is_code(words)]])
        return {int(value) for value in found}

    @cached_property
    def _dynamic_tags(self) -> dict[str, int]:
        """The values of the dynamic section, by tag; the last one of each."""
        with parsing(self.elf.member):
            return {
                str(tag.entry.d_tag): int(tag.entry.d_val)
                for segment in self._file.iter_segments()
                if isinstance(segment, DynamicSegment)
                for tag in segment.iter_tags()
            }

    @cached_property
    def is_program(self) -> bool:
        """Whether the file is run and not loaded: it names an interpreter, or is linked statically."""
        kinds = {str(segment["p_type"]) for segment in self._file.iter_segments()}
        loaded = "PT_INTERP" in kinds or self.elf.kind == "ET_EXEC"
        return loaded or ("PT_DYNAMIC" in kinds and not self.elf.needed and not self.exports)

    @cached_property
    def writable(self) -> tuple[tuple[int, int], ...]:
        """The address ranges of segments that the program can write."""
        return tuple(
            (int(one["p_vaddr"]), int(one["p_vaddr"] + one["p_memsz"]))
            for one in self._file.iter_segments()
            if one["p_type"] == "PT_LOAD" and one["p_flags"] & 2
        )

    @cached_property
    def exports(self) -> dict[str, int]:
        """The defined functions of ``.dynsym`` and their addresses."""
        table = self.dynamic_symbols.entries
        kinds = table["info"] & 0xF
        chosen = table[(table["section"] != 0) & ((kinds == 2) | (kinds == 10) | (kinds == 0))]
        return {self.dynamic_symbols.name(int(row["name"])): int(row["value"]) for row in chosen}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of ``.dynsym``, by the index of the symbol."""
        table = self.dynamic_symbols
        return tuple(table.name(int(name)) for name in table.entries["name"])

    def pointer_at(self, slot: int) -> int | None:
        """Return the address that the loader writes into the word at ``slot``, if it is one of this file."""
        slots, values = self.pointers
        at = int(np.searchsorted(slots, np.uint64(slot)))
        return int(values[at]) if at < len(slots) and int(slots[at]) == slot else None

    @cached_property
    def dynamic_symbols(self) -> SymbolTable:
        return symbol_table(self._file, self.elf.image, ".dynsym")

    @cached_property
    def unwinding(self) -> tuple[Addresses, Addresses]:
        """The functions of ``.eh_frame_hdr`` and their sizes: 0 where an entry cannot be read.

        It is a table of two 32-bit offsets from the section's start each: that of the function, and of its entry in
        ``.eh_frame``, which has the size behind its length, the offset of its CIE and its start, of 4 bytes each.
        """
        section = self.sections.get(".eh_frame_hdr")
        none = np.zeros(0, dtype=np.uint64)
        if section is None:
            return none, none
        body = bytes(self._bytes(section))
        # Version 1, pointers of 4 bytes relative to themselves, a count, the table relative to the section.
        if body[:4] != b"\x01\x1b\x03\x3b" or len(body) < 12:
            return none, none
        count = int.from_bytes(body[8:12], "little")
        table = np.frombuffer(body, dtype="<i4", offset=12, count=min(count, (len(body) - 12) // 8) * 2)
        places = (np.int64(section["sh_addr"]) + table.astype(np.int64)).astype(np.uint64)
        return places[::2], self._halves_at(places[1::2] + np.uint64(12))

    def _halves_at(self, addresses: Addresses) -> Addresses:
        """Return the 32-bit words of ``.eh_frame`` at these addresses; 0 where it has none."""
        found = np.zeros(len(addresses), dtype=np.uint64)
        section = self.sections.get(".eh_frame")
        if section is None or section["sh_type"] == "SHT_NOBITS":
            return found
        words = np.frombuffer(self._bytes(section), dtype="<u4", count=section["sh_size"] // 4)
        index = (addresses.astype(np.int64) - np.int64(section["sh_addr"])) // 4
        inside = (index >= 0) & (index < len(words))
        found[inside] = words[index[inside]]
        return found

    @cached_property
    def relocations(self) -> tuple[NDArray[np.void], ...]:
        """The tables of relocations that the loader reads.

        Raises:
            MalformedElfError: one names a symbol that the file does not have.
        """
        found = tuple(
            np.frombuffer(self._bytes(section), dtype=_RELA, count=section["sh_size"] // _RELA.itemsize)
            for section in self._sections
            if section["sh_type"] == "SHT_RELA" and section["sh_flags"] & 2  # SHF_ALLOC
        )
        count = max(len(self.dynamic_symbols.entries), 1)
        if any(len(table) and int(table["info"].max()) >> 32 >= count for table in found):
            raise MalformedElfError(f"{self.elf.member}: a relocation names a symbol that does not exist")
        return found

    @cached_property
    def pointers(self) -> tuple[Addresses, Addresses]:
        """The words into which the loader writes addresses of this file, sorted, and the addresses."""
        slots, values = [], []
        symbols = self.dynamic_symbols.entries
        for table in self.relocations:
            kinds = table["info"] & _KIND
            relative = table[kinds == _RELATIVE]
            slots.append(relative["offset"])
            values.append(relative["addend"].astype(np.uint64))
            bound = table[np.isin(kinds, (_ABS64, _GLOB_DAT, _JUMP_SLOT))]
            if len(bound) and len(symbols):
                index = (bound["info"] >> np.uint64(32)).astype(np.intp)
                own = symbols["section"][index] != 0
                slots.append(bound["offset"][own])
                values.append(symbols["value"][index[own]] + bound["addend"][own].astype(np.uint64))
        packed = self._packed_slots
        slots.append(packed)
        values.append(self.words_at(packed))
        every, what = np.concatenate(slots), np.concatenate(values)
        order = np.argsort(every, kind="stable")
        return every[order], what[order]

    @cached_property
    def _packed_slots(self) -> Addresses:
        """The places of packed relative relocations (``SHT_RELR``, generic ABI)."""
        found: list[int] = []
        for section in self._sections:
            if section["sh_type"] not in {"SHT_RELR", 19}:
                continue
            base = 0
            for entry in np.frombuffer(self._bytes(section), dtype="<u8").tolist():
                if entry & 1 == 0:
                    found.append(entry)
                    base = entry + 8
                else:
                    found += [base + 8 * bit for bit in range(63) if entry >> bit + 1 & 1]
                    base += 63 * 8
        return np.array(found, dtype=np.uint64)

    @cached_property
    def text_pointers(self) -> tuple[Addresses, Addresses]:
        slots, values = self.pointers
        inside = self.is_code(values)
        return slots[inside], values[inside]

    def words_at(self, addresses: Addresses) -> Addresses:
        """Return the 64-bit words of the file at these addresses; 0 where it has none."""
        found = np.zeros(len(addresses), dtype=np.uint64)
        for segment in self._file.iter_segments():
            if segment["p_type"] != "PT_LOAD":
                continue
            start, size = segment["p_vaddr"], segment["p_filesz"]
            if segment["p_offset"] + size > len(self.elf.image):
                raise MalformedElfError(f"{self.elf.member}: a segment extends beyond the file")
            inside = (addresses >= start) & (addresses + np.uint64(8) <= np.uint64(start + size))
            inside &= (addresses - np.uint64(start)) % np.uint64(8) == 0
            if not inside.any():
                continue
            offset = segment["p_offset"]
            whole = np.frombuffer(self.elf.image, dtype="<u8", offset=offset, count=size // 8)
            index = ((addresses[inside] - np.uint64(start)) // np.uint64(8)).astype(np.intp)
            found[inside] = whole[np.minimum(index, len(whole) - 1)]
        return found

    def _bytes(self, section: Section) -> memoryview:
        return section_bytes(self.elf.image, section)

    @cached_property
    def got(self) -> dict[int, int]:
        """The slots of the GOT that the loader fills by a symbol, and the symbol's index in ``.dynsym``."""
        return self._bound_by(_GLOB_DAT)

    @cached_property
    def plt(self) -> dict[int, int]:
        """The slots of the PLT, and the index of the symbol of each."""
        return self._bound_by(_JUMP_SLOT)

    def _bound_by(self, kind: int) -> dict[int, int]:
        return {
            int(row["offset"]): int(row["info"]) >> 32
            for table in self.relocations
            for row in table[table["info"] & _KIND == kind]
        }
