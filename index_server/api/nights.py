"""Routes of the reports of nights and of the logs of builds, which the builders send."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from index_server.api.bodies import EVIDENCE, LOG, read_json
from index_server.api.parts import TheCatalog, ThePublisher, as_json
from index_server.catalog.nights import BUILD, NIGHT, PART, NightShelf
from index_server.errors import MalformedError, NotFoundError
from index_server.pages.night import night_page, nights_page
from index_server.pages.people import POLICY
from index_server.secret import redact

router = APIRouter()
NightPath = Annotated[str, Path(pattern=rf"^{NIGHT}$")]
BuildPath = Annotated[str, Path(pattern=rf"^{BUILD}$")]
PartPath = Annotated[str, Path(pattern=rf"^{PART}$")]
_HEADERS = {"cache-control": "no-cache", "content-security-policy": POLICY}
SHOWN = 200  # nights in the list for people


@router.put(
    "/api/nights/{night}",
    max_body_size=EVIDENCE,
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}},
)
async def add_report(
    request: Request, night: NightPath, catalog: TheCatalog, publisher: ThePublisher
) -> Response:
    """Keep the report of a night: 201, or 200 if there is one already."""
    publisher.demand("evidence")
    report = await read_json(request)
    if not isinstance(report, dict):
        raise MalformedError("a report is a JSON object")
    new = await anyio.to_thread.run_sync(NightShelf(catalog.store).add, night, report)
    return as_json({"night": night}, 201 if new else 200)


@router.get("/api/nights")
def nights(catalog: TheCatalog) -> Response:
    """The nights that have a report, the newest first."""
    return as_json({"nights": NightShelf(catalog.store).nights()})


@router.get("/api/nights/{night}")
def report(night: NightPath, catalog: TheCatalog) -> Response:
    """The report of a night, as it was sent."""
    return as_json(NightShelf(catalog.store).find(night))


@router.get("/api/nights/all/page", response_class=HTMLResponse)
def all_nights(catalog: TheCatalog) -> Response:
    """The newest nights, for people."""
    return HTMLResponse(nights_page(NightShelf(catalog.store).nights()[:SHOWN]), headers=_HEADERS)


@router.get("/api/nights/{night}/page", response_class=HTMLResponse)
def page(night: NightPath, catalog: TheCatalog) -> Response:
    """The report of a night, for people."""
    return HTMLResponse(night_page(night, NightShelf(catalog.store).find(night)), headers=_HEADERS)


@router.put(
    "/api/logs/{build}/{night}/{part}",
    max_body_size=LOG,
    openapi_extra={"requestBody": {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def add_part(
    request: Request,
    build: BuildPath,
    night: NightPath,
    part: PartPath,
    catalog: TheCatalog,
    publisher: ThePublisher,
) -> Response:
    """Add a part to the log of a build: 201, or 200 if there is one of that name. Tokens in it are shortened."""
    publisher.demand("evidence")
    text = redact((await request.body()).decode("utf-8", "replace")).encode()
    new = await anyio.to_thread.run_sync(NightShelf(catalog.store).write, build, night, part, text)
    return Response(status_code=201 if new else 200)


@router.get("/api/logs/{build}", response_class=PlainTextResponse)
def newest_log(build: BuildPath, catalog: TheCatalog, after: Annotated[str, Query()] = "") -> Response:
    """The log of a build in its newest night; see the route below."""
    found = NightShelf(catalog.store).logged(build)
    if not found:
        raise NotFoundError(f"there is no log of {build}")
    return log(build, found[0], catalog, after)


@router.get("/api/logs/{build}/{night}", response_class=PlainTextResponse)
def log(
    build: BuildPath, night: NightPath, catalog: TheCatalog, after: Annotated[str, Query()] = ""
) -> Response:
    """The log of a build, also while it runs; ``after`` leaves out the parts up to that of ``X-Armwheels-Part``."""
    text, last = NightShelf(catalog.store).read(build, night, after)
    headers = {"cache-control": "no-cache", "x-armwheels-part": last, "x-content-type-options": "nosniff"}
    return PlainTextResponse(text, headers=headers)
