"""A strict ZIP reader, which accepts only archives that all ZIP readers understand in the same way.

ZIP readers disagree about archives that contradict themselves. So this reader refuses them, by APPNOTE 6.3.10 and
Warehouse's rules for wheels:

* An archive has its members back to back from the first byte, then the central directory, then the end record,
  and nothing else.
* The central directory agrees with the local header of each member.
* A member is a regular file or a folder, and is stored or deflated. It unpacks to exactly its stated size.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from index_server.reasons import Reasons

CHUNK = 1 << 18  # bytes unpacked at a time
MAX_MEMBERS = 200_000
MAX_DIRECTORY = 64 << 20  # bytes of central directory
MAX_PATH = 1024  # bytes of a member's name; Linux opens no path of more than 4,096
MAX_EXTRA = 1024  # bytes of a member's extra fields; ZIP64 and times take under 100
MAX_UNPACKED = 64 << 30  # bytes of all members together
BOMB_SIZE = 64 << 20  # unpacked bytes up to which an archive may have any ratio
BOMB_RATIO = 50  # unpacked to packed bytes; a larger ratio is a decompression bomb
_LOCAL = struct.Struct("<4s5H3I2H")
# Signature, packed size, size, lengths of name, extra fields and comment, volume, offset
_CENTRAL = struct.Struct("<4s16x2I4H6xI")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_ENCRYPTED, _DESCRIPTOR, _UTF8 = 0x1, 0x8, 0x800
_ALLOWED_FLAGS = _UTF8 | 0x6  # 0x6: the compression level of deflate
_ZIP64_EXTRA, _UNICODE_PATH_EXTRA = 0x0001, 0x7075
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF


class ZipFaultError(Exception):
    """An archive that cannot be read any further. The message is the reason."""


@dataclass(frozen=True)
class Member:
    """A member of an archive."""

    name: str
    size: int  # bytes unpacked, as stated
    packed: int  # bytes in the archive
    deflated: bool
    crc: int
    start: int  # offset of the packed bytes

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")


def read_archive(file: BinaryIO) -> tuple[list[Member], Reasons]:
    """Return the members of an archive, and its faults."""
    faults = Reasons()
    try:
        directory, size, count = _check_end(file, faults)
        _check_directory(file, directory, size, count)
        infos = _central_directory(file)
    except ZipFaultError as error:
        faults.append(str(error))
        return [], faults
    members = []
    for info in infos:
        members.append(_check_member(file, info, directory, faults))
        if faults.full:
            return [], faults
    _check_names([info.orig_filename for info in infos], faults)
    _check_layout(infos, members, directory, faults)
    _check_sizes(members, faults)
    return members, faults


def unpack(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """Yield the unpacked bytes of a member, but never more than its stated size.

    Raises:
        ZipFaultError: the member does not unpack to its stated size and CRC.
    """
    engine = zlib.decompressobj(-zlib.MAX_WBITS) if member.deflated else None
    file.seek(member.start)
    left, size, crc = member.packed, 0, 0
    while left:
        data = file.read(min(CHUNK, left))
        if not data:
            raise ZipFaultError(f"{member.name}: the archive ends inside this member")
        if engine and engine.eof:
            break  # zlib would keep all following bytes in memory
        left -= len(data)
        for chunk in _inflate(engine, data, member) if engine else (data,):
            size += len(chunk)
            crc = zlib.crc32(chunk, crc)
            if size > member.size:
                raise ZipFaultError(f"{member.name}: unpacks to more than the {member.size} bytes it states")
            yield chunk
    if left or (engine and (not engine.eof or engine.unused_data)):
        raise ZipFaultError(f"{member.name}: its packed bytes are cut off or followed by others")
    if size != member.size:
        raise ZipFaultError(f"{member.name}: unpacks to {size} bytes and states {member.size}")
    if crc != member.crc:
        raise ZipFaultError(f"{member.name}: its CRC is wrong")


def read_member(file: BinaryIO, member: Member, limit: int) -> bytes:
    """Return all unpacked bytes of a member.

    Raises:
        ZipFaultError: the member is larger than ``limit`` bytes, or does not unpack to its stated size and CRC.
    """
    if member.size > limit:
        raise ZipFaultError(f"{member.name}: {member.size} bytes, more than the {limit} allowed")
    return b"".join(unpack(file, member))


def _inflate(engine: zlib._Decompress, data: bytes, member: Member) -> Iterator[bytes]:
    try:
        while True:
            chunk = engine.decompress(data, CHUNK)
            yield chunk
            data = engine.unconsumed_tail
            # After a full chunk, zlib may have more output, even if it has read all of its input.
            if not data and len(chunk) < CHUNK:
                return
    except zlib.error as error:
        raise ZipFaultError(f"{member.name}: cannot be unpacked: {error}") from error


def _check_end(file: BinaryIO, faults: Reasons) -> tuple[int, int, int]:
    """Check the end records. Return the offset and size of the central directory, and its number of members.

    Raises:
        ZipFaultError: there is no valid end record.
    """
    total = file.seek(0, 2)
    if total < _END.size:
        raise ZipFaultError("not a ZIP archive: too short")
    end_at = total - _END.size
    file.seek(end_at)
    mark, disk, start_disk, here, count, size, offset, comment = _END.unpack(file.read(_END.size))
    if mark != b"PK\5\6" or comment:
        raise ZipFaultError(
            "does not end with a ZIP end record: cut off, trailing data, or an archive comment"
        )
    if disk or start_disk or here != count:
        faults.append("the archive is split over several volumes")
    stop = end_at
    stated = {"count": count, "size": size, "offset": offset}
    locator_at = end_at - _LOCATOR.size
    file.seek(max(locator_at, 0))
    mark, disk, end64_at, disks = (
        _LOCATOR.unpack(file.read(_LOCATOR.size)) if locator_at >= 0 else (b"", 0, 0, 0)
    )
    if mark == b"PK\6\7":
        if disk or disks != 1:
            faults.append("the archive is split over several volumes")
        stop, stated = _check_end64(file, end64_at, locator_at, stated, faults)
    elif count == _FULL16 or _FULL32 in (size, offset):
        raise ZipFaultError("the end record points at a ZIP64 locator that is not there")
    if stated["count"] > MAX_MEMBERS or stated["size"] > MAX_DIRECTORY:
        raise ZipFaultError(f"the archive lists more than {MAX_MEMBERS} members")
    if stated["offset"] + stated["size"] != stop:
        faults.append("the central directory is not where the end record says: data in front or between")
    return stop - stated["size"], stated["size"], stated["count"]


def _check_end64(
    file: BinaryIO, end64_at: int, locator_at: int, short: dict[str, int], faults: Reasons
) -> tuple[int, dict[str, int]]:
    """Check the ZIP64 end record against its locator and the end record.

    Raises:
        ZipFaultError: the ZIP64 end record is malformed, or not at the place that its locator states.
    """
    if end64_at + _END64.size != locator_at:
        raise ZipFaultError("the ZIP64 locator does not point at the ZIP64 end record")
    file.seek(end64_at)
    mark, length, _, _, disk, start_disk, here, count, size, offset = _END64.unpack(file.read(_END64.size))
    if mark != b"PK\6\6" or length != _END64.size - 12:
        raise ZipFaultError("the ZIP64 end record is malformed")
    if disk or start_disk or here != count:
        faults.append("the archive is split over several volumes")
    stated = {"count": count, "size": size, "offset": offset}
    full = {"count": _FULL16, "size": _FULL32, "offset": _FULL32}
    faults += (
        f"the ZIP64 end record and the end record disagree on the {key} of the central directory"
        for key, value in stated.items()
        if short[key] not in (full[key], value)
    )
    return end64_at, stated


def _check_directory(file: BinaryIO, start: int, size: int, count: int) -> None:
    """Check the central headers and count them, before :mod:`zipfile` creates an object for each.

    Raises:
        ZipFaultError: the number is not ``count``, a name is too long, a member lies in another volume, or extra
            fields are too long or ambiguous.
    """
    if start < 0:
        raise ZipFaultError("the central directory is larger than the archive")
    file.seek(start)
    data = file.read(size)
    found, at = 0, 0
    while at + _CENTRAL.size <= len(data):
        mark, *wide, name_length, extra_length, comment_length, volume, offset = _CENTRAL.unpack_from(
            data, at
        )
        if mark != b"PK\1\2":
            raise ZipFaultError("the central directory holds something other than headers of members")
        if name_length > MAX_PATH:
            raise ZipFaultError(f"a member's name has {name_length} bytes; {MAX_PATH} are allowed")
        if extra_length > MAX_EXTRA:
            raise ZipFaultError(f"a member has {extra_length} bytes of extra fields; {MAX_EXTRA} are allowed")
        name_at = at + _CENTRAL.size
        extra_at = name_at + name_length
        at = extra_at + extra_length + comment_length
        fault = _extra_fault(data[extra_at : extra_at + extra_length], [*wide, offset].count(_FULL32))
        if volume or fault:
            name = data[name_at:extra_at].decode("utf-8", "replace")
            raise ZipFaultError(f"{name!a}: {fault or 'lies in another volume'}")
        found += 1
    if found != count:
        raise ZipFaultError(f"the end record states {count} members and the central directory lists {found}")


def _central_directory(file: BinaryIO) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.infolist()
    # zipfile raises NotImplementedError for a version of the format that it does not know.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError) as error:
        raise ZipFaultError(f"not a ZIP archive that can be read: {error}") from error


def _check_member(file: BinaryIO, info: zipfile.ZipInfo, directory: int, faults: Reasons) -> Member:
    """Check the central header of a member, and compare it with the local header."""
    name = info.orig_filename
    shown = ascii(name)
    mode = info.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR and not name.endswith("/")):
        faults.append(f"{shown}: a link or special file")
    if info.comment:
        faults.append(f"{shown}: carries a comment")
    if info.flag_bits & _ENCRYPTED:
        faults.append(f"{shown}: encrypted")
    if info.flag_bits & _DESCRIPTOR:
        faults.append(f"{shown}: its sizes stand in a data descriptor behind it")
    elif info.flag_bits & ~(_ALLOWED_FLAGS | _ENCRYPTED):
        faults.append(f"{shown}: unknown flags {info.flag_bits:#06x}")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        faults.append(
            f"{shown}: packed by method {info.compress_type}; only stored and deflated are read by all"
        )
    if name.endswith("/") and info.file_size:
        faults.append(f"{shown}: a folder with content")
    if _UNICODE_PATH_EXTRA in _extras(info.extra):
        faults.append(f"{shown}: carries a second name")
    start = _check_local(file, info, directory, faults)
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    return Member(name, info.file_size, info.compress_size, deflated, info.CRC, start)


def _check_local(file: BinaryIO, info: zipfile.ZipInfo, directory: int, faults: Reasons) -> int:
    """Compare a local header with its central header. Return the offset of the packed bytes."""
    shown = ascii(info.orig_filename)
    # zipfile subtracts the length of a supposed prefix from offsets, so that they can be negative.
    header = b""
    if 0 <= info.header_offset < directory:  # ZIP64 offsets may be larger than any file
        file.seek(info.header_offset)
        header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or header[:4] != b"PK\3\4":
        faults.append(f"{shown}: no local header where the central directory says")
        return info.header_offset
    _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(header)
    raw_name = file.read(name_length)
    if extra_length > MAX_EXTRA:
        faults.append(f"{shown}: {extra_length} bytes of extra fields; {MAX_EXTRA} are allowed")
        return info.header_offset
    extra_data = file.read(extra_length)
    # Many published wheels state both sizes twice, as zipfile did until Python 3.11.3.
    twice = struct.pack("<2Q", size, packed)
    fault = _extra_fault(extra_data, [packed, size].count(_FULL32), also=twice)
    if fault:
        faults.append(f"{shown}: {fault}")
        return info.header_offset
    extra = _extras(extra_data)
    packed, size = _zip64_sizes(packed, size, extra.get(_ZIP64_EXTRA, b""))
    local = (flags, method, crc, packed, size)
    central = (info.flag_bits, info.compress_type, info.CRC, info.compress_size, info.file_size)
    labels = ("flags", "method", "CRC", "packed size", "size")
    unlike = [label for label, one, other in zip(labels, local, central, strict=True) if one != other]
    if raw_name != info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437", "replace"):
        unlike.append("name")
    if _UNICODE_PATH_EXTRA in extra:
        unlike.append("second name")
    if unlike:
        faults.append(f"{shown}: local and central header differ in {', '.join(unlike)}")
    return info.header_offset + _LOCAL.size + len(raw_name) + int(extra_length)


def _zip64_sizes(packed: int, size: int, extra: bytes) -> tuple[int, int]:
    """Return the packed and unpacked sizes of a local header, from its ZIP64 extra field where it refers to that.

    The field has the unpacked size first (APPNOTE 4.5.3).
    """
    wide = [int.from_bytes(extra[at : at + 8], "little") for at in range(0, len(extra) - 7, 8)]
    if size == _FULL32 and wide:
        size = wide.pop(0)
    if packed == _FULL32 and wide:
        packed = wide.pop(0)
    return packed, size


def _extra_fault(data: bytes, wide: int, *, also: bytes = b"") -> str | None:
    """Return why the extra fields of a header may be read in two ways, or None (APPNOTE 4.5).

    ``wide`` is the number of sizes and offsets for which the header refers to the ZIP64 field. The field may also
    have the value ``also``. Readers disagree about any other one, and about a field that occurs twice: uv refuses
    both, pip takes one.
    """
    seen: set[int] = set()
    while len(data) >= 4:
        kind, length = struct.unpack_from("<2H", data)
        if length > len(data) - 4:
            return "an extra field is cut off"
        if kind in seen:
            return f"two extra fields have the id {kind:#06x}"
        if kind == _ZIP64_EXTRA and length != 8 * wide and data[4 : 4 + length] != also:
            return f"its ZIP64 field has {length} bytes, and the header refers to {8 * wide}"
        seen.add(kind)
        data = data[4 + length :]
    return None


def _extras(data: bytes) -> dict[int, bytes]:
    """Return the extra fields of a header by id."""
    found = {}
    while len(data) >= 4:
        kind, length = struct.unpack_from("<2H", data)
        found[kind] = data[4 : 4 + length]
        data = data[4 + length :]
    return found


def _check_names(names: list[str], faults: Reasons) -> None:
    """Check that names are relative paths without special parts, and that none occurs twice."""
    seen: set[str] = set()
    for name in names:
        path = name.removesuffix("/")
        if not name.isprintable() or "\\" in name:
            faults.append(f"{name!a}: unprintable characters or backslashes in the name")
        elif path[1:2] == ":" or any(part in ("", ".", "..") for part in path.split("/")):
            faults.append(f"{name!a}: not a plain relative path")
        if path in seen:
            faults.append(f"{name!a}: occurs in the archive twice")
        seen.add(path)
    ordered = sorted(seen)
    for name in names:
        below = f"{name}/"
        place = bisect_left(ordered, below)
        if not name.endswith("/") and place < len(ordered) and ordered[place].startswith(below):
            faults.append(f"{name!a}: a file and a folder at once")


def _check_layout(
    infos: list[zipfile.ZipInfo], members: list[Member], directory: int, faults: Reasons
) -> None:
    """Check that members lie back to back from the first byte to the central directory."""
    expected = 0
    for info, member in sorted(zip(infos, members, strict=True), key=lambda pair: pair[0].header_offset):
        if info.header_offset != expected:
            what = (
                "overlaps the member before it"
                if info.header_offset < expected
                else "has stray bytes before it"
            )
            faults.append(f"{member.name!a}: {what}")
        expected = member.start + member.packed
    if expected != directory:
        faults.append("there are stray bytes between the members and the central directory")


def _check_sizes(members: list[Member], faults: Reasons) -> None:
    total = sum(member.size for member in members)
    packed = sum(member.packed for member in members)
    if total > MAX_UNPACKED:
        faults.append(f"unpacks to {total} bytes, more than the {MAX_UNPACKED} allowed")
    elif total > BOMB_SIZE and total > BOMB_RATIO * packed:
        faults.append(f"unpacks to {total // max(packed, 1)} times its size: a decompression bomb")
