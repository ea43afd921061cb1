"""Checks of the machine, alignment and search paths of ELF files, and of the size of the wheel."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from builder.audit.archive import WheelFile
from builder.audit.elf import Elf, MalformedElfError
from builder.audit.verdicts import Verdict, counted, failed, not_applicable, passed, sized

# Linux on Arm uses pages of 4, 16 or 64 KiB. Only files aligned to 64 KiB load with all of them.
LARGEST_PAGE_BYTES = 65536
_ORIGIN = re.compile(r"^\$(?:ORIGIN|\{ORIGIN\})(?=/|$)")
_DATA_SCHEME = re.compile(r"^[^/]+\.data/(?:platlib|purelib)/")
_STATIC_TLS_RESERVE = 1664
_SHOWN = 5


def check_machine(wheel: WheelFile, elves: Iterable[Elf], malformed: Mapping[str, str]) -> Verdict:
    """Check that every ELF file is 64-bit little-endian Arm, with a section table that tells where code is.

    A wheel with the platform ``any`` must have no ELF file. Any other must have a shared library or a program.
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
            faults.append(f"{one.member}: no section table, so that code and data cannot be distinguished")
        elif one.is_loadable and (fault := _unjudged(one)):
            faults.append(fault)
    shared = [one.member for one in everything if one.is_loadable]
    if wheel.is_pure and (everything or malformed):
        faults.append(
            f"tagged for any platform, but has {counted(len(everything) + len(malformed), 'ELF file')}"
        )
    elif not wheel.is_pure and not shared:
        faults.append("tagged for a platform, but has no shared library and no program")
    data = {"files": len(everything), "shared": len(shared)}
    if faults:
        return failed(check, _lines(faults), **data, faults=faults)
    if wheel.is_pure:
        return passed(check, "no machine code, in agreement with the tag", **data)
    return passed(check, f"{counted(len(everything), 'ELF file')}, all 64-bit little-endian Arm", **data)


def check_alignment(elves: Iterable[Elf]) -> Verdict:
    """Check that every LOAD segment is aligned to 64 KiB, and that its offset and address agree modulo 64 KiB."""
    check = "alignment"
    loadable = [one for one in elves if one.is_loadable]
    if not loadable:
        return not_applicable(check, "no loadable file")
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
    """Check that every RPATH and RUNPATH starts at ``$ORIGIN`` and stays inside the installation folder."""
    check = "rpath"
    found = [
        (one.member, kind, entry)
        for one in elves
        for kind, text in one.rpaths
        if text  # the loader ignores an empty path (glibc, elf/dl-load.c)
        for entry in text.split(":")
    ]
    faults = [
        f"{member}: {kind} {fault}" for member, kind, entry in found if (fault := _path_fault(member, entry))
    ]
    if faults:
        return failed(check, _lines(faults), faults=faults)
    entries = sorted({entry for _, _, entry in found})
    summary = f"only {' '.join(entries)}" if entries else "no search path set"
    return passed(check, summary, entries=entries)


def check_loading(elves: Iterable[Elf]) -> Verdict:
    """Check that no file asks for an executable stack, or for more static TLS than the loader keeps in reserve.

    glibc 2.41 and later refuse to load a library that needs an executable stack (NEWS of 2.41). A library with
    static TLS (``DF_STATIC_TLS``) that is loaded after the start shares a reserve of 1,664 bytes with all others
    (glibc, elf/dl-tls.c).
    """
    check = "loading"
    loadable = [one for one in elves if one.is_loadable]
    if not loadable:
        return not_applicable(check, "no loadable file")
    faults, notes = [], []
    for one in loadable:
        if one.executable_stack:
            faults.append(f"{one.member}: needs an executable stack, which glibc 2.41 and later refuse")
        if one.static_tls > _STATIC_TLS_RESERVE:
            faults.append(
                f"{one.member}: {one.static_tls:,} bytes of static TLS, and the loader has {_STATIC_TLS_RESERVE:,}"
            )
        elif one.static_tls:
            notes.append(f"{one.member}: {one.static_tls:,} bytes of static TLS")
    if faults:
        return failed(check, _lines(faults), faults=faults)
    return passed(check, "; ".join(["no executable stack", *notes[:_SHOWN]]), static_tls=notes)


def check_size(wheel: WheelFile, elves: Iterable[Elf], limit: int | None) -> Verdict:
    """Check that the wheel is not larger than ``limit``, the recipe's limit in bytes.

    The verdict says so where most of the binaries are debug sections, which ``strip --strip-debug`` removes.
    """
    check = "size"
    binaries = list(elves)
    debug, whole = sum(one.debug_bytes for one in binaries), sum(len(one.image) for one in binaries)
    summary = sized(wheel.size)
    if 2 * debug > whole:
        summary += f", {sized(debug)} of {sized(whole)} of its binaries are debug sections"
    if limit is None:
        return not_applicable(check, f"{summary}, no limit set", bytes=wheel.size)
    if wheel.size > limit:
        return failed(check, f"{summary}, over the limit of {sized(limit)}", bytes=wheel.size, limit=limit)
    return passed(check, f"{summary} of {sized(limit)}", bytes=wheel.size, limit=limit)


def _unjudged(one: Elf) -> str | None:
    try:
        names = one.unjudged_functions()
    except MalformedElfError as error:
        return f"{one.member}: damaged: {error}"
    if not names:
        return None
    shown = ", ".join(names[:_SHOWN])
    return f"{one.member}: {counted(len(names), 'function')} in no section of code, so not judged: {shown}"


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
