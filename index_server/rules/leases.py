"""Derives the leases, current and ended, from the journal of leases. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from index_server.model import LeasedFile, LeaseEntry


@dataclass(frozen=True)
class Lease:
    """The snapshots and files that a name keeps, and when the lease ended, if it did."""

    name: str
    snapshots: tuple[str, ...]
    files: tuple[LeasedFile, ...]
    ended: str | None


def fold(entries: Iterable[LeaseEntry]) -> list[Lease]:
    """All leases, current and ended. An entry ends the earlier lease of its name."""
    done: list[Lease] = []
    standing: dict[str, LeaseEntry] = {}
    for entry in entries:
        before = standing.pop(entry.name, None)
        if before is not None and entry.kind != "void":
            done.append(Lease(before.name, before.snapshots, before.files, entry.at))
        if entry.kind == "lease":
            standing[entry.name] = entry
    return done + [Lease(entry.name, entry.snapshots, entry.files, None) for entry in standing.values()]
