"""What the journal of leases means: which leases stand, and when the others ended. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from index_server.model import LeasedFile, LeaseEntry


@dataclass(frozen=True)
class Lease:
    """What a name stood for, and when that ended, if it did."""

    name: str
    snapshots: tuple[str, ...]
    files: tuple[LeasedFile, ...]
    ended: str | None


def fold(entries: Iterable[LeaseEntry]) -> list[Lease]:
    """All leases there ever were; an entry ends the one of its name that stands before it."""
    done: list[Lease] = []
    standing: dict[str, LeaseEntry] = {}
    for entry in entries:
        before = standing.pop(entry.name, None)
        if before is not None and entry.kind != "void":
            done.append(Lease(before.name, before.snapshots, before.files, entry.at))
        if entry.kind == "lease":
            standing[entry.name] = entry
    return done + [Lease(entry.name, entry.snapshots, entry.files, None) for entry in standing.values()]
