"""Writes tiny but real ELF files, and wheels that hold them."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.wheels import record_line

EM_X86_64, EM_ARM, EM_AARCH64 = 62, 40, 183
ET_REL, ET_DYN = 1, 3

RET = 0xD65F03C0
ADD = 0x8B020020
UDF = 0
NO_INSTRUCTION = 0xDEADC0DE
LDADD = 0xB8200041  # ldadd w0, w1, [x2]: LSE
SVE_FADD = 0x65820020  # fadd z0.s, z1.s, z2.s
GUARD = (0x90000010, 0x39404210, 0x34000070)  # adrp x16; ldrb w16, [x16, #16]; cbz w16


@dataclass(frozen=True)
class Function:
    """A function symbol; ``size`` in bytes, 0 where the assembly left it out.

    One with a ``unit`` is local, and stands behind a symbol of type ``STT_FILE`` of that name.
    """

    name: str
    words: Sequence[int]
    size: int | None = None
    unit: str | None = None


@dataclass
class ElfFile:
    """What to write. ``mapping`` are mapping symbols by word offset; ``needs`` symbol versions by library."""

    functions: Sequence[Function] = (Function("f", (RET,)),)
    machine: int = EM_AARCH64
    kind: int = ET_DYN
    bits: int = 64
    little_endian: bool = True
    needed: Sequence[str] = ("libc.so.6",)
    needs: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"libc.so.6": ("GLIBC_2.17",)})
    rpath: str | None = None
    runpath: str | None = None
    command_lines: Sequence[str] = ()
    mapping: Sequence[tuple[str, int]] = ()
    module: str = "m"
    alignment: int = 0x10000
    skew: int = 0
    stripped: bool = False
    sections: bool = True

    def build(self) -> bytes:
        """The bytes of the file."""
        return _Writer(self).build()


class _Writer:
    """Lays sections one after another behind the headers; addresses are offsets plus ``skew``."""

    def __init__(self, spec: ElfFile) -> None:
        self.spec = spec
        self.order = "<" if spec.little_endian else ">"
        self.names = bytearray(b"\0")
        self.headers: list[bytes] = [b"\0" * 64]
        self.body = bytearray(b"\0" * (64 + 2 * 56))

    def pack(self, layout: str, *values: int) -> bytes:
        return struct.pack(self.order + layout, *values)

    def add(
        self,
        name: str,
        kind: int,
        data: bytes,
        *,
        flags: int = 0,
        link: int = 0,
        info: int = 0,
        entry: int = 0,
    ) -> int:
        """Append a section; the answer is its address."""
        self.body += b"\0" * (-len(self.body) % 8)
        offset = len(self.body)
        address = offset + self.spec.skew if flags and self.spec.kind != ET_REL else 0
        self.body += data
        self.headers.append(
            self.pack(
                "IIQQQQIIQQ", len(self.names), kind, flags, address, offset, len(data), link, info, 8, entry
            )
        )
        self.names += name.encode() + b"\0"
        return offset + self.spec.skew

    def symbols(self, strings: _Strings, text: int) -> bytes:
        table = [b"\0" * 24]
        offset = 0
        for function in self.spec.functions:
            size = len(function.words) * 4 if function.size is None else function.size
            value = offset + (0 if self.spec.kind == ET_REL else text)
            if function.unit is not None:
                table.append(self.pack("IBBHQQ", strings.add(function.unit), 0x04, 0, 0xFFF1, 0, 0))
            info = 0x12 if function.unit is None else 0x02
            table.append(self.pack("IBBHQQ", strings.add(function.name), info, 0, 1, value, size))
            offset += len(function.words) * 4
        for name, word in self.spec.mapping:
            value = word * 4 + (0 if self.spec.kind == ET_REL else text)
            table.append(self.pack("IBBHQQ", strings.add(name), 0, 0, 1, value, 0))
        return b"".join(table)

    def build(self) -> bytes:
        spec = self.spec
        words = [word for function in spec.functions for word in function.words]
        text = self.add(".text", 1, b"".join(struct.pack("<I", word) for word in words), flags=6)
        if spec.kind == ET_DYN:
            self.dynamic()
        if spec.command_lines:
            self.add(".GCC.command.line", 1, b"".join(line.encode() + b"\0" for line in spec.command_lines))
        if not spec.stripped:
            strings = _Strings()
            table = self.symbols(strings, text)
            self.add(".symtab", 2, table, link=len(self.headers) + 1, info=1, entry=24)
            self.add(".strtab", 3, bytes(strings.data))
        self.add(".shstrtab", 3, b"")
        start = len(self.body)
        self.body += self.names
        last = list(struct.unpack(self.order + "IIQQQQIIQQ", self.headers[-1]))
        last[4], last[5] = start, len(self.names)
        self.headers[-1] = self.pack("IIQQQQIIQQ", *last)
        self.body += b"\0" * (-len(self.body) % 8)
        table_at = len(self.body)
        count = len(self.headers) if spec.sections else 0
        self.body += b"".join(self.headers) if spec.sections else b""
        self.body[:64] = self.header(table_at if count else 0, count)
        self.body[64 : 64 + 112] = self.program_headers()
        return bytes(self.body)

    def header(self, table: int, count: int) -> bytes:
        spec = self.spec
        ident = b"\x7fELF" + bytes([spec.bits // 32, 1 if spec.little_endian else 2, 1]) + b"\0" * 9
        segments = 0 if spec.kind == ET_REL else 2
        if spec.bits == 32:
            rest = self.pack("HHIIIIIHHHHHH", spec.kind, spec.machine, 1, 0, 0, 0, 0, 52, 32, 0, 40, 0, 0)
            return (ident + rest).ljust(64, b"\0")
        return ident + self.pack(
            "HHIQQQIHHHHHH",
            spec.kind,
            spec.machine,
            1,
            0,
            64,
            table,
            0,
            64,
            56,
            segments,
            64,
            count,
            max(count - 1, 0),
        )

    def program_headers(self) -> bytes:
        size = len(self.body)
        load = self.pack("IIQQQQQQ", 1, 5, 0, self.spec.skew, self.spec.skew, size, size, self.spec.alignment)
        start, length = getattr(self, "dynamic_at", (0, 0))
        address = start + self.spec.skew
        return load + self.pack("IIQQQQQQ", 2, 6, start, address, address, length, length, 8)

    def dynamic(self) -> None:
        """String table, dynamic symbols, needed versions and the dynamic section itself."""
        spec = self.spec
        strings = _Strings()
        tags = [(1, strings.add(name)) for name in spec.needed]
        tags += [(15, strings.add(spec.rpath))] if spec.rpath is not None else []
        tags += [(29, strings.add(spec.runpath))] if spec.runpath is not None else []
        entry = self.pack("IBBHQQ", strings.add(f"PyInit_{spec.module}"), 0x12, 0, 1, 64 + 112 + spec.skew, 4)
        versions = self.versions(strings)
        string_section = len(self.headers)
        string_at = self.add(".dynstr", 3, bytes(strings.data), flags=2)
        symbols_at = self.add(
            ".dynsym", 11, b"\0" * 24 + entry, flags=2, link=string_section, info=1, entry=24
        )
        if versions:
            self.add(
                ".gnu.version_r", 0x6FFFFFFE, versions, flags=2, link=string_section, info=len(spec.needs)
            )
        tags += [(5, string_at), (10, len(strings.data)), (6, symbols_at), (11, 24), (0, 0)]
        data = b"".join(self.pack("qQ", tag, value) for tag, value in tags)
        at = self.add(".dynamic", 6, data, flags=3, link=string_section, entry=16)
        self.dynamic_at = (at - spec.skew, len(data))

    def versions(self, strings: _Strings) -> bytes:
        needs = list(self.spec.needs.items())
        data = b""
        for position, (library, names) in enumerate(needs):
            following = 0 if position == len(needs) - 1 else 16 + 16 * len(names)
            data += self.pack("HHIII", 1, len(names), strings.add(library), 16, following)
            for index, name in enumerate(names):
                last = index == len(names) - 1
                data += self.pack("IHHII", 0, 0, index + 2, strings.add(name), 0 if last else 16)
        return data


class _Strings:
    def __init__(self) -> None:
        self.data = bytearray(b"\0")

    def add(self, text: str) -> int:
        position = len(self.data)
        self.data += text.encode() + b"\0"
        return position


def static_archive(objects: Mapping[str, bytes]) -> bytes:
    """A static library in the layout of ar(5); names over 15 characters go to its long-name table."""
    long_names = "".join(f"{name}/\n" for name in objects if len(name) > 15).encode()
    parts = [("//", long_names)] if long_names else []
    parts += [
        (f"/{long_names.index(name.encode())}" if len(name) > 15 else f"{name}/", body)
        for name, body in objects.items()
    ]
    data = b"!<arch>\n"
    for name, body in parts:
        data += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(body):<10}`\n".encode()
            + body
            + b"\n" * (len(body) % 2)
        )
    return data


def make_wheel(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    name: str = "m-1.0-cp311-cp311-manylinux_2_17_aarch64.whl",
    metadata_tags: Sequence[str] | None = None,
    passport: object = None,
    unrecorded: Sequence[str] = (),
    requires: Sequence[str] = (),
) -> Path:
    """A wheel of those files, with the metadata an audit reads; ``unrecorded`` members miss in RECORD."""
    stem = name.removesuffix(".whl").split("-")
    info = f"{stem[0]}-{stem[1]}.dist-info"
    tags = metadata_tags or [f"{stem[-3]}-{stem[-2]}-{platform}" for platform in stem[-1].split(".")]
    path = folder / name
    lines = ["Wheel-Version: 1.0", "Root-Is-Purelib: false", *(f"Tag: {tag}" for tag in tags)]
    asked = "".join(f"Requires-Dist: {line}\n" for line in requires)
    members = {member.replace("INFO", info): data for member, data in files.items()}
    members[f"{info}/WHEEL"] = ("\n".join(lines) + "\n").encode()
    members[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {stem[0]}\nVersion: {stem[1]}\n{asked}".encode()
    )
    if passport is not None:
        members[f"{info}/armwheels.json"] = json.dumps(passport).encode()
    record = "".join(
        record_line(member, data) for member, data in members.items() if member not in unrecorded
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in (members | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}).items():
            archive.writestr(member, data)
    return path
