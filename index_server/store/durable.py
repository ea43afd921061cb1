"""Makes what several threads wrote to one disk durable together.

A disk takes milliseconds to write its cache back, whether for one file or for a hundred. So threads that wait at
the same time share one ``syncfs`` (syncfs(2)). On other file systems than those below, each file and folder gets an
``fsync`` of its own: some network file systems accept ``syncfs`` and do nothing.

These file systems also write names in the order in which they were made, or all at once. So after a crash, no name
is there without the earlier ones.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from threading import Lock

SHARED = frozenset({"btrfs", "ext3", "ext4", "xfs"})  # their syncfs waits for the disk and reports its errors


class Durable:
    """The disk on which ``root`` lies."""

    def __init__(self, root: Path) -> None:
        self.shared = file_system(root) in SHARED
        self._run = _Shared(lambda: _sync_file_system(root))

    def __call__(self, paths: Iterable[Path]) -> None:
        """Return when the files and folders ``paths``, as they are at the call, would survive a crash.

        Raises:
            OSError: the disk fails.
        """
        if self.shared:
            self._run()
        else:
            for path in dict.fromkeys(paths):
                sync(path)


class _Shared:
    """A function that threads run together: each call returns after a run that began after the call."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._running = Lock()
        self._lock = Lock()
        self._next: Future[None] | None = None  # the run that has not begun yet

    def __call__(self) -> None:
        with self._lock:
            first = self._next is None
            mine = self._next = self._next or Future()
        if first:
            with self._running:
                with self._lock:
                    self._next = None  # a later call may have written something that this run misses
                try:
                    self._work()
                except BaseException as error:
                    mine.set_exception(error)
                else:
                    mine.set_result(None)
        mine.result()


def sync(path: Path) -> None:
    """Sync one file or folder (fsync(2)). The name of a new file is durable once its folder is synced."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_system(path: Path) -> str:
    """The type of a path's file system, such as ``ext4``; empty if unknown (proc_pid_mountinfo(5))."""
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        mount, _, kind = line.partition(" - ")
        if mount.split()[2] == number:
            return kind.split()[0]
    return ""


def _sync_file_system(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)
