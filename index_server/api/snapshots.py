"""Routes of snapshots: make one from a session, list all, read one."""

from __future__ import annotations

from fastapi import APIRouter, Response

from index_server.api.bodies import JsonRoute
from index_server.api.parts import Asked, Nonce, TheCatalog, TheOwnSessions, ThePublisher, as_json, as_stored
from index_server.model import Record, Session

router = APIRouter(route_class=JsonRoute)


class SnapshotAsked(Asked):
    """``POST /api/snapshots``. Without ``session``, the token's own current one is used."""

    session: Session | None = None
    idempotency_key: Nonce
    channel: str = "nightly"


@router.post("/api/snapshots")
def make_snapshot(
    asked: SnapshotAsked, catalog: TheCatalog, own: TheOwnSessions, publisher: ThePublisher
) -> Response:
    """Make a snapshot from a channel's current one plus a session: 201, or 200 if the session adds nothing."""
    publisher.demand_uploads()
    session = asked.session or own.asked(publisher, asked.idempotency_key)
    answer = catalog.make_snapshot(session, asked.idempotency_key, asked.channel)
    return as_stored(answer, 201 if answer.created else 200)


@router.get("/api/snapshots")
def snapshot_ids(catalog: TheCatalog) -> Response:
    """All snapshots, the oldest first."""
    return as_json({"snapshots": catalog.snapshot_ids()})


@router.get("/api/snapshots/{snapshot_id}")
def snapshot(snapshot_id: str, catalog: TheCatalog) -> Response:
    """A snapshot with all its files."""
    found = catalog.find_snapshot(snapshot_id)
    files = [_summary(record) for record in catalog.snapshot_records(found)]
    return as_json({"id": found.id, "parent": found.parent, "created_at": found.created_at, "files": files})


def _summary(record: Record) -> dict[str, object]:
    tuned = record.tuned
    return {
        "project": record.project,
        "filename": record.filename,
        "sha256": record.sha256,
        "size": record.size,
        "version": record.version,
        "target": tuned.target if tuned else None,
        "backend": tuned.backend if tuned else None,
        "build": tuned.build if tuned else None,
        "wheel_digest": tuned.wheel_digest if tuned else None,
    }
