"""``GET /healthz``: whether the server answers and its store can be read."""

from __future__ import annotations

from fastapi import APIRouter, Response

from index_server.api.parts import TheCatalog, as_json

router = APIRouter()


@router.get("/healthz")
def health(catalog: TheCatalog) -> Response:
    """Whether the server answers and its store can be read."""
    serials = {name: catalog.journal(name).serial for name in catalog.channels}
    return as_json({"status": "ok", "serials": serials})
