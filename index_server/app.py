"""The HTTP contract: ``create_app()`` puts the page handler in front and FastAPI's routes behind it.

Reads are open unless the policy says otherwise; whatever writes needs a token with the scope for it. Refusals of
``/upload/`` are plain text, one reason a line, since twine and uv print them as they are; all others are problem
documents (RFC 9457) with ``reasons``.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Annotated

import anyio.to_thread
import orjson
from fastapi import APIRouter, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index_server import cache_routes, channel_routes, intake, lease_routes, tokens
from index_server.catalog import Catalog
from index_server.errors import (
    BadUploadError,
    ForbiddenError,
    MalformedError,
    NoSpaceError,
    NotFoundError,
    RequestError,
    StoreAwayError,
    TooLargeError,
    TooManyError,
    UnauthorizedError,
)
from index_server.http_parts import Asked, Nonce, TheCatalog, ThePublisher, as_json, as_stored, the_publisher
from index_server.model import SESSION, Record, Session, Sha256, stamp
from index_server.policy import Policy
from index_server.ratelimit import Buckets
from index_server.readgate import ReadGate
from index_server.settings import Settings
from index_server.site import Site
from index_server.store import NO_ROOM, ObjectStore
from index_server.tokens import Publisher, Readers
from index_server.wheelcheck import parse_name

MAX_BODY = 32 << 20  # bytes of any body but an upload's
DRAINED = 64 << 20  # bytes read off a refused upload, so that the client gets to read the answer

SessionPath = Annotated[Session, Path()]
DigestPath = Annotated[Sha256, Path()]
KindPath = Annotated[str, Path(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]


class SnapshotAsked(Asked):
    """``POST /api/snapshots``. Without a session, the token's own current one is meant."""

    session: Session | None = None
    idempotency_key: Nonce
    channel: str = "nightly"


def create_app(store: ObjectStore, settings: Settings, policy: Policy | None = None) -> ASGIApp:
    """The whole server over a store; without a policy, channels have no gates and reads are open."""
    policy = policy or Policy()
    catalog = Catalog(store, settings.channels)
    api = FastAPI(title="Armwheels index", docs_url=None, redoc_url=None)
    api.state.catalog = catalog
    api.state.settings = settings
    api.state.policy = policy
    api.state.buckets = Buckets(policy.uploads_per_second, policy.uploads_at_once)
    api.include_router(router)
    api.include_router(channel_routes.router)
    api.include_router(lease_routes.router)
    api.include_router(cache_routes.router)
    api.add_exception_handler(RequestError, _refused)
    api.add_exception_handler(RequestValidationError, _malformed)
    api.add_exception_handler(HTTPException, _http_error)
    api.add_middleware(BodyLimit)
    site = Site(catalog, settings.targets, api, policy.retention)
    return ReadGate(site, Readers(store)) if policy.reads_need_token else site


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
        publisher = await anyio.to_thread.run_sync(the_publisher, request)
        _admit(request, publisher)
        record, joined = await _take(request, catalog, publisher, session, body)
    except RequestError as error:
        await _drain(body)
        text = "\n".join(error.reasons) + "\n"
        return Response(text, error.status, _challenge(error), media_type="text/plain")
    return Response(f"{record.filename} is here\n", 200, {"x-armwheels-session": joined}, "text/plain")


def _admit(request: Request, publisher: Publisher) -> None:
    """Refuse an upload before its bytes are read: by scope, or because too many came."""
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
    settings: Settings = request.app.state.settings

    def finish() -> tuple[Record, str]:
        record, metadata = intake.examine(
            received,
            targets=settings.targets,
            passport=settings.passport,
            at=stamp(catalog.now()),
            by=publisher.name,
        )
        publisher.demand("upload", record.project)
        _refuse_quarantined(catalog, record.project)
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


def _refuse_quarantined(catalog: Catalog, project: str) -> None:
    """A project under quarantine takes no upload (PEP 792)."""
    reason = catalog.status.marks().of(project).project
    if reason is not None:
        raise ForbiddenError(f"{project} is under quarantine: {reason}")


@router.get("/api/builds/{wheel_digest}")
def build(wheel_digest: DigestPath, catalog: TheCatalog) -> Response:
    """The record of the wheel published for a wheel digest."""
    record = catalog.find_build(wheel_digest)
    if record is None:
        raise NotFoundError("no wheel of this digest is published")
    return as_stored(record)


# Sessions


@router.get("/api/sessions/{session}")
def session_files(session: SessionPath, catalog: TheCatalog) -> Response:
    """What a session holds."""
    files = [
        {key: getattr(file, key) for key in ("project", "filename", "sha256", "at")}
        for file in catalog.sessions.files(session)
    ]
    if not files:
        raise NotFoundError("there is no such session, or it holds nothing yet")
    return as_json({"session": session, "files": files})


@router.put("/api/sessions/{session}/files/{filename}")
def adopt(session: SessionPath, filename: str, catalog: TheCatalog, publisher: ThePublisher) -> Response:
    """Put a recorded file into a session."""
    try:
        name = parse_name(filename)
    except ValueError as error:
        raise NotFoundError(str(error)) from error
    publisher.demand("upload", name.project)
    _refuse_quarantined(catalog, name.project)
    return as_stored(catalog.adopt(session, filename, name.project))


@router.delete("/api/sessions/{session}")
def discard(session: SessionPath, catalog: TheCatalog, publisher: ThePublisher) -> Response:
    """Throw a session away: it takes no more uploads, shows nothing and becomes no snapshot."""
    publisher.demand_uploads()
    catalog.sessions.discard(session)
    return Response(status_code=204)


# Evidence


@router.put("/api/evidence/{sha256}/{kind}")
async def add_evidence(
    request: Request, sha256: DigestPath, kind: KindPath, catalog: TheCatalog, publisher: ThePublisher
) -> Response:
    """Add what was found out about a file; the newest of a kind is the one that counts."""
    publisher.demand("evidence")
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"the body is not JSON: {error}") from error
    added = await anyio.to_thread.run_sync(catalog.evidence.add, sha256, kind, body, publisher.name)
    return as_json({"sha256": sha256, "kind": kind, "at": added.at, "by": added.by})


@router.get("/api/evidence/{sha256}/{kind}")
def evidence(sha256: DigestPath, kind: KindPath, catalog: TheCatalog) -> Response:
    """The newest evidence of a kind, as it was sent."""
    found = catalog.evidence.find(sha256, kind)
    if found is None:
        raise NotFoundError(f"there is no {kind} evidence about this file")
    return as_json(found.body)


@router.get("/api/evidence/{sha256}")
def evidence_kinds(sha256: DigestPath, catalog: TheCatalog) -> Response:
    """The kinds of evidence about a file."""
    return as_json({"sha256": sha256, "kinds": catalog.evidence.kinds(sha256)})


# Snapshots


@router.post("/api/snapshots")
def make_snapshot(asked: SnapshotAsked, catalog: TheCatalog, publisher: ThePublisher) -> Response:
    """Make a snapshot of a channel's head plus a session: 201, or 200 where there is nothing new."""
    publisher.demand_uploads()
    session = asked.session or tokens.asked_session(catalog, publisher, asked.idempotency_key)
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


@router.get("/healthz")
def health(catalog: TheCatalog) -> Response:
    """Whether the server answers and its store can be read."""
    serials = {}
    for name in catalog.channels:
        head = catalog.head(name)
        serials[name] = head.serial if head else 0
    return as_json({"status": "ok", "serials": serials})


# Answers


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
    if isinstance(error, StoreAwayError | TooManyError):
        return {"retry-after": str(error.retry_after)}
    return {"www-authenticate": 'Basic realm="armwheels"'} if error.status == UnauthorizedError.status else {}


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
