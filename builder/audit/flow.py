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
    Words,
    parsing,
    section_bytes,
    symbol_table,
)
from builder.audit.guards import is_far_jump
from builder.audit.text import Indexes, Numbers, Text, matching, parts, text_of

_RELA = np.dtype([("offset", "<u8"), ("info", "<u8"), ("addend", "<i8")])
_ABS64, _GLOB_DAT, _JUMP_SLOT, _RELATIVE, _IRELATIVE = 257, 1025, 1026, 1027, 1032
_IFUNC = 10  # STT_GNU_IFUNC
# The slots of a module definition (CPython, Include/moduleobject.h): create and exec, which hold functions; those
# for several interpreters and without the GIL, which hold 0, 1 or 2; and those of PEP 793.
_MODULE_SLOTS = (1, 2)
_MODULE_SETTINGS, _LAST_SETTING = (3, 4), 2
_MODULE_DETAILS = tuple(range(5, 17))
_BTI_C = 0xD503245F
_METHOD_FLAGS = 0x3FF  # all METH_ flags (CPython, Include/methodobject.h)
_TABLE_WORDS = 8  # between adrp, ldr and blr of one call stand fewer words
_LAST_ADDRESS = 1 << 56  # of a process (DDI 0487, D8.1)
_PADDING, _NOP = 64, 0xD503201F  # functions are aligned to 64 bytes at most
_NO_POINTER, _TO_CODE, _TO_DATA = 0, 1, 2
_LAST_TYPE_SLOT = 90  # Include/typeslots.h
_LONGEST_NAME = 200
# PyTypeObject: offsets in bytes, the members that hold no pointer, and its tables with their sizes.
_TYPE_SIZE, _TYPE_NAME, _TYPE_FLAGS, _TYPE_BYTES = 16, 24, 168, 408
_TYPE_OFFSETS = (40, 56, 208, 288)  # tp_itemsize, tp_vectorcall_offset, tp_weaklistoffset, tp_dictoffset
_TYPE_TABLES = (
    (80, 32),
    (96, 288),
    (104, 80),
    (112, 24),
    (160, 16),
)  # async, number, sequence, mapping, buffer


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

    def with_others(self, others: Calls) -> Calls:
        """Return these calls and others, in the order of their places."""
        if not len(others.places):
            return self
        order = np.argsort(np.concatenate([self.places, others.places]), kind="stable")
        return Calls(
            np.concatenate([self.places, others.places])[order],
            np.concatenate([self.sources, others.sources])[order],
            np.concatenate([self.targets, others.targets])[order],
            np.concatenate([self.imports, others.imports])[order],
        )


class Flow:
    """The control flow of one loadable ELF file. Everything is computed when it is first asked for."""

    def __init__(self, elf: Elf) -> None:
        self.elf = elf
        with parsing(elf.member):
            self._file = ELFFile(io.BytesIO(elf.image))
            self._sections = list(self._file.iter_sections())
            self._by_name = {section.name: section for section in self._sections}
            ends = [(one["sh_addr"], one["sh_size"]) for one in self._sections]
            ends += [
                (one["p_vaddr"], max(one["p_memsz"], one["p_filesz"])) for one in self._file.iter_segments()
            ]
            if any(start + size >= _LAST_ADDRESS for start, size in ends):
                raise MalformedElfError(f"{elf.member}: a section or segment lies beyond the address space")

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
            np.concatenate(
                [
                    own,
                    self._unwound,
                    self.constructors,
                    self.destructors,
                    self.resolvers,
                    self._text_pointers[1],
                    self._branches[1],
                    self._begun_bare,
                ]
            )
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
        del self.__dict__["_branches"]  # a large library has five million, and nothing else needs them
        sources = self.function_of(places).astype(np.int32)
        targets = self.function_of(aims).astype(np.int32)
        imports = np.full(len(places), -1, dtype=np.int32)
        stubs, imported = self._stubs
        if len(stubs):
            near = np.flatnonzero((aims >= stubs[0]) & (aims <= stubs[-1]))
            at = np.searchsorted(stubs, aims[near])
            inside = stubs[at] == aims[near]
            numbers = imported[at[inside]]
            imports[near[inside]] = numbers
            targets[near[inside]] = [self._defined(self.names[number]) for number in numbers]
        del aims
        crossing = (sources >= 0) & ((targets != sources) | (imports >= 0))
        # One after the other, so that both lengths of one array alone are in memory.
        places = places[crossing]
        sources = sources[crossing]
        targets = targets[crossing]
        direct = Calls(places, sources, targets, imports[crossing])
        return direct.with_others(self._calls_by_table)

    @cached_property
    def _calls_by_table(self) -> Calls:
        """The calls of functions whose address the code loads from the GOT (``-fno-plt``).

        They are ``adrp``, ``ldr`` from a slot that the loader fills by a symbol, and ``blr`` or ``br``.
        """
        slots = self._bound_slots
        places: list[int] = []
        numbers: list[int] = []
        for first, part in parts(self.text.words) if slots else ():
            calls = matching(part, 0xFFDFFC1F, 0xD61F0000)
            register = part[calls] >> np.uint32(5) & np.uint32(31)
            for distance in range(1, _TABLE_WORDS):
                load = np.maximum(calls - distance, 0)
                fits = part[load] & np.uint32(0xFFC0001F) == np.uint32(0xF9400000) | register
                chosen, at = calls[fits], load[fits]
                base = part[at] >> np.uint32(5) & np.uint32(31)
                offset = (part[at] >> np.uint32(10) & np.uint32(0xFFF)).astype(np.int64) * 8
                for further in range(1, _TABLE_WORDS):
                    page = np.maximum(at - further, 0)
                    made = np.flatnonzero(part[page] & np.uint32(0x9F00001F) == np.uint32(0x90000000) | base)
                    sources = self.text.addresses(first + page[made])
                    made_slots = _page_of(sources, part[page[made]]) + offset[made]
                    for index, slot in zip(chosen[made].tolist(), made_slots.tolist(), strict=True):
                        if slot in slots:
                            places.append(int(self.text.addresses(np.array([first + index]))[0]))
                            numbers.append(slots[slot])
        where, imports = np.array(places, dtype=np.uint64), np.array(numbers, dtype=np.int32)
        where, kept = np.unique(where, return_index=True)
        imports = imports[kept]
        callers = self.function_of(where).astype(np.int32)
        targets = np.array([self._defined(self.names[number]) for number in imports], dtype=np.int32)
        inside = callers >= 0
        return Calls(where[inside], callers[inside], targets[inside], imports[inside])

    @cached_property
    def _bound_slots(self) -> dict[int, int]:
        """The slots of the GOT that the loader fills by a symbol, and the symbol's index."""
        return {
            int(row["offset"]): int(row["info"]) >> 32
            for table in self._relocations
            for row in table[table["info"] & np.uint64(0xFFFFFFFF) == _GLOB_DAT]
        }

    @cached_property
    def constructors(self) -> Addresses:
        """The functions that the loader runs: ``DT_INIT`` and ``.init_array``; for a program its entry point."""
        found = self._run_by_loader("DT_INIT", ("DT_PREINIT_ARRAY", "DT_INIT_ARRAY"))
        found |= self._pointers_of_sections((".preinit_array", ".init_array", ".ctors"))
        if (init := self._by_name.get(".init")) is not None:
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
        symbols = self._dynamic_symbols.entries
        found = [np.zeros(0, dtype=np.uint64)]
        for table in self._relocations:
            kinds = table["info"] & np.uint64(0xFFFFFFFF)
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
        sections = [self._by_name[name] for name in names if name in self._by_name]
        found: set[int] = set()
        return found.union(*(self._pointers_between(one["sh_addr"], one["sh_size"]) for one in sections))

    def _pointers_between(self, start: int, size: int) -> set[int]:
        """Return the addresses of code in a table. In a program that is not moved, no relocation writes them."""
        slots, values = self._pointers
        found = values[(slots >= start) & (slots < start + size)]
        if self.elf.kind == "ET_EXEC" and start + size < _LAST_ADDRESS:
            words = self._words_at(
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
        return np.unique(np.concatenate([values[method | slot], self._attributes, self._static_types]))

    @cached_property
    def _attributes(self) -> Addresses:
        """The functions of ``PyGetSetDef``: rows of a name, two functions, a docstring and any pointer."""
        slots, values = self._python_pointers
        getter = self._pointer_kind(slots - np.uint64(8)) == _TO_DATA
        setter, plain = self._pointer_kind(slots + np.uint64(8)), self._words_at(slots + np.uint64(8)) == 0
        getter &= (setter == _TO_CODE) | ((setter == _NO_POINTER) & plain)
        text = self._pointer_kind(slots + np.uint64(16))
        getter &= (text == _TO_DATA) | ((text == _NO_POINTER) & (self._words_at(slots + np.uint64(16)) == 0))
        # The next row has a name, too, or is the end.
        name = self._pointer_kind(slots + np.uint64(32))
        getter &= (name == _TO_DATA) | ((name == _NO_POINTER) & (self._words_at(slots + np.uint64(32)) == 0))
        rows = slots[getter]
        rows = rows[[self._is_name(int(slot) - 8) for slot in rows.tolist()]]
        return values[np.isin(slots, np.concatenate([rows, rows + np.uint64(8)]))]

    def _is_name(self, slot: int) -> bool:
        """Whether the pointer at ``slot`` leads to a name of Python."""
        address = self.pointer_at(slot)
        for one in self.elf.segments if address is not None else ():
            if address is not None and one.address <= address < one.address + one.size:
                first = one.offset + address - one.address
                name = self.elf.image[first : first + _LONGEST_NAME].partition(b"\0")[0]
                return name.decode("latin-1").isidentifier()
        return False

    @cached_property
    def _static_types(self) -> Addresses:
        """The functions of each ``PyTypeObject`` (CPython, Include/cpython/object.h), and of its tables.

        It begins with a count of references, its type, no size, a name, the size of an object and that of an item.
        Its flags lie between 13 pointers, and it has the functions of numbers, sequences, mappings and buffers in
        tables of their own.
        """
        slots, values = self._pointers
        if not self.speaks_python or not len(slots):
            return slots[:0]
        names = slots[self._pointer_kind(slots) == _TO_DATA]
        begins = names - np.uint64(_TYPE_NAME)
        sizes = self._words_at(names + np.uint64(8))
        fits = (
            (self._words_at(begins) - np.uint64(1) < np.uint64(1 << 32)) & (sizes >= 16) & (sizes < 1 << 20)
        )
        fits &= self._pointer_kind(begins) == _NO_POINTER
        for offset in (_TYPE_SIZE, _TYPE_NAME + 8, _TYPE_FLAGS, *_TYPE_OFFSETS):
            fits &= self._pointer_kind(begins + np.uint64(offset)) == _NO_POINTER
        for offset in (_TYPE_SIZE, *_TYPE_OFFSETS):
            fits &= self._words_at(begins + np.uint64(offset)) < np.uint64(1 << 20)
        tables = [(begins[fits], _TYPE_BYTES)]
        for offset, size in _TYPE_TABLES:
            at = begins[fits] + np.uint64(offset)
            at = at[self._pointer_kind(at) == _TO_DATA]
            tables.append((values[np.searchsorted(slots, at)], size))
        inside = np.zeros(len(slots), dtype=np.bool_)
        for starts, size in tables:
            for start in starts.tolist():
                inside[np.searchsorted(slots, start) : np.searchsorted(slots, start + size)] = True
        found = values[inside]
        return found[self.is_code(found)]

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
        # Where a jump goes is a function only if a call, a symbol, an unwind entry or bare code begins there.
        called = [np.unique(aims[calls]) for _, aims, calls in self._branches_of_parts()]
        far_places, far_aims = self._far_jumps
        known = [self.elf.symbols.starts, self._unwound, self._stubs[0], self._begun_bare]
        begun = np.unique(np.concatenate([*called, *known]))
        places, aims = [], []
        for place, aim, call in self._branches_of_parts():
            kept = call | np.isin(aim, begun)
            places.append(place[kept])
            aims.append(aim[kept])
        if not len(far_places):
            return np.concatenate([far_places, *places]), np.concatenate([far_aims, *aims])
        every = np.concatenate([far_places, *places])
        order = np.argsort(every, kind="stable")
        return every[order], np.concatenate([far_aims, *aims])[order]

    @cached_property
    def _far_jumps(self) -> tuple[Addresses, Addresses]:
        """The places of jumps by ``adrp``, ``add`` and ``br``, and where they go; see :func:`.is_far_jump`."""
        text, words = self.text, self.text.words
        jumps = text.matching(0xFFFFFC1F, 0xD61F0000)
        jumps = jumps[jumps >= 2]
        chosen = [at for at in jumps.tolist() if is_far_jump(*words[at - 2 : at + 1].tolist())]
        index = np.array(chosen, dtype=np.intp)
        base = _page_of(text.addresses(index - 2), words[index - 2])
        aims = base + (words[index - 1] >> np.uint32(10) & np.uint32(0xFFF)).astype(np.int64)
        inside = self.is_code(aims.astype(np.uint64))
        return text.addresses(index)[inside], aims.astype(np.uint64)[inside]

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
        """The functions of ``.eh_frame_hdr``."""
        return self._unwinding[0]

    @cached_property
    def _unwinding(self) -> tuple[Addresses, Addresses]:
        """The functions of ``.eh_frame_hdr`` and their sizes: 0 where an entry cannot be read.

        It is a table of two 32-bit offsets from the section's start each: that of the function, and of its entry in
        ``.eh_frame``, which has the size behind its length, the offset of its CIE and its start, of 4 bytes each.
        """
        section = self._by_name.get(".eh_frame_hdr")
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
        section = self._by_name.get(".eh_frame")
        if section is None or section["sh_type"] == "SHT_NOBITS":
            return found
        words = np.frombuffer(self._bytes(section), dtype="<u4", count=section["sh_size"] // 4)
        index = (addresses.astype(np.int64) - np.int64(section["sh_addr"])) // 4
        inside = (index >= 0) & (index < len(words))
        found[inside] = words[index[inside]]
        return found

    @cached_property
    def _begun_bare(self) -> Addresses:
        """Where code begins that has neither a symbol nor an entry for unwinding, and that something leads to.

        That is where a jump or a pointer goes, behind a word that ends a function. So it is in a file that was
        stripped and compiled without unwinding, and in assembly code.
        """
        first, last = self._gaps
        if not len(first):
            return first

        def bare(addresses: Addresses) -> Addresses:
            at = np.searchsorted(first, addresses, side="right") - 1
            return addresses[(at >= 0) & (addresses < last[np.maximum(at, 0)])]

        aims = [bare(aims[~calls]) for _, aims, calls in self._branches_of_parts()]
        every = np.unique(np.concatenate([*aims, *(bare(one) for one in self._addresses_made())]))
        every = every[self.is_code(every)]
        before = np.array([self._last_word_before(one) for one in every.tolist()], dtype=np.uint32)
        return every[_ends(before)]

    @cached_property
    def _gaps(self) -> tuple[Addresses, Addresses]:
        """Where neither a symbol nor an entry for unwinding says what the code is: first and end of each gap."""
        starts = np.concatenate([self._unwinding[0], self._sized_symbols[0]])
        ends = starts + np.concatenate([self._unwinding[1], self._sized_symbols[1]])
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], np.maximum.accumulate(ends[order])
        bases = [np.uint64(one.address) for one in self._codes]
        limits = [np.uint64(one.address + 4 * len(one.words)) for one in self._codes]
        first = np.concatenate([np.array(bases[:1], dtype=np.uint64), ends])
        last = np.concatenate([starts, np.array(limits[-1:], dtype=np.uint64)])
        wide = last > first
        first, last = first[wide], last[wide]
        # Between functions is padding.
        own = np.array(
            [not self._is_padding(*pair) for pair in zip(first.tolist(), last.tolist(), strict=True)]
        )
        return (first[own], last[own]) if len(own) else (first, last)

    def _is_padding(self, start: int, end: int) -> bool:
        return end - start < _PADDING and bool(np.isin(self.text.slice(start, end), (_NOP, 0)).all())

    def _last_word_before(self, address: int) -> int:
        """Return the word before an address, other than padding; 0 at the start of a section."""
        words = self.text.slice(max(address - _PADDING, 0), address)
        kept = words[words != np.uint32(_NOP)]
        return int(kept[-1]) if len(kept) else 0

    @cached_property
    def _sized_symbols(self) -> tuple[Addresses, Addresses]:
        symbols = self.elf.symbols
        return symbols.starts, symbols.ends - symbols.starts

    def _addresses_made(self) -> Iterator[Addresses]:
        """Yield what ``adrp`` and an ``add`` to the same register, up to three words later, make."""
        for first, part in parts(self.text.words):
            pages = matching(part, 0x9F000000, 0x90000000)
            base = _page_of(self.text.addresses(first + pages), part[pages])
            register = part[pages] & np.uint32(31)
            for distance in (1, 2, 3):
                at = np.minimum(pages + distance, len(part) - 1)
                adds = part[at] & np.uint32(0xFFC003E0) == np.uint32(0x91000000) | register << np.uint32(5)
                low = (part[at[adds]] >> np.uint32(10) & np.uint32(0xFFF)).astype(np.int64)
                yield (base[adds] + low).astype(np.uint64)

    @cached_property
    def _relocations(self) -> tuple[NDArray[np.void], ...]:
        """The tables of relocations that the loader reads.

        Raises:
            MalformedElfError: one names a symbol that the file does not have.
        """
        found = tuple(
            np.frombuffer(self._bytes(section), dtype=_RELA, count=section["sh_size"] // _RELA.itemsize)
            for section in self._sections
            if section["sh_type"] == "SHT_RELA" and section["sh_flags"] & 2  # SHF_ALLOC
        )
        count = max(len(self._dynamic_symbols.entries), 1)
        if any(len(table) and int(table["info"].max()) >> 32 >= count for table in found):
            raise MalformedElfError(f"{self.elf.member}: a relocation names a symbol that does not exist")
        return found

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
        """The pointers to code, of a file that can hold CPython's tables. Those of the GOT stand in no table."""
        slots, values = self._text_pointers
        if not self.speaks_python:
            return slots[:0], values[:0]
        outside = np.ones(len(slots), dtype=np.bool_)
        for name in (".got", ".got.plt"):
            if (section := self._by_name.get(name)) is not None:
                start = section["sh_addr"]
                outside &= (slots < start) | (slots >= start + section["sh_size"])
        return slots[outside], values[outside]

    def _words_at(self, addresses: Addresses) -> Addresses:
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


def _ends(words: Words) -> NDArray[np.bool_]:
    """Return which words the next one does not follow: b, br, ret, brk, and udf."""
    jumps = words & np.uint32(0xFC000000) == np.uint32(0x14000000)
    registers = np.isin(words & np.uint32(0xFFFFFC1F), np.array([0xD61F0000, 0xD65F0000], dtype=np.uint32))
    stops = words & np.uint32(0xFFE0001F) == np.uint32(0xD4200000)
    found: NDArray[np.bool_] = jumps | registers | stops | (words < np.uint32(0x10000))
    return found


def _page_of(addresses: Addresses, words: Words) -> NDArray[np.int64]:
    """Return the page that each ``adrp`` makes (DDI 0487, C6.2.12)."""
    low = (words >> np.uint32(29)).astype(np.int64) & 3
    high = (words >> np.uint32(5)).astype(np.int64) & 0x7FFFF
    offset = ((high << 2 | low) << 43) >> 31
    return (addresses.astype(np.int64) & ~np.int64(0xFFF)) + offset
