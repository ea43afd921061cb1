"""The object store: the one thing replicas share.

The interface is small so that every kind can keep the same promises:

* ``create`` writes whole objects and never over an existing one; of many writers one alone gets ``True``.
* What ``create`` acknowledged survives a crash; what it did not acknowledge is there whole or not at all.
* ``put_hint`` replaces, and only hints may be replaced: nothing depends on their being new.
* ``scratch`` lends a local file for bytes on their way in; it vanishes with its process.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from index_server.errors import MissingObjectError, StoreError

CHUNK = 1 << 20  # bytes handed on at a time
_SEGMENT = re.compile(r"[A-Za-z0-9_!+-][A-Za-z0-9_.!+-]{0,254}\Z")


class ObjectStore(Protocol):
    """Objects by key. Keys are ``/``-separated segments of letters, digits and ``_.!+-``."""

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
    is taken, so it is the arbiter between writers. Temporary files are locked while their process lives;
    those left by a killed one are swept when a store is opened.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._temporary = root / ".tmp"
        try:
            self._make_folder(self._temporary)
            self._sweep()
        except OSError as error:
            raise StoreError(f"{root}: cannot be used as a store: {error.strerror}") from error

    def create(self, key: str, data: bytes) -> bool:
        target = self._path(key)
        if target.exists():  # saves the writing; the link below decides
            return False
        with self.scratch() as path:
            path.write_bytes(data)
            return self._link(path, target)

    def create_from(self, key: str, path: Path) -> bool:
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
        self._make_folder(target.parent)
        with self.scratch() as path:
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

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        path, lock = self._locked_file()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
            os.close(lock)

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _locked_file(self) -> tuple[Path, int]:
        """A new temporary file and the descriptor that holds its lock."""
        while True:
            path = self._temporary / secrets.token_hex(12)
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock).st_nlink:  # a sweeper may have come between open and lock
                return path, lock
            os.close(lock)

    def _link(self, path: Path, target: Path) -> bool:
        _sync(path)
        self._make_folder(target.parent)
        try:
            os.link(path, target)
        except FileExistsError:
            return False
        _sync(target.parent)
        return True

    def _make_folder(self, folder: Path) -> None:
        """Make a folder so that it survives a crash: each new one is synced into its parent."""
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir()
        _sync(folder.parent)

    def _sweep(self) -> None:
        """Remove the temporary files whose process is gone."""
        for path in self._temporary.iterdir():
            with suppress(FileNotFoundError):
                lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
                except BlockingIOError:
                    pass  # another server is writing it
                finally:
                    os.close(lock)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_store(address: str) -> ObjectStore:
    """Open the store that ``ARMWHEELS_STORE`` names, such as ``file:/srv/armwheels``.

    Raises:
        StoreError: the address is of no known kind, or the folder cannot be used.
    """
    kind, _, place = address.partition(":")
    if kind != "file" or not place:
        raise StoreError(f"{address!r} names no store; write file:FOLDER")
    return DirectoryStore(Path(place).expanduser().resolve())
