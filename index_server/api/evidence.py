"""Routes of evidence about files: audit, emulation and bench reports, by kind."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse

from index_server.api.bodies import EVIDENCE, read_json
from index_server.api.parts import (
    KIND,
    DigestPath,
    TheAbout,
    TheCatalog,
    ThePublisher,
    as_json,
)
from index_server.errors import (
    MalformedError,
    NotFoundError,
)
from index_server.pages.people import POLICY

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
def wheel(sha256: DigestPath, about: TheAbout) -> Response:
    """The page about a file, for people: its evidence, its counts beside others, and what it says of itself."""
    headers = {"cache-control": "no-cache", "content-security-policy": POLICY}
    return HTMLResponse(about.page(sha256), headers=headers)
