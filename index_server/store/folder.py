"""The object store in a local folder. It uses fsync(2) for durability, and link(2) to create objects atomically."""

from __future__ import annotations

import errno
import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from index_server.errors import (
    MissingObjectError,
    NoSpaceError,
    ReadOnlyStoreError,
    StoreAwayError,
    StoreError,
)
from index_server.store.durable import keeps_order, make_durable, sync_files
from index_server.store.interface import CHUNK, NO_ROOM, Staged, check_key
from index_server.store.scratch import ScratchFolder

PRIVATE = 0o700  # of the store's folders; its files are 0600
_SCRATCH = ".tmp"
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR})
_log = logging.getLogger(__name__)


class DirectoryStore:
    """Objects as files below one folder. Several processes of one user may share it.

    An object is written to a temporary file, made durable (see :mod:`index_server.store.durable`), and linked to
    its name. ``link`` fails if the name exists, so that of several writers one succeeds. The methods raise
    :class:`NoSpaceError` on a full disk, :class:`ReadOnlyStoreError` on a read-only mount, and
    :class:`StoreAwayError` on any other disk failure.
    """

    look_every = 0.0
    gains_together = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self._top = str(root)
        temporary = root / _SCRATCH
        try:
            root.parent.mkdir(parents=True, exist_ok=True)
            for folder in (root, temporary):
                if not folder.is_dir():
                    with suppress(FileExistsError):
                        folder.mkdir(mode=PRIVATE)
                    make_durable([folder.parent])
        except OSError as error:
            if error.errno != errno.EROFS or not root.is_dir():
                raise StoreError(f"{root}: cannot be used as a store: {error.strerror}") from error
        self._scratch = ScratchFolder(temporary)
        self._ordered = keeps_order(root)

    def create(self, key: str, data: bytes) -> bool:
        target = self._path(key)
        with _writing(key):
            if target.exists():  # saves the write; the link decides
                make_durable(self._folders(key))  # the writer may have died before it did
                return False
        with self.stage({key: data}) as staged:
            return staged.create(key)[0]

    def create_from(self, key: str, path: Path) -> bool:
        with self.stage({key: path}) as staged:
            return staged.create(key)[0]

    @contextmanager
    def stage(self, objects: Mapping[str, bytes | Path]) -> Iterator[Staged]:
        first = next(iter(objects), "")
        with ExitStack() as ends:
            with _writing(first):
                contents = {key: data for key, data in objects.items() if isinstance(data, bytes)}
                made = ends.enter_context(self._scratch.files(contents.values()))
                names = {key: path for key, (path, _) in zip(contents, made, strict=True)}
                descriptors = [descriptor for _, descriptor in made]
                for key, path in objects.items():
                    if isinstance(path, Path):
                        names[key] = str(path)
                        descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                        ends.callback(os.close, descriptors[-1])
                sync_files(descriptors)
            staged = _Prepared(self._link, names)
            yield staged
            with _writing(first):
                make_durable(staged.unsynced)

    def get(self, key: str) -> bytes:
        check_key(key)
        # A snapshot reads all its records, and a Path is slower.
        with _reading(key), io.FileIO(f"{self._top}/{key}") as file:
            return file.readall()

    def size(self, key: str) -> int | None:
        stat = self._stat(check_key(key))
        return None if stat is None else stat.st_size

    def version(self, key: str) -> object | None:
        stat = self._stat(check_key(key) if key else "")
        if stat is None:
            return None
        place = stat.st_dev, stat.st_ino
        return (*place, stat.st_mtime_ns, stat.st_size) if key else place

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        path = self._path(key)
        with _reading(key):
            file = path.open("rb", buffering=0)
        with file, _reading(key):
            file.seek(start)
            left = stop - start
            while left > 0 and (chunk := file.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk

    def open(self, key: str) -> BinaryIO | None:
        try:
            return io.FileIO(f"{self._top}/{check_key(key)}")
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise _away(key, error) from error

    def keys(self, prefix: str) -> Iterator[str]:
        top = f"{self._top}/{check_key(prefix.removesuffix('/'))}" if prefix else self._top
        skipped = len(self._top) + 1
        yield from sorted(path[skipped:] for path in self._walk(top))

    def put_hint(self, key: str, data: bytes) -> None:
        target = self._path(key)
        with _writing(key), self._scratch.files([data]) as [(path, _)]:
            self._make_folders(key)
            os.replace(path, target)  # noqa: PTH105 - see the names of scratch files

    def remove(self, key: str) -> None:
        target = self._path(key)
        with _writing(key), suppress(FileNotFoundError, NotADirectoryError):
            target.unlink()
            make_durable([target.parent])

    def written_at(self, key: str) -> datetime | None:
        stat = self._stat(check_key(key))
        return None if stat is None else datetime.fromtimestamp(stat.st_mtime, UTC)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        with ExitStack() as ends:
            with _writing(_SCRATCH):  # errors of the caller's own writes are not converted
                path = ends.enter_context(self._scratch.file())
            yield path

    def exposed(self) -> Iterator[str]:
        """Yield a note if the permissions of the store's folder give access to other users."""
        if self.root.stat().st_mode & 0o077:
            yield f"{self.root}: other users have access to the store; run chmod -R go= {self.root}"

    def _walk(self, top: str) -> Iterator[str]:
        """Yield all files below ``top``; none if ``top`` does not exist.

        Raises:
            StoreAwayError: a folder cannot be read. So an incomplete listing never looks complete.
        """

        def fail(error: OSError) -> None:
            if error.filename == top and error.errno in _ABSENT:
                return
            raise _away(top, error)

        for folder, folders, names in os.walk(top, onerror=fail):
            if folder == self._top and _SCRATCH in folders:
                folders.remove(_SCRATCH)
            for name in names:
                yield f"{folder}/{name}"

    def _stat(self, key: str) -> os.stat_result | None:
        """Return the status of an object's file, or None. An empty key stands for the store's folder."""
        try:
            # Every request for a page does this, and a Path is slower.
            return os.stat(f"{self._top}/{key}" if key else self._top)  # noqa: PTH116 - see above
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise _away(key, error) from error

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _link(self, key: str, path: str) -> tuple[bool, list[Path]]:
        """Give a durable file the name of a key. Return whether it was free, and the folders to be synced."""
        with _writing(key):
            target = f"{self._top}/{check_key(key)}"
            try:
                written = _link(path, target)
            except FileNotFoundError:
                self._make_folders(key)
                written = _link(path, target)
            if self._ordered:
                return written, [self._folder(key)]  # the names of the folders are older
            make_durable(self._folders(key))  # no name may be durable before the ones made earlier
            return written, []

    def _folder(self, key: str) -> Path:
        return self.root / key.rpartition("/")[0]

    def _folders(self, key: str) -> list[Path]:
        """Return the folders that contain an object, the nearest first and the store's own last."""
        above = key.split("/")[:-1]
        return [self.root.joinpath(*above[:depth]) for depth in range(len(above), -1, -1)]

    def _make_folders(self, key: str) -> None:
        """Make the folders of a key.

        The store's own folder is made only at opening. Making it later would hide an unmounted disk.
        """
        for folder in reversed(self._folders(key)[:-1]):
            with suppress(FileExistsError):
                folder.mkdir(mode=PRIVATE)


def _link(path: str, target: str) -> bool:
    """Give a file one more name, unless the name is taken. Return whether it was free."""
    try:
        os.link(path, target)
    except FileExistsError:
        return False
    return True


class _Prepared:
    """Staged objects as durable files without their names."""

    def __init__(self, link: Callable[[str, str], tuple[bool, list[Path]]], paths: Mapping[str, str]) -> None:
        self._link = link
        self._paths = paths
        self._last: list[Path] = []  # the folder of the name made last; once it is durable, earlier names are
        self._taken: list[
            Path
        ] = []  # folders of names that were taken; their writers may die before they sync

    @property
    def unsynced(self) -> list[Path]:
        """The folders to sync before all names are durable."""
        return [*self._taken, *self._last]

    def create(self, *keys: str) -> list[bool]:
        written = []
        for key in keys:
            free, folders = self._link(key, self._paths[key])
            written.append(free)
            if free:
                self._last = folders
            else:
                self._taken += folders
        return written


@contextmanager
def _reading(key: str) -> Iterator[None]:
    """Convert errors of a read.

    Raises:
        MissingObjectError: there is no such object.
        StoreAwayError: the disk fails.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _ABSENT:
            raise MissingObjectError(key) from None
        raise _away(key, error) from error


@contextmanager
def _writing(key: str) -> Iterator[None]:
    """Convert errors of a write.

    Raises:
        NoSpaceError: the disk is full.
        ReadOnlyStoreError: the disk is mounted read-only.
        StoreAwayError: the disk fails, or is unmounted.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise NoSpaceError("the index has no space left for this; nothing is stored") from error
        if error.errno == errno.EROFS:
            raise ReadOnlyStoreError(f"{key}: the store is mounted read-only") from error
        raise _away(key, error) from error


def _away(key: str, error: OSError) -> StoreAwayError:
    message = f"the store's disk fails: {key}: {error.strerror or error}"
    _log.warning("%s", message)
    return StoreAwayError(message)
