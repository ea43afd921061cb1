"""Routes of uploads and sessions: the legacy upload API, adoption, discarding, builds by digest."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response
from packaging.utils import canonicalize_name
from starlette.requests import ClientDisconnect

from index_server.access.own_sessions import OwnSessions
from index_server.access.ratelimit import Buckets
from index_server.access.tokens import Publisher
from index_server.api.parts import (
    DigestPath,
    SessionPath,
    TheCatalog,
    ThePublisher,
    as_json,
    as_stored,
    challenge,
    the_publisher,
)
from index_server.catalog.catalog import Catalog
from index_server.errors import (
    BadUploadError,
    ForbiddenError,
    NoSpaceError,
    NotFoundError,
    RequestError,
    StoreAwayError,
    TooManyError,
)
from index_server.intake import upload as intake
from index_server.intake.pool import Pool
from index_server.model import SESSION, Record, stamp
from index_server.names import parse_name
from index_server.store.interface import NO_ROOM

router = APIRouter()

WHOLE = intake.MAX_FILE + intake.MAX_FORM + (1 << 20)  # bytes of an upload, its form included
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        ":action": {"const": "file_upload"},
                        "content": {"type": "string", "format": "binary"},
                        "sha256_digest": {"type": "string"},
                    },
                    "required": [":action", "content"],
                }
            }
        },
    }
}
PROJECT = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"  # a name by the core metadata specification


@router.post("/upload/", max_body_size=WHOLE, openapi_extra=_FORM)
@router.post("/upload", max_body_size=WHOLE, include_in_schema=False)
async def upload(
    request: Request,
    catalog: TheCatalog,
    session: Annotated[str | None, Query()] = None,
) -> Response:
    """Accept a wheel by the legacy upload API, into ``session`` or the token's own current session."""
    body = request.stream()
    try:
        if session is not None and not SESSION.match(session):
            raise BadUploadError("a session's name is 22 to 64 letters, digits, dashes and underscores")
        publisher = await anyio.to_thread.run_sync(the_publisher, request)
        _admit(request, publisher)
        record, joined = await _take(request, catalog, publisher, session, body)
    except RequestError as error:
        text = "\n".join(error.reasons) + "\n"
        return Response(text, error.status, challenge(error), media_type="text/plain")
    text = (
        f"{record.filename} is stored in the session {joined}. No page shows it yet.\n"
        "To publish it, run `armwheels snapshot` with the same token.\n"
    )
    return Response(text, 200, {"x-armwheels-session": joined}, "text/plain")


def _admit(request: Request, publisher: Publisher) -> None:
    """Refuse an upload before its bytes are read if the token has no scope for it or uploads too often."""
    publisher.demand_uploads()
    buckets: Buckets = request.app.state.buckets
    wait = buckets.take(publisher.secret_hash)
    if wait:
        seconds = math.ceil(wait)
        raise TooManyError(f"too many uploads with this token; go on in {seconds} s", retry_after=seconds)


async def _take(
    request: Request,
    catalog: Catalog,
    publisher: Publisher,
    session: str | None,
    body: AsyncIterator[bytes],
) -> tuple[Record, str]:
    own: OwnSessions = request.app.state.own_sessions
    checks: Pool = request.app.state.checks

    def examine() -> tuple[Record, bytes]:
        return intake.examine(received, checks.check, at=stamp(catalog.now()), by=publisher.name)

    def finish() -> tuple[Record, str]:
        publisher.demand("upload", record.project)
        _refuse_quarantined(catalog, record.project)
        joined = session or own.current(publisher)
        return catalog.record_file(record, metadata, path, joined), joined

    try:
        with catalog.store.scratch() as path:
            received = await intake.receive(body, request.headers.get("content-type", ""), path)
            # Uploads wait for a free worker here, where they hold no thread that other requests need.
            record, metadata = await anyio.to_thread.run_sync(examine, limiter=request.app.state.check_slots)
            return await anyio.to_thread.run_sync(finish)
    except ClientDisconnect:
        raise BadUploadError("the connection ended before the file did; nothing is stored") from None
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise StoreAwayError(f"the upload cannot be written: {error}") from error
        raise NoSpaceError("the index has no space left for this file; nothing is stored") from error


def _refuse_quarantined(catalog: Catalog, project: str) -> None:
    """Refuse uploads of a quarantined project (PEP 792)."""
    _, marks = catalog.status.shown(project)
    reason = marks.project
    if reason is not None:
        raise ForbiddenError(f"{project} is under quarantine: {reason}")


@router.get("/api/builds/{wheel_digest}")
def build(
    wheel_digest: DigestPath,
    catalog: TheCatalog,
    project: Annotated[str | None, Query(pattern=PROJECT, max_length=200)] = None,
) -> Response:
    """The record of the wheel that a project published for a wheel digest.

    Without a project, it is the newest wheel that states the digest, of any project.
    """
    record = catalog.find_build(wheel_digest, canonicalize_name(project) if project else None)
    if record is None:
        raise NotFoundError("no wheel of this digest is published")
    return as_stored(record)


@router.get("/api/sessions/{session}")
def session_files(session: SessionPath, catalog: TheCatalog) -> Response:
    """The files of a session."""
    files = [
        {key: getattr(file, key) for key in ("project", "filename", "sha256", "at")}
        for file in catalog.sessions.files(session)
    ]
    if not files:
        raise NotFoundError("there is no such session, or it holds nothing yet")
    return as_json({"session": session, "files": files})


@router.put("/api/sessions/{session}/files/{filename}")
def adopt(session: SessionPath, filename: str, catalog: TheCatalog, publisher: ThePublisher) -> Response:
    """Add a recorded file to a session."""
    try:
        name = parse_name(filename)
    except ValueError as error:
        raise NotFoundError(str(error)) from error
    publisher.demand("upload", name.project)
    _refuse_quarantined(catalog, name.project)
    return as_stored(catalog.adopt(session, filename, name.project))


@router.delete("/api/sessions/{session}")
def discard(session: SessionPath, catalog: TheCatalog, publisher: ThePublisher) -> Response:
    """Discard a session: it accepts no more uploads, shows nothing and becomes no snapshot."""
    publisher.demand_uploads()
    catalog.sessions.discard(session)
    return Response(status_code=204)
