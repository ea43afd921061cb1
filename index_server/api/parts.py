"""Shared by the routers: dependencies on catalog, policy and publisher, and the forms of answers."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, StringConstraints

from index_server.access import tokens
from index_server.access.own_sessions import OwnSessions
from index_server.access.tokens import Publisher
from index_server.catalog.catalog import Catalog
from index_server.errors import (
    NotNowError,
    RequestError,
    SlowBodyError,
    StoreAwayError,
    TooManyError,
    UnauthorizedError,
)
from index_server.model import Session, Sha256, Stored
from index_server.policy import Policy

Nonce = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Message = Annotated[str, StringConstraints(max_length=2000)]


class Asked(BaseModel):
    """Base of request bodies; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


async def the_catalog(request: Request) -> Catalog:
    """The catalog of this server."""
    catalog: Catalog = request.app.state.catalog
    return catalog


async def the_policy(request: Request) -> Policy:
    """The policy of this server."""
    policy: Policy = request.app.state.policy
    return policy


async def the_own_sessions(request: Request) -> OwnSessions:
    """The sessions of publishers that name none."""
    own: OwnSessions = request.app.state.own_sessions
    return own


def the_publisher(request: Request) -> Publisher:
    """The owner of the request's token.

    Raises:
        UnauthorizedError: there is no valid token.
    """
    known: Publisher | None = getattr(request.state, "publisher", None)
    if known is not None:
        return known
    catalog: Catalog = request.app.state.catalog
    return tokens.authenticate(catalog.store, request.headers.get("authorization"))


TheCatalog = Annotated[Catalog, Depends(the_catalog)]
ThePolicy = Annotated[Policy, Depends(the_policy)]
TheOwnSessions = Annotated[OwnSessions, Depends(the_own_sessions)]
ThePublisher = Annotated[Publisher, Depends(the_publisher)]


def as_json(data: object, status: int = 200) -> Response:
    """Answer with plain data as JSON."""
    return Response(orjson.dumps(data), status, media_type="application/json")


def as_stored(model: Stored, status: int = 200) -> Response:
    """Answer with a stored object, in its stored form."""
    return Response(model.encode(), status, media_type="application/json")


SessionPath = Annotated[Session, Path()]
DigestPath = Annotated[Sha256, Path()]


def challenge(error: RequestError) -> dict[str, str]:
    if isinstance(error, NotNowError | StoreAwayError | TooManyError):
        return {"retry-after": str(error.retry_after)}
    if isinstance(error, SlowBodyError):
        return {"connection": "close"}
    return {"www-authenticate": 'Basic realm="armwheels"'} if error.status == UnauthorizedError.status else {}
