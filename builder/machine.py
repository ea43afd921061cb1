"""The processors, memory and disk that this process may use, within the limits of its control groups.

In a container, ``/proc`` shows the memory and the processors of the host: only the control group has the limits.
This module reads version 2 (Linux, ``Documentation/admin-guide/cgroup-v2.rst``) and version 1
(``cgroup-v1/memory.rst``, ``scheduler/sched-bwc.rst``).
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from builder.capacity import Resources

MIDR = Path("/sys/devices/system/cpu/cpu0/regs/identification/midr_el1")
"""The processor's identification on Linux on Arm. The file does not exist under user-mode emulation."""
MEMBERSHIP = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")


def is_real(machine: str, midr: Path = MIDR) -> bool:
    """Whether ``machine`` (from ``platform.machine()``) is aarch64 and is not emulated."""
    return machine == "aarch64" and midr.is_file()


def free_resources(folder: Path, *, membership: Path = MEMBERSHIP, groups: Path = GROUPS) -> Resources:
    """The resources for a build; the free disk space is that of the file system of ``folder``."""
    memory = [psutil.virtual_memory().available]
    processors = [len(os.sched_getaffinity(0))]
    for group in _own_groups(membership, groups):
        memory += _memory_left(group)
        processors += _quota(group)
    return Resources(
        processors=max(1, min(processors)),
        memory_gib=max(0, min(memory)) / 2**30,
        disk_gib=shutil.disk_usage(folder).free / 2**30,
    )


def _own_groups(membership: Path, groups: Path) -> Iterator[Path]:
    """The folders of this process's control groups and of their parents; each may have a limit."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # The only line of version 2 names no controllers.
        names = [one for one in controllers.split(",") if one in ("memory", "cpu")] if controllers else [""]
        for name in names:
            own = Path(path.lstrip("/"))
            yield from (groups / name / folder for folder in (own, *own.parents))


def _memory_left(group: Path) -> list[int]:
    """Bytes below the group's limit; cached files that the kernel would drop first count as free."""
    for limit, used, dropped in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        if (bound := _number(group / limit)) is not None:
            inactive = _fields(group / "memory.stat").get(dropped, 0)
            return [bound - max(0, (_number(group / used) or 0) - inactive)]
    return []


def _quota(group: Path) -> list[int]:
    """The group's limit of processor time in processors, rounded up; empty without a limit."""
    both = _words(group / "cpu.max")
    quota, period = both if len(both) == 2 else ("", "")
    if not quota:
        quota, period = (" ".join(_words(group / name)) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    return [math.ceil(int(quota) / int(period))] if quota.isdigit() and period.isdigit() else []


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split()
    except OSError:
        return []


def _number(file: Path) -> int | None:
    words = _words(file)
    return int(words[0]) if words and words[0].isdigit() else None


def _fields(file: Path) -> dict[str, int]:
    words = _words(file)
    return {name: int(value) for name, value in zip(words[::2], words[1::2], strict=False) if value.isdigit()}
