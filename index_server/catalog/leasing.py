"""Taking a lease: what it names must be there, before it is written and after."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from index_server.catalog.catalog import Catalog
from index_server.errors import GoneError, MalformedError, NotFoundError
from index_server.model import File, LeasedFile, LeaseEntry, stamp
from index_server.names import parse_name


def take(
    catalog: Catalog, name: str, *, snapshots: Sequence[str], filenames: Sequence[str], message: str, by: str
) -> LeaseEntry:
    """Keep snapshots and files until the lease ends.

    The lease is written first and what was collected is looked at afterwards (rule 12 of the catalog).

    Raises:
        MalformedError: the lease has no proper name, or names nothing.
        NotFoundError: it names what is not here.
        GoneError: it names what was collected; then there is no lease.
    """
    leased = [_leased(catalog, filename) for filename in filenames]
    held = {(file.sha256, file.filename) for file in leased}
    for snapshot in snapshots:
        records = catalog.snapshot_records(catalog.find_snapshot(snapshot))
        held |= {(record.sha256, record.filename) for record in records}
    _refuse_gone(catalog, held)
    at = stamp(catalog.now())
    entry = catalog.leases.put(name, snapshots=snapshots, files=leased, message=message, at=at, by=by)
    try:
        _refuse_gone(catalog, held)
    except GoneError:
        catalog.leases.void(name, at=at, by=by)
        raise
    return entry


def _leased(catalog: Catalog, filename: str) -> LeasedFile:
    try:
        project = parse_name(filename).project
    except ValueError as error:
        raise MalformedError(str(error)) from error
    record = catalog.find_record(project, filename)
    if record is None:
        raise NotFoundError(f"{filename} is not recorded here")
    return LeasedFile(project=project, filename=filename, sha256=record.sha256)


def _refuse_gone(catalog: Catalog, held: Iterable[File]) -> None:
    collected = catalog.tombs.look()
    gone = sorted(filename for sha256, filename in held if (sha256, filename) in collected.gone)
    if gone:
        raise GoneError(*(f"{filename} was collected" for filename in gone))
