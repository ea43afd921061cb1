"""Local files for bytes on their way in; each vanishes with the process that made it."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOT_OURS = frozenset({errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT})


class ScratchFolder:
    """A folder of temporary files that several processes may share.

    A file is locked while its process lives; those left by a killed one are swept when a folder is opened.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sweep()

    @contextmanager
    def file(self) -> Iterator[Path]:
        """An empty file, removed when the context ends."""
        path, lock = self._locked_file()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
            os.close(lock)

    def _locked_file(self) -> tuple[Path, int]:
        """A new file and the descriptor that holds its lock."""
        while True:
            path = self._folder / secrets.token_hex(12)
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock).st_nlink:  # a sweeper may have come between open and lock
                return path, lock
            os.close(lock)

    def _sweep(self) -> None:
        """Remove the files whose process is gone; what cannot be removed here is in nobody's way."""
        if not self._folder.is_dir():  # of a store that is read-only and was never written to
            return
        for path in self._folder.iterdir():
            try:
                lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError as error:  # a folder, another user's file, a read-only disk, or just gone
                if error.errno not in _NOT_OURS:
                    raise
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
            except BlockingIOError:
                pass  # another server is writing it
            finally:
                os.close(lock)
