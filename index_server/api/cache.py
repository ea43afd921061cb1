"""A compile cache for a fleet of builders, on the index's own store: ``/api/cache/{key}``, as ccache asks.

ccache(1), "HTTP storage backend": GET, HEAD, PUT and DELETE below one address, the key as the last part of it
(``layout=flat``). A key names its content, so an object is written once. Nothing here is a promise: objects may be
taken away at any time, and a builder without the cache compiles.

Who may read may also write, and what they write others link into wheels: the scope ``cache`` is for builders alone.
"""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Request, Response

from index_server.api.bodies import OBJECT
from index_server.api.parts import TheCatalog, ThePublisher
from index_server.errors import MissingObjectError, NotFoundError

router = APIRouter()
CacheKey = Annotated[str, Path(pattern=r"^[0-9a-z]{20,128}$")]


@router.get("/api/cache/{key}")
def fetch(key: CacheKey, catalog: TheCatalog, publisher: ThePublisher) -> Response:
    """What was kept under a key."""
    publisher.demand("cache")
    try:
        data = catalog.store.get(_place(key))
    except MissingObjectError:
        raise NotFoundError("nothing is kept under this key") from None
    return Response(data, media_type="application/octet-stream")


@router.head("/api/cache/{key}")
def ask(key: CacheKey, catalog: TheCatalog, publisher: ThePublisher) -> Response:
    """Whether something is kept under a key."""
    publisher.demand("cache")
    if catalog.store.size(_place(key)) is None:
        raise NotFoundError("nothing is kept under this key")
    return Response()


@router.put(
    "/api/cache/{key}",
    max_body_size=OBJECT,
    openapi_extra={"requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string"}}}}},
)
async def keep(key: CacheKey, request: Request, catalog: TheCatalog, publisher: ThePublisher) -> Response:
    """Keep an object; what is kept already stays as it is."""
    publisher.demand("cache")
    data = await request.body()
    written = await to_thread.run_sync(catalog.store.create, _place(key), data)
    return Response(status_code=201 if written else 200)


@router.delete("/api/cache/{key}")
def forget(key: CacheKey, catalog: TheCatalog, publisher: ThePublisher) -> Response:
    """Take an object away, as ccache does with one it finds damaged."""
    publisher.demand("cache")
    catalog.store.remove(_place(key))
    return Response(status_code=204)


def _place(key: str) -> str:
    return f"cache/{key[:2]}/{key}"
