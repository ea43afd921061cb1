"""Whether this machine can hold a build, and how many jobs at once: said before anything is compiled. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from builder.errors import CompileError
from builder.model.recipe import Needs


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a build may use: processors, memory and free disk in GiB."""

    processors: int
    memory_gib: float
    disk_gib: float


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """Jobs at once, and the minutes a cold build is expected to take with them; ``None`` where nobody knows."""

    jobs: int
    minutes: float | None

    def __str__(self) -> str:
        if self.minutes is None:
            return f"{self.jobs} jobs at once"
        hours, minutes = divmod(round(self.minutes), 60)
        return f"{self.jobs} jobs at once; cold, about {f'{hours} h ' if hours else ''}{minutes} min"


def capacity(needs: Needs, machine: Machine, *, resumed: bool = False) -> Capacity:
    """How a machine would build; a build that is gone on with has most of its disk already.

    Raises:
        CompileError: with everything the machine lacks.
    """
    faults = []
    if machine.memory_gib < needs.memory_per_job_gib:
        faults.append(
            f"one compile job may take {needs.memory_per_job_gib:g} GiB of memory, "
            f"{machine.memory_gib:.1f} are free"
        )
    if machine.disk_gib < needs.disk_gib and not resumed:
        faults.append(
            f"the build takes {needs.disk_gib:g} GiB of disk, {machine.disk_gib:.1f} are free: "
            "make room, or set ARMWHEELS_HOME to a larger disk"
        )
    if faults:
        raise CompileError("this machine is too small: " + "; ".join(faults))
    jobs = fitting(needs, machine)
    return Capacity(jobs=jobs, minutes=needs.cpu_minutes / jobs if needs.cpu_minutes else None)


def fitting(needs: Needs, machine: Machine) -> int:
    """How many jobs of a build fit on a machine at once; one at the least, though it may not fit either."""
    return max(1, min(machine.processors, int(machine.memory_gib / needs.memory_per_job_gib)))
