"""What the host of a worker is, in the words that the worker's identity and its first line have."""

from __future__ import annotations

import os
import platform
import socket

from builder.errors import ConfigError
from builder.machine import free_resources
from builder.model.base import Frozen
from builder.toolbox.toolbox import Toolbox


class Host(Frozen):
    """A host; memory and free disk space in GiB."""

    name: str
    machine: str
    cores: int
    memory_gib: float
    disk_gib: float
    emulator: str

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.machine}, {self.cores} cores, {self.memory_gib:.0f} GiB of memory and "
            f"{self.disk_gib:.0f} GiB of disk free, {self.emulator}"
        )


def examine(toolbox: Toolbox) -> Host:
    """Describe this host.

    Raises:
        ConfigError: it is one on which nothing can be built.
    """
    machine = platform.machine()
    if machine not in ("x86_64", "aarch64"):
        raise ConfigError(f"a worker builds on an x86-64 or arm64 host; this one is {machine}")
    free = free_resources(toolbox.home)
    [qemu] = toolbox.pins.files("qemu")
    return Host(
        name=f"{socket.gethostname()}-{os.getpid()}",
        machine=machine,
        cores=free.processors,
        memory_gib=free.memory_gib,
        disk_gib=free.disk_gib,
        emulator=f"{qemu.name} {qemu.version}",
    )
