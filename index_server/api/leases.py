"""Routes of leases: ``PUT /api/leases/{name}`` keeps snapshots and files until ``DELETE`` ends the lease."""

from __future__ import annotations

from fastapi import APIRouter, Response

from index_server.api.bodies import MANY_NAMES, JsonRoute
from index_server.api.parts import Asked, Message, TheCatalog, ThePublisher, as_json, as_stored
from index_server.catalog import leasing
from index_server.errors import NotFoundError
from index_server.model import stamp

router = APIRouter(route_class=JsonRoute)


class LeaseAsked(Asked):
    """``PUT /api/leases/{name}``: snapshots by id and files by name."""

    snapshots: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    message: Message = ""


@router.get("/api/leases")
def leases(catalog: TheCatalog) -> Response:
    """All current leases."""
    standing = [lease for lease in catalog.leases.all() if lease.ended is None]
    listed = [
        {"name": lease.name, "snapshots": lease.snapshots, "files": [file.filename for file in lease.files]}
        for lease in standing
    ]
    return as_json({"leases": listed})


@router.get("/api/leases/{name}")
def lease(name: str, catalog: TheCatalog) -> Response:
    """A current lease."""
    entry = catalog.leases.standing(name)
    if entry is None:
        raise NotFoundError(f"there is no lease {name}")
    return as_stored(entry)


@router.put("/api/leases/{name}", max_body_size=MANY_NAMES)
def take(name: str, asked: LeaseAsked, catalog: TheCatalog, publisher: ThePublisher) -> Response:
    """Keep snapshots and files until the lease ends. It replaces a lease of the same name."""
    publisher.demand("lease")
    entry = leasing.take(
        catalog,
        name,
        snapshots=asked.snapshots,
        filenames=asked.files,
        message=asked.message,
        by=publisher.name,
    )
    return as_stored(entry)


@router.delete("/api/leases/{name}")
def end(name: str, catalog: TheCatalog, publisher: ThePublisher) -> Response:
    """End a lease. Its files stay for the longest ``retention_days`` of all channels from today."""
    publisher.demand("lease")
    return as_stored(catalog.leases.end(name, at=stamp(catalog.now()), by=publisher.name))
