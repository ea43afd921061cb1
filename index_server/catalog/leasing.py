"""Takes a lease after checking that its snapshots and files exist, before and after writing it.

Apart from :mod:`index_server.catalog.leases`, which the catalog imports: this module needs the catalog.
"""

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

    The lease is written before collected files are looked up (rule 12 of the catalog).

    Raises:
        MalformedError: the name is not valid, or there is nothing to keep.
        NotFoundError: a snapshot or file does not exist.
        GoneError: a file was collected; there is no lease then.
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
        raise NotFoundError(f"the index has no file {filename}")
    return LeasedFile(project=project, filename=filename, sha256=record.sha256)


def _refuse_gone(catalog: Catalog, held: Iterable[File]) -> None:
    collected = catalog.tombs.look()
    names = sorted(filename for sha256, filename in held if (sha256, filename) in collected.gone)
    if names:
        raise GoneError(*(f"{filename} was collected" for filename in names))
