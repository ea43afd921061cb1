"""Checks of single ELF files and of the archive: machine, alignment, search paths, size."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from builder.audit.archive import WheelFile
from builder.audit.elf import Elf
from builder.audit.verdicts import Verdict, counted, failed, not_applicable, passed, sized

# Linux on Arm may run with pages of 4, 16 or 64 KiB; only a file aligned to the largest loads on all.
LARGEST_PAGE_BYTES = 65536
_ORIGIN = re.compile(r"^\$(?:ORIGIN|\{ORIGIN\})(?=/|$)")
_DATA_SCHEME = re.compile(r"^[^/]+\.data/(?:platlib|purelib)/")
_SHOWN = 5


def check_machine(wheel: WheelFile, elves: Iterable[Elf], malformed: Mapping[str, str]) -> Verdict:
    """Every ELF file is 64-bit little-endian Arm, and the tag says whether there should be any.

    A wheel for a platform holds at least one shared library; one for ``any`` platform holds no ELF file. All
    are listed in ``RECORD``, since auditwheel looks at no others.
    """
    check = "machine"
    everything = list(elves)
    faults = [f"{member}: damaged: {why}" for member, why in malformed.items()]
    for one in everything:
        if not one.is_aarch64:
            order = "little" if one.little_endian else "big"
            machine = one.machine.removeprefix("EM_").lower()
            faults.append(f"{one.member}: {one.bits}-bit {order}-endian {machine}, not 64-bit Arm")
        elif not one.has_sections:
            faults.append(f"{one.member}: no section table, so that its code cannot be told from its data")
    names = [one.member.partition("(")[0] for one in everything]
    faults += [f"{name}: not listed in RECORD" for name in dict.fromkeys(names) if name not in wheel.recorded]
    shared = [one.member for one in everything if one.kind == "ET_DYN"]
    if wheel.is_pure and (everything or malformed):
        faults.append(
            f"tagged for any platform, yet holds {counted(len(everything) + len(malformed), 'ELF file')}"
        )
    elif not wheel.is_pure and not shared:
        faults.append("tagged for a platform, yet holds no shared library")
    data = {"files": len(everything), "shared": len(shared)}
    if faults:
        return failed(check, _lines(faults), **data, faults=faults)
    if wheel.is_pure:
        return passed(check, "no machine code, as its tag says", **data)
    return passed(check, f"{counted(len(everything), 'ELF file')}, all 64-bit little-endian Arm", **data)


def check_alignment(elves: Iterable[Elf]) -> Verdict:
    """Every LOAD segment is aligned to 64 KiB, and its offset and address agree modulo that."""
    check = "alignment"
    loadable = [one for one in elves if one.is_loadable]
    if not loadable:
        return not_applicable(check, "nothing that is loaded")
    faults = []
    for one in loadable:
        if not one.segments:
            faults.append(f"{one.member}: no LOAD segment")
        for segment in one.segments:
            if segment.alignment < LARGEST_PAGE_BYTES:
                faults.append(
                    f"{one.member}: a LOAD segment is aligned to 0x{segment.alignment:x}, not 0x10000"
                )
            elif (segment.address - segment.offset) % LARGEST_PAGE_BYTES:
                place = f"address 0x{segment.address:x} and offset 0x{segment.offset:x}"
                faults.append(f"{one.member}: {place} disagree modulo 64 KiB")
    if faults:
        return failed(check, _lines(faults), faults=faults)
    return passed(check, f"LOAD segments of {counted(len(loadable), 'file')} fit pages of 64 KiB")


def check_rpath(elves: Iterable[Elf]) -> Verdict:
    """Every search path starts at ``$ORIGIN`` and stays inside the folder that the wheel unpacks to."""
    check = "rpath"
    found = [
        (one.member, kind, entry) for one in elves for kind, text in one.rpaths for entry in text.split(":")
    ]
    faults = [
        f"{member}: {kind} {fault}" for member, kind, entry in found if (fault := _path_fault(member, entry))
    ]
    if faults:
        return failed(check, _lines(faults), faults=faults)
    entries = sorted({entry for _, _, entry in found})
    summary = f"only {' '.join(entries)}" if entries else "no search path set"
    return passed(check, summary, entries=entries)


def check_size(wheel: WheelFile, limit: int | None) -> Verdict:
    """The file is no larger than the recipe's limit (bytes)."""
    check = "size"
    summary = sized(wheel.size)
    if limit is None:
        return not_applicable(check, f"{summary}, no limit set", bytes=wheel.size)
    if wheel.size > limit:
        return failed(check, f"{summary}, over the limit of {sized(limit)}", bytes=wheel.size, limit=limit)
    return passed(check, f"{summary} of {sized(limit)}", bytes=wheel.size, limit=limit)


def _path_fault(member: str, entry: str) -> str | None:
    origin = _ORIGIN.match(entry)
    if not origin:
        return f"'{entry}' does not start at $ORIGIN"
    folder = PurePosixPath(_DATA_SCHEME.sub("", member)).parent
    place = posixpath.normpath(f"{folder}/{entry[origin.end() :]}")
    return f"'{entry}' leaves the wheel" if place.startswith(("../", "/")) or place == ".." else None


def _lines(faults: list[str]) -> str:
    more = [f"and {len(faults) - _SHOWN:,} more"] if len(faults) > _SHOWN else []
    return "\n".join([*faults[:_SHOWN], *more])
