"""Local files for bytes on their way in; each vanishes with the process that made it."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock).st_nlink:  # a sweeper may have come between open and lock
                return path, lock
            os.close(lock)

    def _sweep(self) -> None:
        """Remove the files whose process is gone."""
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):
                lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
                except BlockingIOError:
                    pass  # another server is writing it
                finally:
                    os.close(lock)
