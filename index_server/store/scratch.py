"""Temporary local files for bytes that are being received. They do not outlive the process that made them."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NOT_OURS = frozenset({errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT})


class ScratchFolder:
    """A folder of temporary files that several processes may share.

    A process keeps a lock on its files. Opening the folder deletes files without a lock, which killed processes
    left.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sweep()

    @contextmanager
    def file(self) -> Iterator[Path]:
        """Provide an empty file, which is deleted when the context ends."""
        with self.files([b""]) as [(path, _)]:
            yield Path(path)

    @contextmanager
    def files(self, contents: Iterable[bytes]) -> Iterator[list[tuple[str, int]]]:
        """Provide a file for each content, as path and open descriptor. All are deleted when the context ends."""
        made: list[tuple[str, int]] = []
        try:
            for data in contents:
                made.append(self._locked_file())
                written, descriptor = 0, made[-1][1]
                while written < len(data):
                    written += os.write(descriptor, data[written:])
            yield made
        finally:
            for path, descriptor in made:
                with suppress(FileNotFoundError):
                    os.unlink(path)  # noqa: PTH108 - every upload makes several; a Path costs more
                os.close(descriptor)

    def _locked_file(self) -> tuple[str, int]:
        """Return a new file, and the descriptor that holds its lock (flock(2))."""
        while True:
            path = f"{self._folder}/{secrets.token_hex(12)}"
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock).st_nlink:  # another process may have deleted it between open and lock
                return path, lock
            os.close(lock)

    def _sweep(self) -> None:
        """Delete the files whose process has ended. Files that cannot be opened are skipped, and do no harm."""
        if not self._folder.is_dir():  # the store is read-only and was never written to
            return
        for path in self._folder.iterdir():
            try:
                lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError as error:  # a folder, another user's file, a read-only disk, or just deleted
                if error.errno not in _NOT_OURS:
                    raise
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
            except BlockingIOError:
                pass  # another process uses it
            finally:
                os.close(lock)
