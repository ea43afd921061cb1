"""Reads the parts of an ELF file that an audit needs: type, segments, dynamic section, flags, code, symbols.

Symbols and instructions are read with numpy, since a mathematics library can have 100,000 symbols and 10 million
instructions. The layouts are those of the System V ABI and of ELF for the Arm 64-bit Architecture.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from elftools.common.exceptions import ELFError
from elftools.elf.constants import P_FLAGS, SH_FLAGS
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import Section
from numpy.typing import NDArray

Addresses = NDArray[np.uint64]
Words = NDArray[np.uint32]

_SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
_STT_NOTYPE, _STT_FUNC, _STT_FILE, _STT_GNU_IFUNC = 0, 2, 4, 10
_STT_MASK = 0xF
_SHN_LORESERVE = 0xFF00
_STB_LOCAL, _STB_GLOBAL = 0, 1
_VER_NDX_GLOBAL = 1
_DF_STATIC_TLS = 0x10
_SH_SIZE_OFFSET = 32  # of Elf64_Shdr
# The attribute in which pyelftools stores the string of a dynamic tag.
_TAG_TEXT = {"DT_NEEDED": "needed", "DT_RPATH": "rpath", "DT_RUNPATH": "runpath"}
# Objects of a static archive have no addresses yet. So each section gets its own range.
_OBJECT_SECTION_SHIFT = 40


class MalformedElfError(Exception):
    """A file with the ELF magic number and malformed content."""


@dataclass(frozen=True)
class Segment:
    """A LOAD segment: file offset, address, alignment, and size in the file, in bytes."""

    offset: int
    address: int
    alignment: int
    size: int


@dataclass(frozen=True)
class Code:
    """The words of one executable section, and which of them mapping symbols mark as data.

    ``offset`` is that of the section in the file, in bytes.
    """

    section: str
    address: int
    offset: int
    words: Words
    data: NDArray[np.bool_]


@dataclass(frozen=True)
class SymbolTable:
    """A symbol table, with one element per symbol, and its strings: ``image`` from ``first`` to before ``end``."""

    entries: NDArray[np.void]
    image: bytes = field(default=b"", repr=False)
    first: int = 0
    end: int = 0

    def name(self, offset: int) -> str:
        """Return the string at an offset."""
        start = min(self.first + offset, self.end)
        end = self.image.find(b"\0", start, self.end)
        return self.image[start : end if end >= 0 else self.end].decode("utf-8", errors="replace")

    def starts(self, offset: int, prefix: bytes) -> bool:
        """Whether the string at an offset starts with ``prefix``."""
        return self.image.startswith(prefix, self.first + offset, self.end)

    def offsets_of(self, name: bytes) -> list[int]:
        """Return the offsets of all strings equal to ``name``; linkers let strings share their ends."""
        found, at = [], self.first
        while (at := self.image.find(name + b"\0", at, self.end)) >= 0:
            found.append(at - self.first)
            at += 1
        return found


@dataclass(frozen=True)
class Symbols:
    """Function symbols, sorted by address.

    ``offsets`` are those of their names, and ``units`` those of the names of their source files: 0 for symbols that
    are not local to one. Names are read when they are asked for, since a library can have 500,000.
    """

    starts: Addresses
    ends: Addresses
    table: SymbolTable
    offsets: Words
    units: Words

    def at(self, addresses: Addresses) -> NDArray[np.intp]:
        """Return for each address the index of the function that contains it, or -1."""
        if not len(self.starts):
            return np.full(len(addresses), -1, dtype=np.intp)
        index = np.searchsorted(self.starts, addresses, side="right") - 1
        inside = (index >= 0) & (addresses < self.ends[np.maximum(index, 0)])
        return np.where(inside, index, -1)

    def name(self, index: int) -> str:
        """Return the name of one function."""
        return self.table.name(int(self.offsets[index]))

    def unit(self, index: int) -> str | None:
        """Return the source file that a function is local to; ``None`` for others."""
        offset = int(self.units[index])
        return self.table.name(offset) or None if offset else None

    def named(self, names: Iterable[str]) -> Addresses:
        """Return the addresses of the functions with these names."""
        offsets = [offset for name in names for offset in self.table.offsets_of(name.encode())]
        return self.starts[np.isin(self.offsets, np.array(offsets, dtype=np.uint32))]


@dataclass(frozen=True)
class Elf:
    """One ELF file of a wheel. ``static_tls`` and ``debug_bytes`` are sizes in bytes.

    ``unversioned`` are the symbols that it needs of other files, without a version of them.
    """

    member: str
    machine: str
    bits: int
    little_endian: bool
    kind: str
    has_sections: bool = False
    segments: tuple[Segment, ...] = ()
    rpaths: tuple[tuple[str, str], ...] = ()
    needed: tuple[str, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    command_lines: tuple[str, ...] = ()
    executable_stack: bool = False
    static_tls: int = 0
    debug_bytes: int = 0
    unversioned: tuple[str, ...] = ()
    image: bytes = field(default=b"", repr=False)

    @property
    def is_aarch64(self) -> bool:
        """Whether the file is for 64-bit little-endian Arm."""
        return self.machine == "EM_AARCH64" and self.bits == 64 and self.little_endian

    @property
    def is_loadable(self) -> bool:
        """Whether the dynamic loader can load the file. Objects of static archives are only linked."""
        return self.kind in {"ET_DYN", "ET_EXEC"}

    def names_any(self, names: Iterable[str]) -> bool:
        """Whether ``.symtab`` has one of these names, defined or not.

        Raises:
            MalformedElfError: the table extends beyond the file.
        """
        with parsing(self.member):
            table = symbol_table(ELFFile(io.BytesIO(self.image)), self.image, ".symtab")
        offsets = [offset for name in names for offset in table.offsets_of(name.encode())]
        return bool(np.isin(table.entries["name"], np.array(offsets, dtype=np.uint32)).any())

    def code(self) -> tuple[Code, ...]:
        """Return the executable sections, with the words that ``$d`` mapping symbols mark as data.

        Raises:
            MalformedElfError: a section extends beyond the file.
        """
        return self._sections_of_code

    @cached_property
    def _sections_of_code(self) -> tuple[Code, ...]:
        with parsing(self.member):
            elf = ELFFile(io.BytesIO(self.image))
            table = symbol_table(elf, self.image, ".symtab")
            return tuple(
                self._code(section, index, table)
                for index, section in enumerate(elf.iter_sections())
                if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR and section["sh_type"] != "SHT_NOBITS"
            )

    def _code(self, section: Section, index: int, table: SymbolTable) -> Code:
        body = section_bytes(self.image, section)
        words = np.frombuffer(body, dtype="<u4", count=len(body) // 4)
        linked = self.kind != "ET_REL"
        address = section["sh_addr"] if linked else index << _OBJECT_SECTION_SHIFT
        data = _data_mask(table, index, section["sh_addr"] if linked else 0, len(words))
        return Code(section.name, address, section["sh_offset"], words, data)

    def unjudged_functions(self) -> tuple[str, ...]:
        """Return the functions in executable segments that lie in no executable section.

        Raises:
            MalformedElfError: a table or a section extends beyond the file.
        """
        with parsing(self.member):
            elf = ELFFile(io.BytesIO(self.image))
            table = symbol_table(elf, self.image, ".symtab")
            if not len(table.entries):
                table = symbol_table(elf, self.image, ".dynsym")
            entries = table.entries
            kinds = entries["info"] & _STT_MASK
            functions = (kinds == _STT_FUNC) | (kinds == _STT_GNU_IFUNC)
            entries = entries[functions & (entries["section"] != 0) & (entries["section"] < _SHN_LORESERVE)]
            runs = np.zeros(len(entries), dtype=np.bool_)
            for one in elf.iter_segments():
                if one["p_type"] == "PT_LOAD" and one["p_flags"] & P_FLAGS.PF_X:
                    start, end = one["p_vaddr"], one["p_vaddr"] + one["p_filesz"]
                    runs |= (entries["value"] >= start) & (entries["value"] < end)
            for section in elf.iter_sections():
                if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR:
                    start, end = section["sh_addr"], section["sh_addr"] + section["sh_size"]
                    runs &= (entries["value"] < start) | (entries["value"] >= end)
        return tuple(table.name(int(offset)) for offset in entries["name"][runs])

    @cached_property
    def symbols(self) -> Symbols:
        """The functions of ``.symtab``, or of ``.dynsym`` if there is no ``.symtab``.

        Raises:
            MalformedElfError: a table extends beyond the file.
        """
        with parsing(self.member):
            elf = ELFFile(io.BytesIO(self.image))
            table = symbol_table(elf, self.image, ".symtab")
            if not len(table.entries):
                table = symbol_table(elf, self.image, ".dynsym")
        kinds, bindings = table.entries["info"] & _STT_MASK, table.entries["info"] >> 4
        # Assembly code may omit the type of a function. So a global symbol without a type counts as one.
        labels = (kinds == _STT_NOTYPE) & (bindings != _STB_LOCAL)
        functions = (kinds == _STT_FUNC) | (kinds == _STT_GNU_IFUNC) | labels
        chosen = np.flatnonzero(functions & (table.entries["section"] != 0))
        entries, units = table.entries[chosen], _units(table, chosen)
        starts = entries["value"].astype(np.uint64)
        if self.kind == "ET_REL":
            starts += entries["section"].astype(np.uint64) << np.uint64(_OBJECT_SECTION_SHIFT)
        order = np.argsort(starts, kind="stable")
        starts, sizes = starts[order], entries["size"][order]
        # It may omit the size, too. Such a function extends to the next one.
        following = np.append(starts[1:], np.uint64(2**64 - 1)) if len(starts) else starts
        ends = np.where(sizes == 0, following, starts + sizes)
        return Symbols(starts, ends, table, entries["name"][order], units[order])


def read(member: str, data: bytes) -> Elf:
    """Read the ELF file ``data``. For machines other than aarch64, read only the header.

    Raises:
        MalformedElfError: the tables contradict each other, or extend beyond the file.
    """
    with parsing(member):
        elf = ELFFile(io.BytesIO(data))
        facts = Elf(
            member=member,
            machine=str(elf["e_machine"]),
            bits=elf.elfclass,
            little_endian=elf.little_endian,
            kind=str(elf["e_type"]),
        )
        return _dynamic_facts(facts, elf, data) if facts.is_aarch64 else facts


@contextmanager
def parsing(member: str) -> Iterator[None]:
    """Convert exceptions of the parser into a :class:`MalformedElfError` that names the member."""
    try:
        yield
    except (
        ELFError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        AssertionError,
        OverflowError,  # an offset beyond 2**63
        ZeroDivisionError,  # rows of 0 bytes
    ) as error:
        raise MalformedElfError(f"{member}: {error}") from error


def _dynamic_facts(facts: Elf, elf: ELFFile, data: bytes) -> Elf:
    rpaths: list[tuple[str, str]] = []
    needed: list[str] = []
    versions: list[tuple[str, str]] = []
    lines: list[str] = []
    static_tls = False
    for segment in elf.iter_segments():
        if isinstance(segment, DynamicSegment):
            for tag in segment.iter_tags():
                if tag.entry.d_tag == "DT_NEEDED":
                    needed.append(getattr(tag, _TAG_TEXT["DT_NEEDED"]))
                elif tag.entry.d_tag == "DT_FLAGS":
                    static_tls = bool(tag.entry.d_val & _DF_STATIC_TLS)
                elif tag.entry.d_tag in _TAG_TEXT:
                    kind = str(tag.entry.d_tag)
                    rpaths.append((kind.removeprefix("DT_"), getattr(tag, _TAG_TEXT[kind])))
    for section in elf.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            versions += [
                (str(need.name), str(one.name)) for need, ones in section.iter_versions() for one in ones
            ]
        elif section.name == ".GCC.command.line":
            body = bytes(section_bytes(data, section)).decode("utf-8", errors="replace")
            lines += [line for line in body.split("\0") if line]
    return Elf(
        member=facts.member,
        machine=facts.machine,
        bits=facts.bits,
        little_endian=facts.little_endian,
        kind=facts.kind,
        has_sections=elf.num_sections() > 0,
        segments=tuple(
            Segment(one["p_offset"], one["p_vaddr"], one["p_align"], one["p_filesz"])
            for one in elf.iter_segments()
            if one["p_type"] == "PT_LOAD"
        ),
        rpaths=tuple(rpaths),
        needed=tuple(needed),
        versions=tuple(versions),
        command_lines=tuple(lines),
        executable_stack=any(
            one["p_type"] == "PT_GNU_STACK" and one["p_flags"] & P_FLAGS.PF_X for one in elf.iter_segments()
        ),
        static_tls=static_tls
        * sum(one["p_memsz"] for one in elf.iter_segments() if one["p_type"] == "PT_TLS"),
        debug_bytes=sum(
            one["sh_size"] for one in elf.iter_sections() if one.name.startswith((".debug_", ".zdebug_"))
        ),
        unversioned=_unversioned(elf, data),
        image=data,
    )


def _unversioned(elf: ELFFile, data: bytes) -> tuple[str, ...]:
    """Return the undefined global symbols of ``.dynsym`` without a version (LSB Core, section 10.7.2)."""
    table = symbol_table(elf, data, ".dynsym")
    wanted = (table.entries["section"] == 0) & (table.entries["info"] >> 4 == _STB_GLOBAL)
    section = elf.get_section_by_name(".gnu.version")
    if section is not None:
        body = section_bytes(data, section)
        versions = np.frombuffer(body, dtype="<u2", count=min(len(body) // 2, len(wanted)))
        wanted[: len(versions)] &= versions & 0x7FFF <= _VER_NDX_GLOBAL
    return tuple(table.name(int(offset)) for offset in table.entries["name"][wanted])


def without_definitions(one: Elf) -> Iterator[bytes | memoryview]:
    """Yield the parts of a copy of a file, whose ``.dynsym`` has only the undefined symbols and ``PyInit_*``.

    Tools that look for what a file needs read every symbol. A mathematics library defines 100,000.

    Raises:
        MalformedElfError: a table extends beyond the file.
    """
    whole = memoryview(one.image)
    with parsing(one.member):
        elf = ELFFile(io.BytesIO(one.image))
        index = elf.get_section_index(".dynsym")
        if index is None:
            yield whole
            return
        section = elf.get_section(index)
        table = symbol_table(elf, one.image, ".dynsym")
        size_at = elf["e_shoff"] + index * elf["e_shentsize"] + _SH_SIZE_OFFSET
        kept = (table.entries["section"] == 0) | [
            table.starts(int(offset), b"PyInit_") for offset in table.entries["name"]
        ]
    body = table.entries[kept].tobytes()
    patches = sorted([(section["sh_offset"], body), (size_at, len(body).to_bytes(8, "little"))])
    at = 0
    for offset, patch in patches:
        yield whole[at:offset]
        yield patch
        at = offset + len(patch)
    yield whole[at:]


def section_bytes(data: bytes, section: Section) -> memoryview:
    start, size = section["sh_offset"], section["sh_size"]
    if start + size > len(data):
        raise MalformedElfError(f"section {section.name} extends beyond the file")
    return memoryview(data)[start : start + size]


def symbol_table(elf: ELFFile, image: bytes, name: str) -> SymbolTable:
    """Return the symbol table in the section called ``name``; an empty one if there is none."""
    section = elf.get_section_by_name(name)
    if section is None:
        return SymbolTable(np.zeros(0, dtype=_SYMBOL))
    body = section_bytes(image, section)
    entries = np.frombuffer(body, dtype=_SYMBOL, count=len(body) // _SYMBOL.itemsize)
    strings = elf.get_section(section["sh_link"])
    first, size = strings["sh_offset"], len(section_bytes(image, strings))
    return SymbolTable(entries, image, first, first + size)


def _units(table: SymbolTable, chosen: NDArray[np.intp]) -> Words:
    """Return for each chosen local symbol the offset of its source file's name; 0 for other symbols.

    A symbol of type ``STT_FILE`` precedes the local symbols of its file (System V ABI, "Symbol Table"). After one
    with an empty name, the linker places hidden symbols of any file, which it made local.
    """
    kinds, bindings = table.entries["info"] & _STT_MASK, table.entries["info"] >> 4
    files = np.flatnonzero(kinds == _STT_FILE)
    names = np.append(np.uint32(0), table.entries["name"][files])
    units = names[np.searchsorted(files, chosen)]
    units[bindings[chosen] != _STB_LOCAL] = 0
    return units


def _data_mask(table: SymbolTable, section: int, base: int, count: int) -> NDArray[np.bool_]:
    """Return which words of a section lie between a ``$d`` mapping symbol and the next ``$x`` (AAELF64)."""
    entries = table.entries
    own = entries[(entries["section"] == section) & (entries["info"] & _STT_MASK == _STT_NOTYPE)]
    marks = sorted(
        (int(entry["value"]) - base, mark[1])
        for entry in own
        if (mark := table.name(int(entry["name"]))[:2]) in {"$d", "$x"}
    )
    if not any(kind == "d" for _, kind in marks):
        return np.broadcast_to(np.False_, count)  # without memory for each word
    mask = np.zeros(count, dtype=np.bool_)
    for position, (offset, kind) in enumerate(marks):
        if kind == "d":
            end = marks[position + 1][0] if position + 1 < len(marks) else count * 4
            mask[max(offset, 0) // 4 : (end + 3) // 4] = True
    return mask
