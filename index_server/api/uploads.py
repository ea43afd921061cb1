"""Routes of uploads and sessions: the legacy upload API, adoption, discarding, builds by digest."""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated

from cryptography.x509 import Certificate
from fastapi import APIRouter, Query, Request, Response
from packaging.utils import canonicalize_name
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from index_server.access.own_sessions import OwnSessions
from index_server.access.ratelimit import Buckets
from index_server.access.tokens import Publisher, RecentTokens, authenticate
from index_server.api.parts import (
    PROJECT,
    DigestPath,
    SessionPath,
    TheCatalog,
    ThePublisher,
    as_json,
    as_stored,
    challenge,
)
from index_server.api.together import Together
from index_server.catalog.catalog import Catalog
from index_server.catalog.recording import CheckedFile, Outcome
from index_server.errors import (
    BadUploadError,
    ForbiddenError,
    NoSpaceError,
    NotFoundError,
    RequestError,
    StoreAwayError,
    StoreError,
    TooManyError,
    as_answer,
)
from index_server.intake import upload as intake
from index_server.intake.pool import Pool
from index_server.model import SESSION, Record, stamp
from index_server.names import parse_name
from index_server.store.interface import NO_ROOM

router = APIRouter()
_log = logging.getLogger(__name__)
_PATHS = frozenset({"/upload/", "/upload"})

THREADS = 16  # small and large wheels that are checked and stored at a time
AT_ONCE = 16  # small wheels that are written together
_PLAIN_QUERY = re.compile(rb"(?:session=([A-Za-z0-9_-]*))?\Z")
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
                        "attestations": {"type": "string", "description": "a JSON array (PEP 740)"},
                    },
                    "required": [":action", "content"],
                }
            }
        },
    }
}


@dataclass(frozen=True)
class _Checked:
    """A checked upload that is to be recorded."""

    record: Record
    metadata: bytes
    content: Path | bytes
    authorization: str | None
    session: str | None
    provenance: bytes | None


@dataclass(frozen=True)
class _Stored:
    """A stored upload."""

    record: Record
    session: str


class Uploads:
    """Takes uploads. Each is answered once it would survive a crash."""

    def __init__(
        self,
        catalog: Catalog,
        own_sessions: OwnSessions,
        checks: Pool,
        buckets: Buckets,
        authorities: Sequence[Certificate] = (),
        *,
        variants: bool = False,
    ) -> None:
        self._authorities = authorities
        self._variants = variants
        self._catalog = catalog
        self._own_sessions = own_sessions
        self._checks = checks
        self._buckets = buckets
        self._tokens = RecentTokens(catalog.store)
        # Uploads wait here for a worker and for the disk, where they hold no thread that other requests need.
        self._threads = ThreadPoolExecutor(THREADS, "uploads")
        self._together = Together(self._record, AT_ONCE)

    async def answer(self, request: Request, session: str | None) -> Response:
        """Take the upload into ``session`` or the token's own current session. Return the answer for the client."""
        try:
            if session is not None and not SESSION.match(session):
                raise BadUploadError("a session's name is 22 to 64 letters, digits, dashes and underscores")
            authorization = request.headers.get("authorization")
            publisher = await self._admit(authorization)
            stored = await self._take(request, publisher.name, authorization, session)
        except RequestError as error:
            return _refusal(error)
        except StoreError as error:
            _log.error("%s %s: %s", request.method, request.url.path, error)
            return _refusal(as_answer(error))
        text = (
            f"{stored.record.filename} is stored in the session {stored.session}. No page shows it yet.\n"
            "To publish it, run `armwheels snapshot` with the same token.\n"
        )
        return Response(text, 200, {"x-armwheels-session": stored.session}, "text/plain")

    async def _admit(self, authorization: str | None) -> Publisher:
        """Refuse an upload before its bytes are read if the token has no scope for it or uploads too often."""
        publisher = self._tokens.known(authorization)
        if publisher is None:
            publisher = await asyncio.to_thread(self._tokens.check, authorization)
        publisher.demand_uploads()
        wait = self._buckets.take(publisher.secret_hash)
        if wait:
            seconds = math.ceil(wait)
            raise TooManyError(f"too many uploads with this token; go on in {seconds} s", retry_after=seconds)
        return publisher

    async def _take(
        self, request: Request, by: str, authorization: str | None, session: str | None
    ) -> _Stored:
        content_type = request.headers.get("content-type", "")
        try:
            with ExitStack() as ends:
                received = await intake.receive(
                    request.stream(),
                    content_type,
                    lambda: ends.enter_context(self._catalog.store.scratch()),
                )
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(
                    self._threads, self._store, received, by, authorization, session
                )
        except ClientDisconnect:
            raise BadUploadError("the connection ended before the file did; nothing is stored") from None
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise StoreAwayError(f"the upload cannot be written: {error}") from error
            raise NoSpaceError("the index has no space left for this file; nothing is stored") from error

    def _store(
        self, received: intake.Upload, by: str, authorization: str | None, session: str | None
    ) -> _Stored:
        """Check an upload and store it."""
        at = stamp(self._catalog.now())
        found = intake.examine(
            received,
            self._checks.check,
            at=at,
            by=by,
            authorities=self._authorities,
            variants=self._variants,
        )
        checked = _Checked(
            found.record, found.metadata, received.content, authorization, session, found.provenance
        )
        if isinstance(received.content, bytes) and self._catalog.store.gains_together:
            outcome = self._together.ask(checked)
        else:
            [outcome] = self._record([checked])
        if isinstance(outcome, RequestError):
            raise outcome
        return outcome

    def _record(self, uploads: Sequence[_Checked]) -> list[_Stored | RequestError]:
        """Record checked uploads. Return for each what is stored, or why it is refused."""
        publisher_of = cache(partial(authenticate, self._catalog.store))
        session_of = cache(self._own_sessions.current)
        refuse_quarantined = cache(partial(_refuse_quarantined, self._catalog))
        refused: dict[int, RequestError] = {}
        files: dict[int, CheckedFile] = {}
        for number, upload in enumerate(uploads):
            record = upload.record
            try:
                # The token may have been revoked since the upload began.
                publisher = publisher_of(upload.authorization)
                publisher.demand("upload", record.project)
                refuse_quarantined(record.project)
                session = upload.session or session_of(publisher)
            except RequestError as error:
                refused[number] = error
            else:
                files[number] = CheckedFile(
                    record, upload.metadata, upload.content, session, upload.provenance
                )
        recorded = dict(zip(files, self._catalog.recorder.record(list(files.values())), strict=True))
        return [
            refused[number] if number in refused else _stored(recorded[number], files[number].session)
            for number in range(len(uploads))
        ]


def _stored(outcome: Outcome, session: str) -> _Stored | RequestError:
    return _Stored(outcome, session) if isinstance(outcome, Record) else outcome


class UploadsFirst:
    """Passes uploads to :class:`Uploads`, and all other requests to ``api``.

    The middleware and routing of FastAPI take as much time as the upload of a small wheel itself. Uploads with an
    unusual query go there nevertheless.
    """

    def __init__(self, api: ASGIApp, uploads: Uploads) -> None:
        self._api = api
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in _PATHS:
            plain = _PLAIN_QUERY.match(scope["query_string"])
            if plain:
                session = None if plain[1] is None else plain[1].decode()
                answer = await self._uploads.answer(Request(scope, receive), session)
                await answer(scope, receive, send)
                return
        await self._api(scope, receive, send)


@router.post("/upload/", max_body_size=intake.WHOLE, openapi_extra=_FORM)
@router.post("/upload", max_body_size=intake.WHOLE, include_in_schema=False)
async def upload(request: Request, session: Annotated[str | None, Query()] = None) -> Response:
    """Accept a wheel by the legacy upload API, into ``session`` or the token's own current session."""
    uploads: Uploads = request.app.state.uploads
    return await uploads.answer(request, session)


def _refusal(error: RequestError) -> Response:
    """One reason a line, since twine and uv print them as they are."""
    text = "\n".join(error.reasons) + "\n"
    return Response(text, error.status, challenge(error), media_type="text/plain")


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
