"""Opens a wheel for reading: its members, metadata and passport."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any

from packaging.tags import Tag, parse_tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from builder.errors import AuditError
from builder.model.wheel_name import split_label

ELF_MAGIC = b"\x7fELF"
ARCHIVE_MAGIC = b"!<arch>\n"
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class WheelFile:
    """A wheel: the parts of its file name, and its members, whose bytes are read on demand."""

    path: Path
    sha256: str
    size: int
    project: str
    version: str
    build: str
    tags: frozenset[Tag]
    names: tuple[str, ...]
    dist_info: str
    label: str = ""
    """The label of a wheel variant (:pep:`825`); empty for every other wheel."""

    def read(self, name: str) -> bytes:
        """Return the bytes of one member.

        Raises:
            AuditError: the member is damaged, encrypted, or compressed by a method that zipfile does not support.
        """
        with self._reading(name), zipfile.ZipFile(self.path) as archive:
            return archive.read(name)

    def binaries(self) -> Iterator[tuple[str, bytes]]:
        """Yield the path and bytes of every ELF file, and of every ELF object in a static archive.

        The first bytes of a member identify both kinds.

        Raises:
            AuditError: as for :meth:`read`.
        """
        with self._reading("directory"), zipfile.ZipFile(self.path) as archive:
            for info in archive.infolist():
                if info.is_dir():
                    continue
                with self._reading(info.filename), archive.open(info) as member:
                    head = member.read(len(ARCHIVE_MAGIC))
                    binary = head.startswith(ELF_MAGIC) or head == ARCHIVE_MAGIC
                    data = _whole(head, member, info.file_size) if binary else b""
                if data.startswith(ELF_MAGIC):
                    yield info.filename, data
                elif data:
                    for inner, body in _archive_objects(info.filename, data):
                        yield f"{info.filename}({inner})", body

    def members(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Yield the path of every file, and its bytes in parts.

        Raises:
            AuditError: as for :meth:`read`, also when a part is asked for.
        """
        with self._reading("directory"), zipfile.ZipFile(self.path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield info.filename, self._parts(archive, info)

    def _parts(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
        with self._reading(info.filename), archive.open(info) as stream:
            while part := stream.read(_READ_BYTES):
                yield part

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,  # zipfile: an unsupported compression method
            RuntimeError,
            OSError,
        ) as error:
            raise AuditError(f"{self.path.name}: member {name} cannot be read: {error}") from error

    @property
    def platforms(self) -> frozenset[str]:
        """The platforms of the file name's tags."""
        return frozenset(tag.platform for tag in self.tags)

    @property
    def is_pure(self) -> bool:
        """Whether the file name has the platform ``any``."""
        return self.platforms == {"any"}

    @cached_property
    def metadata_tags(self) -> frozenset[Tag]:
        """The ``Tag`` lines of ``WHEEL``, as single tags.

        Raises:
            AuditError: a line is not a tag.
        """
        text = self.read(f"{self.dist_info}/WHEEL").decode("utf-8", errors="replace")
        values = HeaderParser().parsestr(text).get_all("Tag", [])
        try:
            return frozenset().union(*(parse_tag(value.strip()) for value in values))
        except ValueError as error:
            raise AuditError(f"{self.path.name}: WHEEL has a Tag line that is not a tag: {error}") from error

    @cached_property
    def requirements(self) -> tuple[str, ...]:
        """The ``Requires-Dist`` lines of ``METADATA``, unchanged (core metadata specification)."""
        text = self.read(f"{self.dist_info}/METADATA").decode("utf-8", errors="replace")
        return tuple(HeaderParser().parsestr(text).get_all("Requires-Dist", []))

    @cached_property
    def records(self) -> dict[str, tuple[str, str]]:
        """The rows of ``RECORD``: path, hash and size, the last two as they stand there."""
        text = self.read(f"{self.dist_info}/RECORD").decode("utf-8", errors="replace")
        rows = (row for row in csv.reader(text.splitlines()) if row)
        return {row[0]: (row[1] if len(row) > 1 else "", row[2] if len(row) > 2 else "") for row in rows}

    @cached_property
    def passport(self) -> dict[str, Any] | None:
        """The parsed ``armwheels.json``; ``None`` for a wheel that others built.

        Raises:
            AuditError: the file is not a JSON object.
        """
        name = f"{self.dist_info}/armwheels.json"
        if name not in self.names:
            return None
        try:
            data = json.loads(self.read(name))
        except ValueError as error:
            raise AuditError(f"{self.path.name}: the passport is not JSON: {error}") from error
        if not isinstance(data, dict):
            raise AuditError(f"{self.path.name}: the passport is not a JSON object")
        return data

    @property
    def sbom(self) -> str:
        """The path at which our repair step writes the software bill of materials (PEP 770)."""
        return f"{self.dist_info}/sboms/armwheels.cdx.json"

    @property
    def grafts(self) -> tuple[str, ...]:
        """Files in the top-level ``*.libs`` folder, which are shared libraries that a repair tool copied in."""
        return tuple(n for n in self.names if is_graft(n) and not n.endswith("/"))


def _whole(head: bytes, member: IO[bytes], size: int) -> bytes:
    """Return a member's bytes: ``head``, and what follows. ``read`` would have them in memory twice."""
    whole = io.BytesIO()
    whole.truncate(size)
    whole.write(head)
    shutil.copyfileobj(member, whole, _READ_BYTES)
    return whole.getvalue()


def is_graft(name: str) -> bool:
    """Whether a member lies in the top-level ``*.libs`` folder, into which auditwheel copies libraries."""
    parts = PurePosixPath(name).parts
    return len(parts) > 1 and parts[0].endswith(".libs")


def open_wheel(path: Path) -> WheelFile:
    """Read the file name, member names and sha256 of the wheel at ``path``.

    Raises:
        AuditError: the file is missing, is not a zip file, or does not have the name or layout of a wheel.
    """
    try:
        plain, label = split_label(path.name)
        project, version, build, tags = parse_wheel_filename(plain)
    except InvalidWheelFilename as error:
        raise AuditError(f"{path.name}: not a wheel's file name: {error}") from error
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_READ_BYTES):
                digest.update(chunk)
        with zipfile.ZipFile(path) as archive:
            names = tuple(archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise AuditError(f"{path}: not a readable wheel: {error}") from error
    if len(names) != len(set(names)):
        raise AuditError(f"{path.name}: has two members with the same name")
    folders = {PurePosixPath(name).parts[0] for name in names if PurePosixPath(name).parts}
    infos = sorted(folder for folder in folders if folder.endswith(".dist-info"))
    if len(infos) != 1:
        raise AuditError(f"{path.name}: needs exactly one *.dist-info folder, has {len(infos)}")
    missing = [file for file in ("WHEEL", "RECORD") if f"{infos[0]}/{file}" not in names]
    if missing:
        raise AuditError(f"{path.name}: {infos[0]} has no {' and no '.join(missing)}")
    return WheelFile(
        path=path,
        sha256=digest.hexdigest(),
        size=path.stat().st_size,
        project=project,
        version=str(version),
        build="".join(str(part) for part in build),
        tags=tags,
        names=names,
        dist_info=infos[0],
        label=label,
    )


def _archive_objects(archive: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the names and bytes of the ELF objects in a static archive (System V and GNU variants of ar(5))."""
    position, long_names = len(ARCHIVE_MAGIC), b""
    while position + 60 <= len(data):
        header = data[position : position + 60]
        name = header[:16].rstrip()
        try:
            length = int(header[48:58])
        except ValueError:
            raise AuditError(f"{archive}: the static archive has a damaged header") from None
        body = data[position + 60 : position + 60 + length]
        position += 60 + length + length % 2
        if name == b"//":
            long_names = body
        elif body.startswith(ELF_MAGIC):
            if name.startswith(b"/") and name[1:].isdigit():
                name = long_names[int(name[1:]) :].split(b"\n", 1)[0]
            yield name.rstrip(b"/").decode("utf-8", errors="replace"), body
