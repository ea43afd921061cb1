"""Routes of evidence about files: audit, emulation and bench reports, by kind."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse
from packaging.utils import canonicalize_name

from index_server.api.bodies import EVIDENCE, read_json
from index_server.api.parts import (
    KIND,
    DigestPath,
    TheCatalog,
    ThePublisher,
    as_json,
)
from index_server.errors import (
    MalformedError,
    NotFoundError,
)
from index_server.pages.people import POLICY
from index_server.pages.wheel import wheel_page

router = APIRouter()

KindPath = Annotated[str, Path(pattern=KIND, max_length=64)]


@router.put(
    "/api/evidence/{sha256}/{kind}",
    max_body_size=EVIDENCE,
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}},
)
async def add_evidence(
    request: Request, sha256: DigestPath, kind: KindPath, catalog: TheCatalog, publisher: ThePublisher
) -> Response:
    """Add evidence about a file. The newest of each kind counts."""
    publisher.demand("evidence")
    body = await read_json(request)
    if isinstance(body, dict) and not isinstance(body.get("passed", False), bool):
        raise MalformedError("`passed` must be true or false")
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


@router.get("/api/wheels/{sha256}", response_class=HTMLResponse)
def wheel(sha256: DigestPath, catalog: TheCatalog) -> Response:
    """The page about a file, for people: its evidence, and its counts beside those of other wheels."""
    shelf = catalog.evidence
    filename = shelf.filename(sha256)
    found = {kind: shelf.find(sha256, kind) for kind in shelf.kinds(sha256)}
    bodies = {kind: evidence.body for kind, evidence in found.items() if evidence is not None}
    headers = {"cache-control": "no-cache", "content-security-policy": POLICY}
    record = catalog.find_record(canonicalize_name(filename.partition("-")[0]), filename)
    return HTMLResponse(wheel_page(filename, sha256, bodies, record), headers=headers)
