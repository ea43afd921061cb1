"""Makes files and folders durable.

The kernel is first told to write all of them, and then asked for each whether it is written. So a disk's journal
takes in several new files at once (sync_file_range(2), fsync(2)).

A journal of the whole file system (ext3, ext4, xfs) makes names durable in the order in which they were made. So
after a crash, no name is there without the earlier ones. On other file systems each name must be synced before the
next one is made.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import cache
from pathlib import Path

ORDERED = frozenset({"ext3", "ext4", "xfs"})
AT_ONCE = 16  # files that are open at a time
SHARES = 8  # threads that wait for the files of one call
_start = getattr(ctypes.CDLL(None), "sync_file_range", None)
_WRITE = 2  # SYNC_FILE_RANGE_WRITE: start to write, and do not wait


def make_durable(paths: Iterable[Path]) -> None:
    """Return when the files and folders ``paths``, as they are at the call, would survive a crash.

    The name of a new file is durable once its folder is. Folders are synced in the order given.

    Raises:
        OSError: the disk fails.
    """
    left = list(dict.fromkeys(paths))
    while left:
        _sync(left[:AT_ONCE])
        del left[:AT_ONCE]


def _sync(paths: list[Path]) -> None:
    with ExitStack() as ends:
        descriptors = []
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            ends.callback(os.close, descriptor)
            descriptors.append(descriptor)
        _start_writing(descriptors)
        _wait(descriptors)


def sync_files(descriptors: Sequence[int]) -> None:
    """Return when open files, as they are at the call, would survive a crash.

    Several threads wait for them, since the kernel merges the flushes of a disk's cache that are asked for at the
    same time.

    Raises:
        OSError: the disk fails.
    """
    _start_writing(descriptors)
    shares = [descriptors[number::SHARES] for number in range(min(SHARES, len(descriptors)))]
    others = [_threads().submit(_wait, share) for share in shares[1:]]
    try:
        _wait(shares[0] if shares else [])
    finally:
        wait(others)  # the caller closes the files
    for each in others:
        each.result()


def _start_writing(descriptors: Sequence[int]) -> None:
    if _start is not None and len(descriptors) > 1:
        for descriptor in descriptors:
            _start(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), _WRITE)  # fsync reports what fails


def _wait(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.fsync(descriptor)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(4 * SHARES, "sync")


def keeps_order(path: Path) -> bool:
    """Whether the file system of ``path`` makes names durable in the order in which they were made."""
    return file_system(path) in ORDERED


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
