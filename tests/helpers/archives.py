"""Archives that contradict themselves, each with the reason that must be given."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

from tests.helpers.wheels import make_wheel, member, pack, wheel_files

NAME = "demo-1.0-py3-none-any.whl"


def swap(data: bytes, old: bytes, new: bytes, *, last: bool = False) -> bytes:
    """Replace one occurrence of ``old``, which must be there."""
    at = data.rfind(old) if last else data.find(old)
    assert at >= 0
    return data[:at] + new + data[at + len(old) :]


def with_zip64_end(data: bytes, *, astray: int = 0, volumes: int = 1) -> bytes:
    """The same archive with a ZIP64 end record and locator."""
    count, size, offset = struct.unpack_from("<HLL", data, len(data) - 12)
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, (offset + size + astray) % (1 << 64), volumes)
    return data[:-22] + end64 + locator + data[-22:]


def duplicated() -> bytes:
    twin = make_wheel(NAME, files={"demo/__init__2py": b"evil = 1\n"})
    return twin.replace(b"demo/__init__2py", b"demo/__init__.py")


def streamed() -> bytes:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        for name, data in wheel_files(NAME).items():
            archive.writestr(member(name), data)
    return pipe.data


def with_mode(mode: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in wheel_files(NAME).items():
            archive.writestr(member(name, mode=mode if name == "demo/__init__.py" else 0o100644), data)
    return buffer.getvalue()


def with_comment(*, archive_too: bool) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in wheel_files(NAME).items():
            info = member(name)
            info.comment = b"" if archive_too else b"hello"
            archive.writestr(info, data)
        archive.comment = b"hello" if archive_too else b""
    return buffer.getvalue()


def with_extra(extra: bytes, *, local: bool = True, central: bool = True) -> bytes:
    """The same wheel with extra fields in the headers of each member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in wheel_files(NAME).items():
            info = member(name)
            info.extra = extra if local else b""
            archive.writestr(info, data)
            info.extra = extra if central else b""
    return buffer.getvalue()


def extra_field(kind: int, data: bytes, length: int | None = None) -> bytes:
    return struct.pack("<2H", kind, len(data) if length is None else length) + data


def in_volume(number: int) -> bytes:
    data = make_wheel(NAME)
    at = data.find(b"PK\1\2") + 34
    return data[:at] + struct.pack("<H", number) + data[at + 2 :]


def by_method(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in wheel_files(NAME).items():
            archive.writestr(name, data, compress_type=method)
    return buffer.getvalue()


def named(path: str) -> bytes:
    return make_wheel(NAME, files={path: b"x"})


def overstated(by: int) -> bytes:
    """A member whose headers both state a size that its bytes do not unpack to."""
    data = make_wheel(NAME)
    size = len(wheel_files(NAME)["demo/__init__.py"])
    local, central = data.find(b"PK\3\4"), data.find(b"PK\1\2")
    for at in (local + 22, central + 24):
        data = data[:at] + struct.pack("<I", size + by) + data[at + 4 :]
    return data


def truncating() -> bytes:
    """A member that states fewer bytes than it holds, with the CRC of those: readers would disagree."""
    data = overstated(-6)
    crc = zlib.crc32(wheel_files(NAME)["demo/__init__.py"][:-6])
    local, central = data.find(b"PK\3\4"), data.find(b"PK\1\2")
    for at in (local + 14, central + 16):
        data = data[:at] + struct.pack("<I", crc) + data[at + 4 :]
    return data


def gap() -> bytes:
    """Stray bytes before the central directory, with offsets mended so that readers do not see them."""
    data = make_wheel(NAME)
    size, offset = struct.unpack_from("<LL", data, len(data) - 10)
    return (
        data[:offset] + b"stray" + data[offset:-6] + struct.pack("<L", offset + 5) + data[-2:]
        if size
        else data
    )


ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "too short"),
    "not a zip": (lambda: b"MZ" + b"\0" * 100, "ZIP end record"),
    "truncated": (lambda: make_wheel(NAME)[:-30], "ZIP end record"),
    "trailing data": (lambda: make_wheel(NAME) + b"x", "trailing data"),
    "trailing archive": (lambda: make_wheel(NAME) + pack({"a": b""}), "data in front"),
    "archive in front": (lambda: pack({"a": b"b"}) + make_wheel(NAME), "data in front"),
    "script in front": (lambda: b"#!/bin/sh\n" + make_wheel(NAME), "data in front"),
    "stray bytes": (gap, "stray bytes"),
    "duplicate": (duplicated, "occurs in the archive twice"),
    "data descriptor": (streamed, "data descriptor"),
    "symlink": (lambda: with_mode(0o120777), "a link or special file"),
    "device": (lambda: with_mode(0o020777), "a link or special file"),
    "member comment": (lambda: with_comment(archive_too=False), "carries a comment"),
    "archive comment": (lambda: with_comment(archive_too=True), "archive comment"),
    "bzip2": (lambda: by_method(zipfile.ZIP_BZIP2), "packed by method 12"),
    "lzma": (lambda: by_method(zipfile.ZIP_LZMA), "packed by method 14"),
    "escape": (lambda: named("../evil.py"), "not a plain relative path"),
    "absolute": (lambda: named("/etc/evil"), "not a plain relative path"),
    "drive": (lambda: named("C:evil"), "not a plain relative path"),
    "dot": (lambda: named("demo/./evil"), "not a plain relative path"),
    "double slash": (lambda: named("demo//evil"), "not a plain relative path"),
    "backslash": (lambda: named("demo\\evil"), "unprintable characters or backslashes"),
    "newline": (lambda: named("demo/e\nvil"), "unprintable characters"),
    "bidi": (lambda: named("demo/\u202eevil"), "unprintable characters"),
    "nul": (lambda: named("demo/evilX").replace(b"demo/evilX", b"demo/evi\0l"), "unprintable characters"),
    "file and folder": (lambda: named("demo/__init__.py/x"), "a file and a folder at once"),
    "local name": (lambda: swap(make_wheel(NAME), b"__init__", b"__evil__"), "differ in name"),
    "central name": (lambda: swap(make_wheel(NAME), b"__init__", b"__evil__", last=True), "differ in name"),
    "states too much": (lambda: overstated(5), "unpacks to 12 bytes and states 17"),
    "states too little": (lambda: overstated(-5), "unpacks to more than the 7 bytes"),
    "states too little, true CRC": (truncating, "unpacks to more than the 6 bytes"),
    "bomb": (lambda: make_wheel(NAME, files={"demo/zeros": bytes(70 << 20)}), "decompression bomb"),
    "encrypted": (
        lambda: make_wheel(NAME).replace(b"PK\1\2\x14\x03\x14\0\0\0", b"PK\1\2\x14\x03\x14\0\1\0"),
        "encrypted",
    ),
    "zip64 locator astray": (
        lambda: with_zip64_end(make_wheel(NAME), astray=1),
        "the ZIP64 locator does not point at the ZIP64 end record",
    ),
    "zip64 locator before the file": (
        lambda: with_zip64_end(make_wheel(NAME), astray=-(1 << 20)),
        "the ZIP64 locator does not point at the ZIP64 end record",
    ),
    "zip64 locator of many volumes": (
        lambda: with_zip64_end(make_wheel(NAME), volumes=2),
        "split over several volumes",
    ),
    "zip64 locator not there": (
        lambda: swap(make_wheel(NAME), b"PK\5\6\0\0\0\0\4\0\4\0", b"PK\5\6\0\0\0\0\xff\xff\xff\xff"),
        "points at a ZIP64 locator that is not there",
    ),
    "zip64 disagrees": (
        lambda: swap(with_zip64_end(make_wheel(NAME)), b"PK\5\6\0\0\0\0\4\0\4\0", b"PK\5\6\0\0\0\0\3\0\3\0"),
        "disagree on the count",
    ),
    "fewer listed": (
        lambda: swap(make_wheel(NAME), b"PK\5\6\0\0\0\0\4\0\4\0", b"PK\5\6\0\0\0\0\3\0\3\0"),
        "states 3 members",
    ),
    "zip64 field of no use": (
        lambda: with_extra(extra_field(1, struct.pack("<2Q", 999, 999)), central=False),
        "its ZIP64 field has 16 bytes, and the header refers to 0",
    ),
    "zip64 field of no use in the directory": (
        lambda: with_extra(extra_field(1, struct.pack("<2Q", 999, 999)), local=False),
        "its ZIP64 field has 16 bytes, and the header refers to 0",
    ),
    "a field twice": (
        lambda: with_extra(extra_field(0x7875, b"") * 2, central=False),
        "two extra fields have the id 0x7875",
    ),
    "a field twice in the directory": (
        lambda: with_extra(extra_field(0x7875, b"") * 2, local=False),
        "two extra fields have the id 0x7875",
    ),
    "a field cut off": (
        lambda: with_extra(extra_field(0x5455, b"a", 100), central=False),
        "an extra field is cut off",
    ),
    "another volume": (lambda: in_volume(1), "lies in another volume"),
    "wrong CRC": (
        lambda: make_wheel(NAME).replace(
            struct.pack("<I", zlib.crc32(b"answer = 42\n")), struct.pack("<I", 7)
        ),
        "CRC is wrong",
    ),
}
