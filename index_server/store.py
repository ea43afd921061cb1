"""The object store: the one thing replicas share.

The interface is small so that every kind can keep the same promises:

* ``create`` writes whole objects and never over an existing one; of many writers one alone gets ``True``.
* What ``create`` acknowledged survives a crash; what it did not acknowledge is there whole or not at all.
* ``put_hint`` replaces, and only hints may be replaced: nothing depends on their being new.
* ``scratch`` lends a local file for bytes on their way in; it vanishes with its process.
* A store that does not answer is a :class:`StoreAwayError`, a full one a :class:`NoSpaceError`.

This module has the interface and the kind for one machine; :mod:`index_server.s3` has the kind for many.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from index_server.errors import MissingObjectError, NoSpaceError, StoreError
from index_server.scratch import ScratchFolder
from index_server.settings import s3_endpoint, scratch_folder

CHUNK = 1 << 20  # bytes handed on at a time
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SEGMENT = re.compile(r"[A-Za-z0-9_!+-][A-Za-z0-9_.!+-]{0,254}\Z")


class ObjectStore(Protocol):
    """Objects by key. Keys are ``/``-separated segments of letters, digits and ``_.!+-``."""

    @property
    def look_every(self) -> float:
        """Seconds between a reader's looks at a journal's end; 0 where a look costs next to nothing."""

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless the key is taken; say whether this call wrote it."""

    def create_from(self, key: str, path: Path) -> bool:
        """The same with the bytes of a closed file from :meth:`scratch`."""

    def get(self, key: str) -> bytes:
        """The whole object.

        Raises:
            MissingObjectError: there is none.
        """

    def size(self, key: str) -> int | None:
        """The object's size in bytes, or None where there is none."""

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from ``start`` up to ``stop``, in chunks of at most :data:`CHUNK`.

        Raises:
            MissingObjectError: there is none.
        """

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys below ``prefix`` (which ends in ``/``), sorted."""

    def put_hint(self, key: str, data: bytes) -> None:
        """Write an object, whether or not the key is taken."""

    def remove(self, key: str) -> None:
        """Take an object away; it being gone already is no error. For collection alone."""

    def written_at(self, key: str) -> datetime | None:
        """When the object was written by the store's clock, or None where there is none."""

    def scratch(self) -> AbstractContextManager[Path]:
        """An empty local file, removed when the context ends."""


def check_key(key: str) -> str:
    """Give back ``key`` if it is one.

    Raises:
        StoreError: a segment is empty, starts with a dot, or holds other characters.
    """
    if not all(_SEGMENT.match(segment) for segment in key.split("/")):
        raise StoreError(f"{key!r} cannot be a key")
    return key


class DirectoryStore:
    """Objects as files below one folder; several processes may share it.

    An object is written to a temporary file, synced, and linked to its name: ``link`` fails where the name
    is taken, so it is the arbiter between writers. A full disk is a :class:`NoSpaceError`.
    """

    look_every = 0.0

    def __init__(self, root: Path) -> None:
        self.root = root
        temporary = root / ".tmp"
        try:
            self._make_folder(temporary)
            self._scratch = ScratchFolder(temporary)
        except OSError as error:
            raise StoreError(f"{root}: cannot be used as a store: {error.strerror}") from error

    def create(self, key: str, data: bytes) -> bool:
        target = self._path(key)
        if target.exists():  # saves the writing; the link below decides
            _sync(target.parent)  # its writer may have died before it could
            return False
        with _room(), self.scratch() as path:
            path.write_bytes(data)
            return self._link(path, target)

    def create_from(self, key: str, path: Path) -> bool:
        with _room():
            return self._link(path, self._path(key))

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            raise MissingObjectError(f"{key}: not in the store") from None

    def size(self, key: str) -> int | None:
        try:
            return self._path(key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        try:
            file = self._path(key).open("rb", buffering=0)
        except FileNotFoundError:
            raise MissingObjectError(f"{key}: not in the store") from None
        with file:
            file.seek(start)
            left = stop - start
            while left > 0 and (chunk := file.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk

    def keys(self, prefix: str) -> Iterator[str]:
        top = self._path(prefix.removesuffix("/"))
        found = []
        for folder, _, names in os.walk(top):
            base = Path(folder).relative_to(self.root).as_posix()
            found += [f"{base}/{name}" for name in names]
        yield from sorted(found)

    def put_hint(self, key: str, data: bytes) -> None:
        target = self._path(key)
        with _room(), self.scratch() as path:
            self._make_folder(target.parent)
            path.write_bytes(data)
            path.replace(target)

    def remove(self, key: str) -> None:
        target = self._path(key)
        with suppress(FileNotFoundError, NotADirectoryError):
            target.unlink()
            _sync(target.parent)

    def written_at(self, key: str) -> datetime | None:
        try:
            return datetime.fromtimestamp(self._path(key).stat().st_mtime, UTC)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def scratch(self) -> AbstractContextManager[Path]:
        return self._scratch.file()

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _link(self, path: Path, target: Path) -> bool:
        _sync(path)
        self._make_folder(target.parent)
        try:
            os.link(path, target)
        except FileExistsError:
            written = False
        else:
            written = True
        _sync(target.parent)
        return written

    def _make_folder(self, folder: Path) -> None:
        """Make a folder so that it survives a crash: each new one is synced into its parent."""
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir()
        _sync(folder.parent)


@contextmanager
def _room() -> Iterator[None]:
    """Turn a full disk into the answer that clients get."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise NoSpaceError("the index has no space left for this; nothing is stored") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_store(address: str) -> ObjectStore:
    """Open the store that ``ARMWHEELS_STORE`` names: ``file:/srv/armwheels``, ``s3://bucket/prefix``.

    Raises:
        StoreError: the address is of no known kind, or what it names cannot be used.
        UnsafeStoreError: the store ignores the conditions that keep two writers apart.
        StoreAwayError: the store does not answer.
    """
    kind, _, place = address.partition(":")
    if kind == "file" and place:
        return DirectoryStore(Path(place).expanduser().resolve())
    bucket, _, prefix = place.removeprefix("//").strip("/").partition("/")
    if kind == "s3" and place.startswith("//") and bucket:
        from index_server import s3  # boto3 costs half a second and 25 MB, which a folder need not pay

        return s3.open_bucket(bucket, prefix, endpoint=s3_endpoint(), scratch=scratch_folder())
    raise StoreError(f"{address!r} names no store; write file:FOLDER or s3://BUCKET/PREFIX")
