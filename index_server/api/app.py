"""Assembles the ASGI application: the page handler in front, FastAPI's routes behind it.

Reads are open unless the policy requires tokens. Every write needs a token with a scope for it. Refusals of
``/upload/`` are plain text with one reason a line, since twine and uv print them as they are. All other refusals
are problem documents (RFC 9457) with ``reasons``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from securesystemslib.signer import Signer
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from index_server.access.own_sessions import OwnSessions
from index_server.access.ratelimit import Buckets
from index_server.access.readgate import ReadGate
from index_server.access.tokens import RecentTokens
from index_server.api import cache, channels, evidence, health, leases, nights, snapshots, uploads
from index_server.api.bodies import BODY
from index_server.api.parts import challenge, reasons_of
from index_server.catalog.catalog import Catalog
from index_server.errors import (
    MalformedError,
    RequestError,
    StoreAwayError,
    StoreError,
    as_answer,
    problem_document,
)
from index_server.intake.pool import shared_pool
from index_server.limits import Limits
from index_server.middleware.address import BelowPath, HeadAsGet, NoTokenInAddress
from index_server.middleware.bodies import BodyPace
from index_server.middleware.observe import Metrics, Observe, to_standard_output
from index_server.pages.about import About
from index_server.pages.address import Proxies
from index_server.pages.filecache import FileCache
from index_server.pages.promises import Promises
from index_server.pages.site import Site
from index_server.policy import Policy
from index_server.settings import Settings
from index_server.store.interface import ObjectStore
from index_server.trust.repository import Repository

_log = logging.getLogger(__name__)


def create_app(
    store: ObjectStore,
    settings: Settings,
    policy: Policy | None = None,
    limits: Limits | None = None,
    proxies: Proxies | None = None,
    signers: Sequence[Signer] = (),
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> ASGIApp:
    """The application over a store. Without a policy, channels have no gates and reads are open.

    ``signers`` sign moves and yanks (:mod:`index_server.trust`).
    """
    policy = policy or Policy()
    limits = limits or Limits()
    metrics = Metrics()
    catalog = Catalog(store, settings.channels, now, settings.development)
    api = FastAPI(
        title="Armwheels index",
        docs_url=None,
        redoc_url=None,
        max_body_size=BODY,
        servers=[{"url": "."}],
        redirect_slashes=False,  # Starlette's redirects name the host and not the path below which a proxy serves
    )
    api.state.catalog = catalog
    api.state.settings = settings
    api.state.metrics = metrics
    api.state.has_read = False
    api.state.policy = policy
    api.state.repository = repository = Repository(catalog, signers)
    api.state.about = About(catalog, Promises(catalog, policy.retention))
    api.state.own_sessions = OwnSessions(catalog.sessions)
    api.state.uploads = taken = uploads.Uploads(
        catalog,
        api.state.own_sessions,
        shared_pool(settings.targets, settings.passport),
        Buckets(policy.uploads_per_second, policy.uploads_at_once),
        policy.authorities,
        variants=policy.variants,
    )
    for routes in (uploads, snapshots, evidence, channels, leases, cache, nights, health):
        api.include_router(routes.router)
    api.add_exception_handler(RequestError, _refused)
    api.add_exception_handler(StoreError, _store_failed)
    api.add_exception_handler(RequestValidationError, _malformed)
    api.add_exception_handler(HTTPException, _http_error)
    inner = uploads.UploadsFirst(HeadAsGet(api, own=("/api/cache/",)), taken)
    site = Site(
        catalog,
        settings.targets,
        inner,
        policy.retention,
        policy.stale_seconds,
        proxies,
        policy.gates,
        FileCache(*policy.file_cache) if policy.file_cache else None,
        repository,
        variants=policy.variants,
    )
    gated = ReadGate(site, RecentTokens(store)) if policy.reads_need_token else site
    app: ASGIApp = NoTokenInAddress(BodyPace(gated, limits.body_seconds))
    below = BelowPath(app, proxies.root_path) if proxies and proxies.root_path else app
    return Observe(below, metrics, to_standard_output if policy.access_log else None)


def _problem(document: dict[str, object], status: int) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/problem+json")


async def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestError):
        raise error
    answer = _problem(error.problem(), error.status)
    answer.headers.update(challenge(error))
    return answer


async def _store_failed(request: Request, error: Exception) -> Response:
    if not isinstance(error, StoreError):
        raise error
    answer = as_answer(error)
    if not isinstance(answer, StoreAwayError):  # which is logged where it was met
        _log.error("%s %s: %s", request.method, request.url.path, error)
    return await _refused(request, answer)


async def _malformed(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return _problem(MalformedError(*reasons_of(error.errors())).problem(), MalformedError.status)


async def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status, detail = error.status_code, str(error.detail)
    answer = _problem(problem_document(status, detail, [detail]), status)
    answer.headers.update(error.headers or {})
    return answer
