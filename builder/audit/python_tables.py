"""The functions that CPython calls: those in tables of modules, methods, attributes, and types.

The tables hold pointers that the loader writes, so they are found in a stripped file, too.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from builder.audit.elf import Addresses
from builder.audit.loaded import Loaded

# The slots of a module definition (CPython, Include/moduleobject.h): create and exec, which hold functions; those
# for several interpreters and without the GIL, which hold 0, 1 or 2; and those of PEP 793.
_MODULE_SLOTS = (1, 2)
_MODULE_SETTINGS, _LAST_SETTING = (3, 4), 2
_MODULE_DETAILS = tuple(range(5, 17))
_METHOD_FLAGS = 0x3FF  # all METH_ flags (CPython, Include/methodobject.h)
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


class PythonTables:
    """CPython's tables in one loaded file. Everything is computed when it is first asked for."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    @cached_property
    def speaks_python(self) -> bool:
        """Whether the file uses CPython's C API."""
        table = self._loaded.dynamic_symbols.entries
        return any(
            name.startswith(("Py", "_Py")) and not section
            for name, section in zip(self._loaded.names, table["section"].tolist(), strict=True)
        )

    @cached_property
    def module_functions(self) -> Addresses:
        """``PyInit_*``, and the functions of module slots, which an import runs (:pep:`489`)."""
        found = [
            address
            for name, address in self._loaded.exports.items()
            if name.startswith(("PyInit_", "PyModExport_"))
        ]
        slots, values = self._python_pointers
        before, after = slots - np.uint64(8), slots + np.uint64(8)
        numbered = np.isin(self._loaded.words_at(before), _MODULE_SLOTS) & (
            self._pointer_kind(before) == _NO_POINTER
        )
        # The next row is the end, one more function, or a setting, which is a small number.
        number, value = self._loaded.words_at(after), self._loaded.words_at(after + np.uint64(8))
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
        name, flags = self._pointer_kind(before), self._loaded.words_at(after)
        plain_after = self._pointer_kind(after) == _NO_POINTER
        method = (name == _TO_DATA) & plain_after & (flags > 0) & (flags <= _METHOD_FLAGS)
        number = self._loaded.words_at(before)
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
        setter, plain = (
            self._pointer_kind(slots + np.uint64(8)),
            self._loaded.words_at(slots + np.uint64(8)) == 0,
        )
        getter &= (setter == _TO_CODE) | ((setter == _NO_POINTER) & plain)
        text = self._pointer_kind(slots + np.uint64(16))
        getter &= (text == _TO_DATA) | (
            (text == _NO_POINTER) & (self._loaded.words_at(slots + np.uint64(16)) == 0)
        )
        # The next row has a name, too, or is the end.
        name = self._pointer_kind(slots + np.uint64(32))
        getter &= (name == _TO_DATA) | (
            (name == _NO_POINTER) & (self._loaded.words_at(slots + np.uint64(32)) == 0)
        )
        rows = slots[getter]
        rows = rows[[self._is_name(int(slot) - 8) for slot in rows.tolist()]]
        return values[np.isin(slots, np.concatenate([rows, rows + np.uint64(8)]))]

    def _is_name(self, slot: int) -> bool:
        """Whether the pointer at ``slot`` leads to a name of Python."""
        address = self._loaded.pointer_at(slot)
        for one in self._loaded.elf.segments if address is not None else ():
            if address is not None and one.address <= address < one.address + one.size:
                first = one.offset + address - one.address
                name = self._loaded.elf.image[first : first + _LONGEST_NAME].partition(b"\0")[0]
                return name.decode("latin-1").isidentifier()
        return False

    @cached_property
    def _static_types(self) -> Addresses:
        """The functions of each ``PyTypeObject`` (CPython, Include/cpython/object.h), and of its tables.

        It begins with a count of references, its type, no size, a name, the size of an object and that of an item.
        Its flags lie between 13 pointers, and it has the functions of numbers, sequences, mappings and buffers in
        tables of their own.
        """
        slots, values = self._loaded.pointers
        if not self.speaks_python or not len(slots):
            return slots[:0]
        names = slots[self._pointer_kind(slots) == _TO_DATA]
        begins = names - np.uint64(_TYPE_NAME)
        sizes = self._loaded.words_at(names + np.uint64(8))
        fits = (
            (self._loaded.words_at(begins) - np.uint64(1) < np.uint64(1 << 32))
            & (sizes >= 16)
            & (sizes < 1 << 20)
        )
        fits &= self._pointer_kind(begins) == _NO_POINTER
        for offset in (_TYPE_SIZE, _TYPE_NAME + 8, _TYPE_FLAGS, *_TYPE_OFFSETS):
            fits &= self._pointer_kind(begins + np.uint64(offset)) == _NO_POINTER
        for offset in (_TYPE_SIZE, *_TYPE_OFFSETS):
            fits &= self._loaded.words_at(begins + np.uint64(offset)) < np.uint64(1 << 20)
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
        return found[self._loaded.is_code(found)]

    def _pointer_kind(self, addresses: Addresses) -> NDArray[np.int8]:
        """Return whether the loader writes an address at each place, and whether it is one of code or of data."""
        slots, values = self._loaded.pointers
        kinds = np.full(len(addresses), _NO_POINTER, dtype=np.int8)
        if not len(slots):
            return kinds
        at = np.minimum(np.searchsorted(slots, addresses), len(slots) - 1)
        there = slots[at] == addresses
        kinds[there] = np.where(self._loaded.is_code(values[at[there]]), _TO_CODE, _TO_DATA)
        return kinds

    @cached_property
    def _python_pointers(self) -> tuple[Addresses, Addresses]:
        """The pointers to code, of a file that can hold CPython's tables. Those of the GOT stand in no table."""
        slots, values = self._loaded.text_pointers
        if not self.speaks_python:
            return slots[:0], values[:0]
        outside = np.ones(len(slots), dtype=np.bool_)
        for name in (".got", ".got.plt"):
            if (section := self._loaded.sections.get(name)) is not None:
                start = section["sh_addr"]
                outside &= (slots < start) | (slots >= start + section["sh_size"])
        return slots[outside], values[outside]
