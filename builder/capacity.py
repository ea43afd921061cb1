"""Whether a build fits this machine, and with how many jobs; checked before the build starts. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from builder.errors import CompileError
from builder.model.recipe import Needs


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The resources for a build; memory and free disk space in GiB."""

    processors: int
    memory_gib: float
    disk_gib: float


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """The number of parallel jobs, and the expected minutes of a build with an empty cache, if known."""

    jobs: int
    minutes: float | None

    def __str__(self) -> str:
        if self.minutes is None:
            return f"{self.jobs} jobs"
        hours, minutes = divmod(round(self.minutes), 60)
        return f"{self.jobs} jobs; about {f'{hours} h ' if hours else ''}{minutes} min with an empty cache"


def capacity(needs: Needs, machine: Resources, *, resumed: bool = False) -> Capacity:
    """The jobs and the time of a build on a machine; a ``resumed`` build has used most of its disk space already.

    Raises:
        CompileError: with every resource that is too small.
    """
    faults = []
    if machine.memory_gib < needs.memory_per_job_gib:
        faults.append(
            f"one compile job needs {needs.memory_per_job_gib:g} GiB of memory, "
            f"{machine.memory_gib:.1f} GiB are free"
        )
    if machine.disk_gib < needs.disk_gib and not resumed:
        faults.append(
            f"the build needs {needs.disk_gib:g} GiB of disk space, {machine.disk_gib:.1f} GiB are free: "
            "free some, or set ARMWHEELS_HOME to a folder on a larger disk"
        )
    if faults:
        raise CompileError("this machine is too small: " + "; ".join(faults))
    jobs = fitting(needs, machine)
    return Capacity(jobs=jobs, minutes=needs.cpu_minutes / jobs if needs.cpu_minutes else None)


def fitting(needs: Needs, machine: Resources) -> int:
    """The number of jobs that fit a machine; at least 1, even if that does not fit."""
    return max(1, min(machine.processors, int(machine.memory_gib / needs.memory_per_job_gib)))
