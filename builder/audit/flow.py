"""Who calls whom in one ELF file: its functions, direct calls, calls through the PLT, and the tables of pointers.

The file may be stripped. So functions begin at symbols, at entries of ``.eh_frame_hdr`` (LSB Core, section 10.6),
at constructors, and where a call goes. Instruction encodings are those of DDI 0487, section C4.1; relocations are
those of ELF for the Arm 64-bit Architecture, section 5.7.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section
from numpy.typing import NDArray

from builder.audit.elf import Addresses, Code, Elf, SymbolTable, Words, parsing, section_bytes, symbol_table
from builder.audit.text import Indexes, Numbers, Text, matching, parts, text_of

_RELA = np.dtype([("offset", "<u8"), ("info", "<u8"), ("addend", "<i8")])
_ABS64, _GLOB_DAT, _JUMP_SLOT, _RELATIVE = 257, 1025, 1026, 1027
# The slots of a module definition (CPython, Include/moduleobject.h): create and exec, which hold functions; those
# for several interpreters and without the GIL, which hold 0, 1 or 2; and those of PEP 793.
_MODULE_SLOTS = (1, 2)
_MODULE_SETTINGS, _LAST_SETTING = (3, 4), 2
_MODULE_DETAILS = tuple(range(5, 17))
_BTI_C = 0xD503245F
_METHOD_FLAGS = 0x3FF  # all METH_ flags (CPython, Include/methodobject.h)
_NO_POINTER, _TO_CODE, _TO_DATA = 0, 1, 2
_LAST_TYPE_SLOT = 90  # Include/typeslots.h


@dataclass(frozen=True)
class Calls:
    """Direct transfers of control from one function to another: ``places`` are the addresses of the branches.

    ``sources`` and ``targets`` are indexes of functions. A call through the PLT of a symbol that the file does not
    define has the target -1, and the index of the symbol's name in ``imports``.
    """

    places: Addresses
    sources: Numbers
    targets: Numbers
    imports: Numbers


class Flow:
    """The control flow of one loadable ELF file. Everything is computed when it is first asked for."""

    def __init__(self, elf: Elf) -> None:
        self.elf = elf
        with parsing(elf.member):
            self._file = ELFFile(io.BytesIO(elf.image))
            self._sections = list(self._file.iter_sections())
            self._by_name = {section.name: section for section in self._sections}

    @cached_property
    def text(self) -> Text:
        """The words of all executable sections."""
        return text_of(self.elf, self._codes)

    @cached_property
    def _codes(self) -> list[Code]:
        return sorted((one for one in self.elf.code() if len(one.words)), key=lambda one: one.address)

    @cached_property
    def starts(self) -> Addresses:
        """The addresses at which functions begin, sorted."""
        own = self.elf.symbols.starts
        every = np.unique(
            np.concatenate([own, self._unwound, self.constructors, self._text_pointers[1], self._branches[1]])
        )
        return every[self.is_code(every)]

    def is_code(self, addresses: Addresses) -> NDArray[np.bool_]:
        """Return which addresses are those of words of executable sections."""
        inside = np.zeros(len(addresses), dtype=np.bool_)
        for code in self._codes:
            inside |= (addresses >= code.address) & (addresses < code.address + 4 * len(code.words))
        inside &= addresses % np.uint64(4) == 0
        return inside

    def function_of(self, addresses: Addresses) -> Indexes:
        """Return the index into :attr:`starts` of the function that each address lies in; -1 before the first."""
        return np.searchsorted(self.starts, addresses, side="right") - 1

    def end_of(self, function: int) -> int:
        """Return the address after a function's last word: that at which the next function begins."""
        if function + 1 < len(self.starts):
            return int(self.starts[function + 1])
        last = self._codes[-1]
        return last.address + 4 * len(last.words)

    @cached_property
    def calls(self) -> Calls:
        """The direct calls, and branches from one function into another."""
        places, aims = self._branches
        sources = self.function_of(places).astype(np.int32)
        targets = self.function_of(aims).astype(np.int32)
        del self.__dict__["_branches"]  # a large library has five million, and nothing else needs them
        imports = np.full(len(places), -1, dtype=np.int32)
        at = np.searchsorted(self._stubs[0], aims)
        if len(self._stubs[0]):
            inside = (at < len(self._stubs[0])) & (
                self._stubs[0][np.minimum(at, len(self._stubs[0]) - 1)] == aims
            )
            numbers = self._stubs[1][at[inside]]
            imports[inside] = numbers
            targets[inside] = [self._defined(self.names[number]) for number in numbers]
        crossing = (sources >= 0) & ((targets != sources) | (imports >= 0))
        return Calls(places[crossing], sources[crossing], targets[crossing], imports[crossing])

    @cached_property
    def constructors(self) -> Addresses:
        """The functions that the loader runs: ``DT_INIT`` and ``.init_array``; for a program its entry point."""
        found: list[int] = []
        if self.is_program:
            found.append(int(self._file["e_entry"]))
        if (init := self._by_name.get(".init")) is not None:
            found.append(int(init["sh_addr"]))
        for name in (".preinit_array", ".init_array", ".ctors"):
            if (section := self._by_name.get(name)) is None:
                continue
            start, end = section["sh_addr"], section["sh_addr"] + section["sh_size"]
            slots, values = self._pointers
            inside = (slots >= start) & (slots < end)
            found += [int(value) for value in values[inside]]
        return np.array(sorted(set(found)), dtype=np.uint64)

    @cached_property
    def is_program(self) -> bool:
        """Whether the file is run and not loaded: it names an interpreter, or is linked statically."""
        kinds = {str(segment["p_type"]) for segment in self._file.iter_segments()}
        loaded = "PT_INTERP" in kinds or self.elf.kind == "ET_EXEC"
        return loaded or ("PT_DYNAMIC" in kinds and not self.elf.needed and not self.exports)

    @cached_property
    def speaks_python(self) -> bool:
        """Whether the file uses CPython's C API."""
        table = self._dynamic_symbols.entries
        return any(
            name.startswith(("Py", "_Py")) and not section
            for name, section in zip(self.names, table["section"].tolist(), strict=True)
        )

    @cached_property
    def module_functions(self) -> Addresses:
        """``PyInit_*``, and the functions of module slots, which an import runs (:pep:`489`)."""
        found = [
            address for name, address in self.exports.items() if name.startswith(("PyInit_", "PyModExport_"))
        ]
        slots, values = self._python_pointers
        before, after = slots - np.uint64(8), slots + np.uint64(8)
        numbered = np.isin(self._words_at(before), _MODULE_SLOTS) & (
            self._pointer_kind(before) == _NO_POINTER
        )
        # The next row is the end, one more function, or a setting, which is a small number.
        number, value = self._words_at(after), self._words_at(after + np.uint64(8))
        points = self._pointer_kind(after + np.uint64(8)) == _TO_CODE
        further = (number == 0) & (value == 0) & ~points
        further |= np.isin(number, _MODULE_SLOTS) & points
        further |= np.isin(number, _MODULE_DETAILS)
        further |= np.isin(number, _MODULE_SETTINGS) & ~points & (value <= _LAST_SETTING)
        further &= self._pointer_kind(after) == _NO_POINTER
        found += [int(value) for value in values[numbered & further]]
        return np.array(sorted(set(found)), dtype=np.uint64)

    @cached_property
    def methods(self) -> Addresses:
        """Functions in tables of methods and of type slots, which Python calls without any test of the CPU.

        A row of ``PyMethodDef`` is a name, the function, flags, and a docstring. One of ``PyType_Slot`` is a number
        and the function, and 0 ends the table.
        """
        slots, values = self._python_pointers
        before, after = slots - np.uint64(8), slots + np.uint64(8)
        name, flags = self._pointer_kind(before), self._words_at(after)
        plain_after = self._pointer_kind(after) == _NO_POINTER
        method = (name == _TO_DATA) & plain_after & (flags > 0) & (flags <= _METHOD_FLAGS)
        number = self._words_at(before)
        slot = (self._pointer_kind(before) == _NO_POINTER) & (number > 0) & (number <= _LAST_TYPE_SLOT)
        # The next row is one more of the kind, or the end.
        further = (self._pointer_kind(slots + np.uint64(16)) == _NO_POINTER) == (flags == 0)
        slot &= plain_after & (flags <= _LAST_TYPE_SLOT) & further
        return np.unique(values[method | slot])

    def _pointer_kind(self, addresses: Addresses) -> NDArray[np.int8]:
        """Return whether the loader writes an address at each place, and whether it is one of code or of data."""
        slots, values = self._pointers
        kinds = np.full(len(addresses), _NO_POINTER, dtype=np.int8)
        if not len(slots):
            return kinds
        at = np.minimum(np.searchsorted(slots, addresses), len(slots) - 1)
        there = slots[at] == addresses
        kinds[there] = np.where(self.is_code(values[at[there]]), _TO_CODE, _TO_DATA)
        return kinds

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
        table = self._dynamic_symbols.entries
        kinds = table["info"] & 0xF
        chosen = table[(table["section"] != 0) & ((kinds == 2) | (kinds == 10) | (kinds == 0))]
        return {self._dynamic_symbols.name(int(row["name"])): int(row["value"]) for row in chosen}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of ``.dynsym``, by the index of the symbol."""
        table = self._dynamic_symbols
        return tuple(table.name(int(name)) for name in table.entries["name"])

    def address_uses(self, offset: int) -> list[tuple[int, int]]:
        """Return the indexes of the ``adrp`` and ``add`` that make the address of what lies at a file offset."""
        address = next(
            (
                one.address + offset - one.offset
                for one in self.elf.segments
                if one.offset <= offset < one.offset + one.size
            ),
            None,
        )
        if address is None:
            return []
        text = self.text
        pages = text.matching(0x9F000000, 0x90000000)
        near = pages[_page_of(text.addresses(pages), text.words[pages]) == address & ~0xFFF]
        low = address & 0xFFF
        found = []
        for index in near.tolist():
            register = int(text.words[index]) & 31
            for later in range(index + 1, min(index + 16, len(text.words))):
                word = int(text.words[later])
                if word & 0xFFC003E0 == 0x91000000 | register << 5 and word >> 10 & 0xFFF == low:
                    found.append((index, later))
                    break
        return found

    @cached_property
    def constants(self) -> Addresses:
        """The addresses of words that ``ldr`` (literal) reads, sorted (DDI 0487, C6.2.193)."""
        text = self.text
        chosen = text.matching(0x3B000000, 0x18000000)
        words = text.words[chosen]
        offsets = ((words.astype(np.int64) >> 5 & 0x7FFFF) << 45) >> 43  # imm19, in words
        first = (text.addresses(chosen).astype(np.int64) + offsets).astype(np.uint64)
        size = words >> np.uint32(30)
        vector = words & np.uint32(0x04000000) != 0
        lengths = np.where(vector, 1 << size, 1 + (size & np.uint32(1)))
        read = [first[lengths > step] + np.uint64(4 * step) for step in range(4)]
        return np.unique(np.concatenate(read))

    def pointer_at(self, slot: int) -> int | None:
        """Return the address that the loader writes into the word at ``slot``, if it is one of this file."""
        slots, values = self._pointers
        at = int(np.searchsorted(slots, np.uint64(slot)))
        return int(values[at]) if at < len(slots) and int(slots[at]) == slot else None

    @cached_property
    def _dynamic_symbols(self) -> SymbolTable:
        return symbol_table(self._file, self.elf.image, ".dynsym")

    def _defined(self, name: str) -> int:
        address = self.exports.get(name)
        if address is None:
            return -1
        return int(self.function_of(np.array([address], dtype=np.uint64))[0])

    @cached_property
    def _branches(self) -> tuple[Addresses, Addresses]:
        """The addresses of direct branches that leave their function or call one, and where they go."""
        # Where a jump goes is a function only if a call, a symbol or an unwind entry begins there.
        called = [np.unique(aims[calls]) for _, aims, calls in self._branches_of_parts()]
        begun = np.unique(np.concatenate([*called, self.elf.symbols.starts, self._unwound, self._stubs[0]]))
        places, aims = [], []
        for place, aim, call in self._branches_of_parts():
            kept = call | np.isin(aim, begun)
            places.append(place[kept])
            aims.append(aim[kept])
        if not places:
            return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.uint64)
        return np.concatenate(places), np.concatenate(aims)

    def _branches_of_parts(self) -> Iterator[tuple[Addresses, Addresses, NDArray[np.bool_]]]:
        """Yield for each part of the text the places of ``b`` and ``bl``, where they go, and which are ``bl``."""
        for first, part in parts(self.text.words):
            chosen = matching(part, 0x7C000000, 0x14000000)
            words = part[chosen]
            offsets = (words.astype(np.int64) << 38) >> 36  # imm26, in words
            places = self.text.addresses(first + chosen)
            yield places, (places.astype(np.int64) + offsets).astype(np.uint64), words >> np.uint32(31) != 0

    @cached_property
    def _stubs(self) -> tuple[Addresses, Indexes]:
        """The entries of the PLT, sorted by address, and the index of the dynamic symbol that each jumps to."""
        by_slot = {
            int(row["offset"]): int(row["info"]) >> 32
            for table in self._relocations
            for row in table[table["info"] & np.uint64(0xFFFFFFFF) == _JUMP_SLOT]
        }
        if not by_slot:
            return np.zeros(0, np.uint64), np.zeros(0, np.intp)
        words = self.text.words
        pages = self.text.matching(0x9F00001F, 0x90000010)  # adrp x16
        loads = self.text.matching(0xFFC003FF, 0xF9400211)  # ldr x17, [x16, #n]
        chosen = pages[np.isin(pages + 1, loads)]
        addresses = self.text.addresses(chosen)
        base = _page_of(addresses, words[chosen])
        slots = base + ((words[chosen + 1] >> np.uint32(10)) & np.uint32(0xFFF)).astype(np.int64) * 8
        found = [
            (address, by_slot[slot])
            for address, slot in zip(addresses.tolist(), slots.tolist(), strict=True)
            if slot in by_slot
        ]
        # An entry may begin with bti c, at which calls arrive.
        marked = [
            (address - 4, number)
            for address, number in found
            if self.text.slice(address - 4, address).tolist() == [_BTI_C]
        ]
        every = sorted({*found, *marked})
        return np.array([one[0] for one in every], np.uint64), np.array([one[1] for one in every], np.intp)

    @cached_property
    def _unwound(self) -> Addresses:
        """The functions of ``.eh_frame_hdr``: a table of two 32-bit offsets from the section's start each."""
        section = self._by_name.get(".eh_frame_hdr")
        if section is None:
            return np.zeros(0, dtype=np.uint64)
        body = bytes(self._bytes(section))
        # Version 1, pointers of 4 bytes relative to themselves, a count, the table relative to the section.
        if body[:4] != b"\x01\x1b\x03\x3b":
            return np.zeros(0, dtype=np.uint64)
        count = int.from_bytes(body[8:12], "little")
        table = np.frombuffer(body, dtype="<i4", offset=12, count=min(count, (len(body) - 12) // 8) * 2)
        return (np.int64(section["sh_addr"]) + table[::2].astype(np.int64)).astype(np.uint64)

    @cached_property
    def _relocations(self) -> tuple[NDArray[np.void], ...]:
        return tuple(
            np.frombuffer(self._bytes(section), dtype=_RELA, count=section["sh_size"] // _RELA.itemsize)
            for section in self._sections
            if section["sh_type"] == "SHT_RELA" and section["sh_flags"] & 2  # SHF_ALLOC
        )

    @cached_property
    def _pointers(self) -> tuple[Addresses, Addresses]:
        """The words into which the loader writes addresses of this file, sorted, and the addresses."""
        slots, values = [], []
        symbols = self._dynamic_symbols.entries
        for table in self._relocations:
            kinds = table["info"] & np.uint64(0xFFFFFFFF)
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
        values.append(self._words_at(packed))
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
    def _text_pointers(self) -> tuple[Addresses, Addresses]:
        slots, values = self._pointers
        inside = self.is_code(values)
        return slots[inside], values[inside]

    @cached_property
    def _python_pointers(self) -> tuple[Addresses, Addresses]:
        """The pointers to code, of a file that can hold CPython's tables."""
        slots, values = self._text_pointers
        return (slots, values) if self.speaks_python else (slots[:0], values[:0])

    def _words_at(self, addresses: Addresses) -> Addresses:
        """Return the 64-bit words of the file at these addresses; 0 where it has none."""
        found = np.zeros(len(addresses), dtype=np.uint64)
        for segment in self._file.iter_segments():
            if segment["p_type"] != "PT_LOAD":
                continue
            start, size = segment["p_vaddr"], segment["p_filesz"]
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


def _page_of(addresses: Addresses, words: Words) -> NDArray[np.int64]:
    """Return the page that each ``adrp`` makes (DDI 0487, C6.2.12)."""
    low = (words >> np.uint32(29)).astype(np.int64) & 3
    high = (words >> np.uint32(5)).astype(np.int64) & 0x7FFFF
    offset = ((high << 2 | low) << 43) >> 31
    return (addresses.astype(np.int64) & ~np.int64(0xFFF)) + offset
