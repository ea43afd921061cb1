"""Names the leases that use files whose last promise by a channel ends soon.

After that day a file stays because of the lease alone. If the lease ends or names something else, the file may go.
Those who hold the lease are told the day before, while the file is still promised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta

from index_server.catalog.catalog import Catalog
from index_server.errors import DamagedError, MissingObjectError
from index_server.model import File
from index_server.rules.retention import NEVER, RetentionState, Terms, stays


@dataclass(frozen=True)
class Ending:
    """A file of a lease, and the day on which the last promise by a channel or snapshot ends."""

    until: str
    lease: str
    taken_by: str
    message: str
    project: str
    filename: str


@dataclass
class _Leased:
    """The files that a lease names, with their projects."""

    name: str
    by: str
    message: str
    files: dict[File, str] = field(default_factory=dict)


def ending(catalog: Catalog, terms: Terms, *, days: int = 1) -> list[Ending]:
    """The files of current leases whose other promises end within ``days``, the earliest first."""
    today = catalog.now().astimezone(UTC).date()
    last = str(today + timedelta(days=days))
    leases = list(_leased(catalog))
    moves = {name: catalog.journal(name).readable() for name in catalog.channels}
    listed = [
        stay
        for name, entries in moves.items()
        for stay in stays(name, [(move.snapshot, move.at) if move else None for move in entries])
    ]
    state = RetentionState(terms, listed)  # without leases
    untils = _untils(catalog, state, {project for lease in leases for project in lease.files.values()}, today)
    found = [
        Ending(untils[file], lease.name, lease.by, lease.message, project, file[1])
        for lease in leases
        for file, project in lease.files.items()
        if str(today) <= untils.get(file, NEVER) <= last
    ]
    return sorted(found, key=lambda each: (each.until, each.lease, each.filename))


def _leased(catalog: Catalog) -> Iterator[_Leased]:
    for lease in catalog.leases.all():
        entry = catalog.leases.standing(lease.name)
        if lease.ended is not None or entry is None:
            continue
        found = _Leased(lease.name, entry.by, entry.message)
        found.files.update({(file.sha256, file.filename): file.project for file in lease.files})
        for snapshot in lease.snapshots:
            with suppress(DamagedError, MissingObjectError):
                for record in catalog.snapshot_records(catalog.snapshot(snapshot)):
                    found.files[record.sha256, record.filename] = record.project
        yield found


def _untils(catalog: Catalog, state: RetentionState, projects: set[str], today: date) -> Mapping[File, str]:
    """The day until which each file of some projects is promised. What is shown now is promised for ever longer."""
    found: dict[File, str] = {}
    for snapshot in catalog.snapshot_ids():
        until = "shown" if snapshot in state.shown else state.until(snapshot)  # sorts after every day
        if until < str(today):
            continue
        with suppress(DamagedError, MissingObjectError):  # it promises nothing
            refs = catalog.snapshot(snapshot).projects
            for project in projects & refs.keys():
                for record in catalog.shard(refs[project].shard).records:
                    file = record.sha256, record.filename
                    found[file] = max(found.get(file, NEVER), until)
    return found
