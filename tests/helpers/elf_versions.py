"""Versions of symbols that a library or program asks for (Linux Standard Base, "Symbol Versioning")."""

from __future__ import annotations

from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection, GNUVerSymSection
from elftools.elf.sections import SymbolTableSection


def required_versions(path: Path) -> dict[str, str]:
    """The version that each undefined symbol of a library or program asks for."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        needed, entries = elf.get_section_by_name(".gnu.version_r"), elf.get_section_by_name(".gnu.version")
        symbols = elf.get_section_by_name(".dynsym")
        assert isinstance(needed, GNUVerNeedSection)
        assert isinstance(entries, GNUVerSymSection)
        assert isinstance(symbols, SymbolTableSection)
        names = {
            auxiliary["vna_other"]: auxiliary.name
            for _, auxiliaries in needed.iter_versions()
            for auxiliary in auxiliaries
        }
        return {
            symbol.name: names[entries.get_symbol(index)["ndx"]]
            for index, symbol in enumerate(symbols.iter_symbols())
            if symbol["st_shndx"] == "SHN_UNDEF" and entries.get_symbol(index)["ndx"] in names
        }
