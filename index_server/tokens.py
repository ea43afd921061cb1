"""Upload tokens: 256 random bits, stored as their sha256 alone.

Each token has upload sessions of its own, for clients that name none (a plain ``twine upload``). They are
numbered; asking for a snapshot without naming a session closes the current one, so that files published long
ago are not laid over newer ones by the next upload.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from index_server.catalog import Catalog
from index_server.errors import MissingObjectError, UnauthorizedError
from index_server.model import Token, sha256_hex, stamp
from index_server.store import ObjectStore

PREFIX = "awt_"  # lets secret scanners recognise one
_HINT = "send a token made by `armwheels-index token` as password of the user __token__, or as Bearer"


@dataclass(frozen=True)
class Publisher:
    """Who sends a request."""

    name: str
    secret_hash: str

    def session(self, number: int) -> str:
        """The publisher's own session of this number; nobody else can guess it."""
        digest = hashlib.sha256(f"session {number} of {self.secret_hash}".encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def make_token(store: ObjectStore, name: str, expires_days: int | None) -> str:
    """Make a token; its secret is in the answer and nowhere else."""
    secret = PREFIX + secrets.token_urlsafe(32)
    now = datetime.now(UTC)
    token = Token(
        name=name,
        created_at=stamp(now),
        expires_at=stamp(now + timedelta(days=expires_days)) if expires_days is not None else None,
    )
    store.create(_key(sha256_hex(secret.encode())), token.encode())
    return secret


def authenticate(store: ObjectStore, authorization: str | None) -> Publisher:
    """Say who sends this ``Authorization`` header.

    Raises:
        UnauthorizedError: no token, an unknown one, or one that has expired.
    """
    if not authorization:
        raise UnauthorizedError(f"this request carries no token: {_HINT}")
    secret_hash = sha256_hex(_secret(authorization).encode())
    try:
        token = Token.decode(store.get(_key(secret_hash)), key="token")
    except MissingObjectError:
        raise UnauthorizedError(f"this token is unknown here: {_HINT}") from None
    if token.expires_at is not None and token.expires_at <= stamp(datetime.now(UTC)):
        raise UnauthorizedError(f"the token {token.name!r} expired at {token.expires_at}; make a new one")
    return Publisher(token.name, secret_hash)


def current_session(catalog: Catalog, publisher: Publisher) -> str:
    """The publisher's own session that no snapshot was asked from yet."""
    number = 1
    while catalog.session_closed(publisher.session(number)):
        number += 1
    return publisher.session(number)


def asked_session(catalog: Catalog, publisher: Publisher, idempotency_key: str) -> str:
    """The publisher's own session that a snapshot was asked from under this key, else the current one."""
    number = 1
    while catalog.session_closed(session := publisher.session(number)):
        if catalog.session_asked(session, idempotency_key):
            return session
        number += 1
    return session


def _secret(authorization: str) -> str:
    """The password of Basic (RFC 7617) or the token of Bearer (RFC 6750)."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        raise UnauthorizedError(f"{scheme!a} authorization is not understood: {_HINT}")
    try:
        user, _, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise UnauthorizedError(f"the Basic credentials cannot be read: {_HINT}") from None
    if user != "__token__":
        raise UnauthorizedError(f"the user must be __token__, not {user!a}: {_HINT}")
    return password


def _key(secret_hash: str) -> str:
    return f"tokens/{secret_hash}.json"
