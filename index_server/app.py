"""The HTTP contract: ``create_app()`` puts the page handler in front and FastAPI's routes behind it.

Reads are open; whatever writes needs a token. Refusals of ``/upload/`` are plain text, one reason a line,
since twine and uv print them as they are; all others are problem documents (RFC 9457) with ``reasons``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import anyio.to_thread
import orjson
from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index_server import intake, tokens
from index_server.catalog import Catalog
from index_server.errors import (
    BadUploadError,
    MalformedError,
    NoSpaceError,
    NotFoundError,
    RequestError,
    StoreAwayError,
    TooLargeError,
    UnauthorizedError,
)
from index_server.model import SESSION, Move, Record, Session, Sha256, Stored, stamp
from index_server.settings import Settings
from index_server.site import Site
from index_server.store import NO_ROOM, ObjectStore
from index_server.tokens import Publisher
from index_server.wheelcheck import parse_name

MAX_BODY = 32 << 20  # bytes of any body but an upload's
DRAINED = 64 << 20  # bytes read off a refused upload, so that the client gets to read the answer

SessionPath = Annotated[Session, Path()]
DigestPath = Annotated[Sha256, Path()]
KindPath = Annotated[str, Path(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
Nonce = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Asked(BaseModel):
    """Base of request bodies: unknown keys are refused, not passed over."""

    model_config = ConfigDict(extra="forbid")


class SnapshotAsked(Asked):
    """``POST /api/snapshots``. Without a session, the token's own current one is meant."""

    session: Session | None = None
    idempotency_key: Nonce
    channel: str = "nightly"


class MoveAsked(Asked):
    """``POST /api/channels/{name}/moves``."""

    snapshot: str
    expected_serial: Annotated[int, Field(ge=0)]
    nonce: Nonce
    approvals: tuple[str, ...] = ()
    message: Annotated[str, StringConstraints(max_length=2000)] = ""


def create_app(store: ObjectStore, settings: Settings) -> ASGIApp:
    """The whole server over a store."""
    catalog = Catalog(store, settings.channels)
    api = FastAPI(title="Armwheels index", docs_url=None, redoc_url=None)
    api.state.catalog = catalog
    api.state.settings = settings
    api.include_router(router)
    api.add_exception_handler(RequestError, _refused)
    api.add_exception_handler(RequestValidationError, _malformed)
    api.add_exception_handler(HTTPException, _http_error)
    api.add_middleware(BodyLimit)
    return Site(catalog, settings.targets, api)


def _catalog(request: Request) -> Catalog:
    catalog: Catalog = request.app.state.catalog
    return catalog


def _publisher(request: Request) -> Publisher:
    return tokens.authenticate(_catalog(request).store, request.headers.get("authorization"))


TheCatalog = Annotated[Catalog, Depends(_catalog)]
ThePublisher = Annotated[Publisher, Depends(_publisher)]
router = APIRouter()


# Files


@router.post("/upload/")
@router.post("/upload", include_in_schema=False)
async def upload(
    request: Request,
    catalog: TheCatalog,
    session: Annotated[str | None, Query()] = None,
) -> Response:
    """Take a wheel by the legacy upload API, into ``session`` or the token's own current one."""
    body = request.stream()
    try:
        if session is not None and not SESSION.match(session):
            raise BadUploadError("a session's name is 22 to 64 letters, digits, dashes and underscores")
        publisher = await anyio.to_thread.run_sync(_publisher, request)
        record, joined = await _take(request, catalog, publisher, session, body)
    except RequestError as error:
        await _drain(body)
        text = "\n".join(error.reasons) + "\n"
        return Response(text, error.status, _challenge(error), media_type="text/plain")
    return Response(f"{record.filename} is here\n", 200, {"x-armwheels-session": joined}, "text/plain")


async def _take(
    request: Request,
    catalog: Catalog,
    publisher: Publisher,
    session: str | None,
    body: AsyncIterator[bytes],
) -> tuple[Record, str]:
    settings: Settings = request.app.state.settings

    def finish() -> tuple[Record, str]:
        record, metadata = intake.examine(
            received,
            targets=settings.targets,
            passport=settings.passport,
            at=stamp(catalog.now()),
            by=publisher.name,
        )
        joined = session or tokens.current_session(catalog, publisher)
        return catalog.record_file(record, metadata, path, joined), joined

    try:
        with catalog.store.scratch() as path:
            received = await intake.receive(body, request.headers.get("content-type", ""), path)
            return await anyio.to_thread.run_sync(finish)
    except ClientDisconnect:
        raise BadUploadError("the connection ended before the file did; nothing is stored") from None
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise NoSpaceError("the index has no space left for this file; nothing is stored") from error


@router.get("/api/builds/{wheel_digest}")
def build(wheel_digest: DigestPath, catalog: TheCatalog) -> Response:
    """The record of the wheel published for a wheel digest."""
    record = catalog.find_build(wheel_digest)
    if record is None:
        raise NotFoundError("no wheel of this digest is published")
    return _stored(record)


# Sessions


@router.get("/api/sessions/{session}")
def session_files(session: SessionPath, catalog: TheCatalog) -> Response:
    """What a session holds."""
    files = [
        {key: getattr(file, key) for key in ("project", "filename", "sha256", "at")}
        for file in catalog.session_files(session)
    ]
    if not files:
        raise NotFoundError("there is no such session, or it holds nothing yet")
    return _json({"session": session, "files": files})


@router.put("/api/sessions/{session}/files/{filename}")
def adopt(session: SessionPath, filename: str, catalog: TheCatalog, _: ThePublisher) -> Response:
    """Put a recorded file into a session."""
    try:
        name = parse_name(filename)
    except ValueError as error:
        raise NotFoundError(str(error)) from error
    return _stored(catalog.adopt(session, filename, name.project))


# Evidence


@router.put("/api/evidence/{sha256}/{kind}")
async def add_evidence(
    request: Request, sha256: DigestPath, kind: KindPath, catalog: TheCatalog, publisher: ThePublisher
) -> Response:
    """Add what was found out about a file; the newest of a kind is the one that counts."""
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"the body is not JSON: {error}") from error
    added = await anyio.to_thread.run_sync(catalog.add_evidence, sha256, kind, body, publisher.name)
    return _json({"sha256": sha256, "kind": kind, "at": added.at, "by": added.by})


@router.get("/api/evidence/{sha256}/{kind}")
def evidence(sha256: DigestPath, kind: KindPath, catalog: TheCatalog) -> Response:
    """The newest evidence of a kind, as it was sent."""
    found = catalog.find_evidence(sha256, kind)
    if found is None:
        raise NotFoundError(f"there is no {kind} evidence about this file")
    return _json(found.body)


@router.get("/api/evidence/{sha256}")
def evidence_kinds(sha256: DigestPath, catalog: TheCatalog) -> Response:
    """The kinds of evidence about a file."""
    return _json({"sha256": sha256, "kinds": catalog.evidence_kinds(sha256)})


# Snapshots


@router.post("/api/snapshots")
def make_snapshot(asked: SnapshotAsked, catalog: TheCatalog, publisher: ThePublisher) -> Response:
    """Make a snapshot of a channel's head plus a session: 201, or 200 where there is nothing new."""
    session = asked.session or tokens.asked_session(catalog, publisher, asked.idempotency_key)
    answer = catalog.make_snapshot(session, asked.idempotency_key, asked.channel)
    return _stored(answer, 201 if answer.created else 200)


@router.get("/api/snapshots")
def snapshot_ids(catalog: TheCatalog) -> Response:
    """All snapshots, the oldest first."""
    return _json({"snapshots": catalog.snapshot_ids()})


@router.get("/api/snapshots/{snapshot_id}")
def snapshot(snapshot_id: str, catalog: TheCatalog) -> Response:
    """A snapshot with all its files."""
    found = catalog.find_snapshot(snapshot_id)
    files = [_summary(record) for record in catalog.snapshot_records(found)]
    return _json({"id": found.id, "parent": found.parent, "created_at": found.created_at, "files": files})


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


# Channels


@router.get("/api/channels")
def channels(catalog: TheCatalog) -> Response:
    """All channels with their heads."""
    return _json({"channels": [_channel(catalog, name) for name in catalog.channels]})


@router.get("/api/channels/{name}")
def channel(name: str, catalog: TheCatalog) -> Response:
    """A channel with its head; serial 0 and no snapshot before its first move."""
    return _json(_channel(catalog, name))


@router.get("/api/channels/{name}/moves")
def moves(name: str, catalog: TheCatalog) -> Response:
    """The journal of a channel, the oldest entry first."""
    return _json({"moves": [move.model_dump(mode="json") for move in catalog.moves(name)]})


@router.post("/api/channels/{name}/moves")
def move(name: str, asked: MoveAsked, catalog: TheCatalog, publisher: ThePublisher) -> Response:
    """Point a channel at a snapshot: 201, or 200 where it points there already."""
    entry, moved = catalog.move(
        name,
        snapshot_id=asked.snapshot,
        expected_serial=asked.expected_serial,
        nonce=asked.nonce,
        by=publisher.name,
        approvals=asked.approvals,
        message=asked.message,
    )
    return _stored(entry, 201 if moved else 200)


def _channel(catalog: Catalog, name: str) -> dict[str, object]:
    head: Move | None = catalog.head(name)
    return {
        "name": name,
        "description": catalog.channels[name],
        "serial": head.serial if head else 0,
        "snapshot": head.snapshot if head else None,
        "at": head.at if head else None,
        "by": head.by if head else None,
    }


@router.get("/healthz")
def health(catalog: TheCatalog) -> Response:
    """Whether the server answers and its store can be read."""
    serials = {}
    for name in catalog.channels:
        head = catalog.head(name)
        serials[name] = head.serial if head else 0
    return _json({"status": "ok", "serials": serials})


# Answers


def _json(data: object) -> Response:
    return Response(orjson.dumps(data), media_type="application/json")


def _stored(model: Stored, status: int = 200) -> Response:
    return Response(model.encode(), status, media_type="application/json")


def _problem(status: int, title: str, reasons: list[str], members: dict[str, object]) -> Response:
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": "; ".join(reasons),
        "reasons": reasons,
    }
    return Response(orjson.dumps({**members, **body}), status, media_type="application/problem+json")


def _challenge(error: RequestError) -> dict[str, str]:
    if isinstance(error, StoreAwayError):
        return {"retry-after": str(error.retry_after)}
    return {"www-authenticate": 'Basic realm="armwheels"'} if isinstance(error, UnauthorizedError) else {}


async def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestError):
        raise error
    answer = _problem(error.status, error.title, list(error.reasons), error.members)
    answer.headers.update(_challenge(error))
    return answer


async def _malformed(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    reasons = [f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors()]
    return _problem(MalformedError.status, MalformedError.title, reasons, {})


async def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    answer = _problem(error.status_code, str(error.detail), [str(error.detail)], {})
    answer.headers.update(error.headers or {})
    return answer


async def _drain(body: AsyncIterator[bytes]) -> None:
    """Read on after a refusal: a client that is still sending might never see the answer."""
    size = 0
    try:
        async for chunk in body:
            size += len(chunk)
            if size > DRAINED:
                return
    except ClientDisconnect:
        return


class BodyLimit:
    """Refuses bodies larger than :data:`MAX_BODY`, except an upload's, which has limits of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/upload"):
            await self.app(scope, receive, send)
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY:
                raise HTTPException(TooLargeError.status, f"the body is larger than {MAX_BODY} bytes")
            return message

        await self.app(scope, counted, send)
