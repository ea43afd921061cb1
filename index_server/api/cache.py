"""A compile cache shared by builders, on the index's store: ``/api/cache/{key}``, as ccache requests it.

ccache(1), "HTTP storage backend": GET, HEAD, PUT and DELETE below one address, the key as the last part of it
(``layout=flat``). ccache replaces an object when it has more to say under its key (a manifest). Objects are not
synced to the disk: ccache compares their checksums, and compiles what is lost.

Everyone who can read can write, and other builders link what is written into wheels. Give the scope ``cache`` to
builders only.
"""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Request, Response

from index_server.api.bodies import OBJECT
from index_server.api.parts import CACHE_KEY, TheCatalog, ThePublisher
from index_server.errors import MissingObjectError, NotFoundError

router = APIRouter()
CacheKey = Annotated[str, Path(pattern=CACHE_KEY)]


@router.get("/api/cache/{key}")
def fetch(key: CacheKey, catalog: TheCatalog, publisher: ThePublisher) -> Response:
    """The object under a key."""
    publisher.demand("cache")
    try:
        data = catalog.store.get(_place(key))
    except MissingObjectError:
        raise NotFoundError("nothing is kept under this key") from None
    return Response(data, media_type="application/octet-stream")


@router.head("/api/cache/{key}")
def ask(key: CacheKey, catalog: TheCatalog, publisher: ThePublisher) -> Response:
    """Whether there is an object under a key."""
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
    """Store an object, in place of an older one under its key."""
    publisher.demand("cache")
    data = await request.body()
    await to_thread.run_sync(catalog.store.put_hint, _place(key), data)
    return Response(status_code=201)


@router.delete("/api/cache/{key}")
def forget(key: CacheKey, catalog: TheCatalog, publisher: ThePublisher) -> Response:
    """Remove an object, as ccache does with a damaged one."""
    publisher.demand("cache")
    catalog.store.remove(_place(key))
    return Response(status_code=204)


def _place(key: str) -> str:
    return f"cache/{key[:2]}/{key}"
