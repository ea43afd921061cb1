"""Makes files and folders that are either complete or absent, whatever ends the process.

Everything is made under a temporary name beside its final place, on the same file system, and moved there by
rename(2), which is atomic. What a killed process left behind is deleted by the next one that makes the same thing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

_STALE_SECONDS = 3600
"""A temporary file of this age was left by a killed process: writing one takes less than a second."""


def create_once(final: Path, create: Callable[[Path], object], *, durable: bool = False) -> Path:
    """Make the file or folder ``final`` unless it exists, and return it.

    ``create`` is called with the path to make. That path has the name of ``final`` and does not exist yet; its
    parent is a private folder, deleted afterwards, that ``create`` may use for other temporary files. If ``create``
    raises an error, ``final`` does not exist afterwards. A lock file (``final`` with the suffix ``.lock``) keeps
    two processes or threads from making the same thing at once: the second waits, then uses what the first made.

    A file is written to the disk before it gets its name, so that a power failure cannot leave an empty one
    (fsync(2)). A folder is only if ``durable``: for a source tree of many small files that takes minutes.
    """
    if final.exists():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{final}.lock"):
        if not final.exists():
            # The process that made these had the lock: it has ended.
            _delete_leftovers(final)
            folder = Path(tempfile.mkdtemp(prefix=_prefix(final), dir=final.parent))
            try:
                made = folder / final.name
                create(made)
                if durable or made.is_file():
                    _sync_tree(made)
                made.rename(final)
                _sync(final.parent)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    return final


def create_in_place(folder: Path, create: Callable[[], None], *, marker: str = ".complete") -> Path:
    """Call ``create`` unless ``folder`` holds the file ``marker``, then write that file; returns ``folder``.

    For folders that cannot be moved, such as a virtual environment, whose scripts contain its path. ``create`` must
    cope with what a killed process left in ``folder``. The lock is that of :func:`create_once`.
    """
    complete = folder / marker
    if not complete.is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not complete.is_file():
                create()
                complete.touch()
    return folder


def write_bytes(path: Path, data: bytes) -> None:
    """Write or replace a file: a reader finds the old content or the new one, even after a power failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _delete_leftovers(path, older_than=_STALE_SECONDS)
    folder = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
    try:
        temporary = folder / path.name
        temporary.write_bytes(data)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Like :func:`write_bytes`, for text, which is encoded in UTF-8."""
    write_bytes(path, text.encode())


def sha256_of(path: Path) -> str:
    """The file's sha256 in hexadecimal; the file is never in memory as a whole."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _prefix(final: Path) -> str:
    # The infix keeps the temporary folders of `zlib` and of `zlib-ng` apart.
    return f".{final.name}.tmp-"


def _delete_leftovers(final: Path, *, older_than: float = 0) -> None:
    """Delete the temporary folders of ``final`` that are at least ``older_than`` seconds old."""
    latest = time.time() - older_than
    for path in list(final.parent.iterdir()):
        if path.name.startswith(_prefix(final)):
            # Another process may delete it meanwhile.
            with suppress(FileNotFoundError):
                if path.stat().st_mtime <= latest:
                    shutil.rmtree(path, ignore_errors=True)


def _sync_tree(path: Path) -> None:
    if not path.is_dir():
        _sync(path)
        return
    for folder, _, names in os.walk(path):
        for name in names:
            if not Path(folder, name).is_symlink():
                _sync(Path(folder, name))
        _sync(Path(folder))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
