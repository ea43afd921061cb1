"""Who calls whom in one ELF file: its functions, direct calls, and calls through the PLT and the GOT.

The file may be stripped. So functions begin at symbols, at entries of ``.eh_frame_hdr`` (LSB Core, section 10.6),
at constructors, and where a call goes. Instruction encodings are those of DDI 0487, section C4.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from builder.audit.elf import Addresses, Elf, Words
from builder.audit.guards import is_far_jump
from builder.audit.loaded import Loaded
from builder.audit.python_tables import PythonTables
from builder.audit.text import Indexes, Numbers, Text, matching, parts, text_of

_BTI_C = 0xD503245F
_TABLE_WORDS = 8  # between adrp, ldr and blr of one call stand fewer words
_PADDING, _NOP = 64, 0xD503201F  # functions are aligned to 64 bytes at most


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
        self.loaded = Loaded(elf)
        self.python = PythonTables(self.loaded)

    @cached_property
    def text(self) -> Text:
        """The words of all executable sections."""
        return text_of(self.elf, self.loaded.codes)

    @cached_property
    def starts(self) -> Addresses:
        """The addresses at which functions begin, sorted."""
        own = self.elf.symbols.starts
        every = np.unique(
            np.concatenate(
                [
                    own,
                    self._unwound,
                    self.loaded.constructors,
                    self.loaded.destructors,
                    self.loaded.resolvers,
                    self.loaded.text_pointers[1],
                    self._branches[1],
                    self._begun_bare,
                ]
            )
        )
        return every[self.loaded.is_code(every)]

    def function_of(self, addresses: Addresses) -> Indexes:
        """Return the index into :attr:`starts` of the function that each address lies in; -1 before the first."""
        return np.searchsorted(self.starts, addresses, side="right") - 1

    def end_of(self, function: int) -> int:
        """Return the address after a function's last word: that at which the next function begins."""
        if function + 1 < len(self.starts):
            return int(self.starts[function + 1])
        last = self.loaded.codes[-1]
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
            targets[near[inside]] = [self._defined(self.loaded.names[number]) for number in numbers]
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
        slots = self.loaded.got
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
        targets = np.array([self._defined(self.loaded.names[number]) for number in imports], dtype=np.int32)
        inside = callers >= 0
        return Calls(where[inside], callers[inside], targets[inside], imports[inside])

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

    def _defined(self, name: str) -> int:
        address = self.loaded.exports.get(name)
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
        inside = self.loaded.is_code(aims.astype(np.uint64))
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
        by_slot = self.loaded.plt
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
        return self.loaded.unwinding[0]

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
        every = every[self.loaded.is_code(every)]
        before = np.array([self._last_word_before(one) for one in every.tolist()], dtype=np.uint32)
        return every[_ends(before)]

    @cached_property
    def _gaps(self) -> tuple[Addresses, Addresses]:
        """Where neither a symbol nor an entry for unwinding says what the code is: first and end of each gap."""
        starts = np.concatenate([self.loaded.unwinding[0], self._sized_symbols[0]])
        ends = starts + np.concatenate([self.loaded.unwinding[1], self._sized_symbols[1]])
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], np.maximum.accumulate(ends[order])
        bases = [np.uint64(one.address) for one in self.loaded.codes]
        limits = [np.uint64(one.address + 4 * len(one.words)) for one in self.loaded.codes]
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
