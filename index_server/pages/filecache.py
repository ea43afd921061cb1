"""Keeps files of a network store on a local disk, up to so many bytes, and sends them while the store is away.

Files never change, so a kept file is right for ever. The folder holds ``SHA256/FILENAME``. It may be shared by the
processes of one machine, and deleted at any time. Whole files are kept when they are sent; parts of files are not.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from index_server.store.interface import CHUNK

_log = logging.getLogger(__name__)
_UNFINISHED = ".part"
_STALE = 3600.0  # seconds without a write, after which an unfinished file has no writer any more
_TOUCHED = 60.0  # seconds in which the time of the last use is not written again


class Reader(Protocol):
    """The part of a store that sends files."""

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from ``start`` up to ``stop``."""

    def open(self, key: str) -> BinaryIO | None:
        """Return the object as an open file, if this machine has it as one."""


class FileCache:
    """A bounded folder of files. The ones that were used last stay."""

    def __init__(self, folder: Path, limit: int) -> None:
        """``limit`` is the most bytes that the folder holds, unfinished files included."""
        self._folder = folder
        self._limit = limit

    def size(self, sha256: str, filename: str) -> int | None:
        """Return a kept file's size in bytes, or None."""
        try:
            return self._path(sha256, filename).stat().st_size
        except OSError:
            return None

    def reader(self, store: Reader, sha256: str, filename: str, size: int) -> Reader:
        """Return a reader of one file: from the folder, or from the store, keeping what is read whole."""
        return _CachedReader(self, store, sha256, filename, size)

    def open(self, sha256: str, filename: str) -> BinaryIO | None:
        """Return a kept file, and note that it is used; None if it is not kept."""
        path = self._path(sha256, filename)
        try:
            file = path.open("rb", buffering=0)
        except OSError:
            return None
        with suppress(OSError):
            if time.time() - os.fstat(file.fileno()).st_mtime > _TOUCHED:
                os.utime(path)
        return file

    def kept(self, sha256: str, filename: str, start: int, stop: int) -> Iterator[bytes] | None:
        """Return the bytes of a kept file in chunks, or None."""
        file = self.open(sha256, filename)
        if file is None:
            return None

        def chunks() -> Iterator[bytes]:
            with file:
                file.seek(start)
                left = stop - start
                while left and (chunk := file.read(min(CHUNK, left))):
                    left -= len(chunk)
                    yield chunk

        return chunks()

    def keeping(self, chunks: Iterator[bytes], sha256: str, filename: str, size: int) -> Iterator[bytes]:
        """Yield chunks, and keep the file if they end with all its bytes and, for a wheel, its hash.

        A full disk or a wrong hash stops the keeping, not the chunks.
        """
        if size > self._limit:
            yield from chunks
            return
        unfinished = self._begin()
        digest, written = hashlib.sha256(), 0
        try:
            for chunk in chunks:
                if unfinished is not None:
                    try:
                        unfinished.write(chunk)
                    except OSError as error:
                        _log.warning("files are not kept in %s: %s", self._folder, error)
                        _drop(unfinished)
                        unfinished = None
                digest.update(chunk)
                written += len(chunk)
                if written == size and unfinished is not None:
                    # Before the last chunk is sent: the client may be gone afterwards.
                    if not filename.endswith(".whl") or digest.hexdigest() == sha256:
                        self._finish(unfinished, sha256, filename)
                    else:
                        _drop(unfinished)
                    unfinished = None
                yield chunk
        finally:
            if unfinished is not None:
                _drop(unfinished)

    def _path(self, sha256: str, filename: str) -> Path:
        return self._folder / sha256 / filename

    def _begin(self) -> tempfile._TemporaryFileWrapper[bytes] | None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return tempfile.NamedTemporaryFile(dir=self._folder, suffix=_UNFINISHED, delete=False)
        except OSError as error:
            _log.warning("files are not kept in %s: %s", self._folder, error)
            return None

    def _finish(self, file: tempfile._TemporaryFileWrapper[bytes], sha256: str, filename: str) -> None:
        final = self._path(sha256, filename)
        try:
            file.close()
            final.parent.mkdir(exist_ok=True)
            Path(file.name).replace(final)
            self._trim(final)
        except OSError as error:
            _log.warning("%s is not kept: %s", final, error)
            _drop(file)

    def _trim(self, newest: Path) -> None:
        """Delete the files that were used longest ago, until the folder holds no more than its limit."""
        files = []
        for path in self._folder.rglob("*"):
            with suppress(OSError):
                about = path.lstat()
                if path.is_dir():
                    continue
                abandoned = path.name.endswith(_UNFINISHED) and time.time() - about.st_mtime > _STALE
                files.append((0.0 if abandoned else about.st_mtime, about.st_size, path))
        total = sum(size for _, size, _ in files)
        for used, size, path in sorted(files):
            if used and total <= self._limit:
                return
            if path == newest or (used and path.name.endswith(_UNFINISHED)):
                continue
            path.unlink(missing_ok=True)
            with suppress(OSError):  # it has other files, or got one at this moment
                path.parent.rmdir()
            total -= size


class _CachedReader:
    def __init__(self, cache: FileCache, store: Reader, sha256: str, filename: str, size: int) -> None:
        self._cache = cache
        self._store = store
        self._file = (sha256, filename)
        self._size = size

    def open(self, key: str) -> BinaryIO | None:
        return self._cache.open(*self._file) or self._store.open(key)

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        kept = self._cache.kept(*self._file, start, stop)
        if kept is not None:
            return kept
        chunks = self._store.read(key, start, stop)
        whole = start == 0 and stop == self._size
        return self._cache.keeping(chunks, *self._file, self._size) if whole else chunks


def _drop(file: tempfile._TemporaryFileWrapper[bytes]) -> None:
    with suppress(OSError):
        file.close()
    with suppress(OSError):
        Path(file.name).unlink()
