"""The directory store: objects as files below one folder, with fsync and link."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from index_server.errors import MissingObjectError, NoSpaceError, StoreError
from index_server.store.interface import CHUNK, NO_ROOM, check_key
from index_server.store.scratch import ScratchFolder


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
