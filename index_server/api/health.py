"""Probes and metrics: ``/healthz``, ``/livez``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from index_server.api.parts import TheCatalog, ThePolicy, as_json, the_publisher
from index_server.middleware.observe import Metrics

router = APIRouter()


@router.get("/healthz")
def health(catalog: TheCatalog) -> Response:
    """Whether the server answers and its store can be read."""
    serials = {name: catalog.journal(name).serial for name in catalog.channels}
    return as_json({"status": "ok", "serials": serials})


@router.get("/livez")
async def live() -> Response:
    """Whether this process answers. Asks nothing of the store."""
    return as_json({"status": "ok"})


@router.get("/readyz")
def ready(request: Request, catalog: TheCatalog) -> Response:
    """Whether this process has read its store since it started.

    It stays ready while the store is away: what it keeps is served, and a replica would have no more.
    """
    if not request.app.state.has_read:
        for name in catalog.channels:
            catalog.journal(name).serial  # noqa: B018 - reads the store
        request.app.state.has_read = True
    return as_json({"status": "ok"})


@router.get("/metrics")
def metrics(request: Request, policy: ThePolicy) -> Response:
    """Numbers for Prometheus. Needs the scope `metrics` unless `ARMWHEELS_METRICS` is `open`."""
    if not policy.metrics_are_open:
        the_publisher(request).demand("metrics")
    numbers: Metrics = request.app.state.metrics
    return Response(numbers.text(), media_type=CONTENT_TYPE_LATEST)
