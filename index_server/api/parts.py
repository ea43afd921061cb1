"""Shared by the routers: dependencies on catalog, policy and publisher, and the forms of answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

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
from index_server.model import SESSION_PATTERN, SHA256_PATTERN, Session, Sha256, Stored
from index_server.pages.about import About
from index_server.policy import Policy
from index_server.trust.repository import Repository

Nonce = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Message = Annotated[str, StringConstraints(max_length=2000)]
PROJECT = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"  # a name by the core metadata specification
KIND = r"^[a-z0-9]+(-[a-z0-9]+)*$"
CACHE_KEY = r"^[0-9a-z]{20,128}$"
_IN_WORDS = {
    SHA256_PATTERN: "64 hexadecimal digits in lower case",
    SESSION_PATTERN: "22 to 64 letters, digits, dashes and underscores",
    PROJECT: "a project's name: letters, digits, and dots, dashes or underscores between them",
    KIND: "lower-case letters and digits, with single dashes between them",
    CACHE_KEY: "20 to 128 lower-case letters and digits",
}


class Asked(BaseModel):
    """Base of request bodies; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


async def the_catalog(request: Request) -> Catalog:
    """The catalog of this server."""
    catalog: Catalog = request.app.state.catalog
    return catalog


async def the_about(request: Request) -> About:
    """The pages about files."""
    about: About = request.app.state.about
    return about


async def the_repository(request: Request) -> Repository:
    """What signs moves and yanks."""
    repository: Repository = request.app.state.repository
    return repository


def the_policy(request: Request) -> Policy:
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


TheAbout = Annotated[About, Depends(the_about)]
TheCatalog = Annotated[Catalog, Depends(the_catalog)]
ThePolicy = Annotated[Policy, Depends(the_policy)]
TheRepository = Annotated[Repository, Depends(the_repository)]
TheOwnSessions = Annotated[OwnSessions, Depends(the_own_sessions)]
ThePublisher = Annotated[Publisher, Depends(the_publisher)]


def reasons_of(faults: Iterable[Mapping[str, Any]]) -> list[str]:
    """The faults that pydantic found in a request, each with its place; rules of spelling in words."""
    found = []
    for fault in faults:
        if tuple(fault["loc"]) == ("body",):  # none, or none that is read as JSON
            found.append("the body must be a JSON object, sent with Content-Type: application/json")
            continue
        words = _IN_WORDS.get(fault.get("ctx", {}).get("pattern", ""))
        place = ".".join(map(str, fault["loc"][1:]))
        found.append(f"{place}: must be {words}" if words else f"{place}: {fault['msg']}")
    return found


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
