"""Tokens: 256 random bits each. The store keeps only their sha256, with scopes and expiry."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from index_server.errors import (
    ConfigError,
    DamagedError,
    ForbiddenError,
    MissingObjectError,
    UnauthorizedError,
    WrongTokenError,
)
from index_server.model import Revocation, Token, sha256_hex, stamp
from index_server.names import person
from index_server.reasons import did_you_mean
from index_server.secret import PREFIX
from index_server.store.interface import ObjectStore
from index_server.store.objects import keys

_HINT = "send a token made by `armwheels-index token` as password of the user __token__, or as Bearer"
MIRROR = "armwheels-index mirror"  # uploader of mirrored wheels; no token may have this name
MAX_NAME = 100  # characters
MAX_DAYS = 36_500  # a century; dates stay within what datetime can hold
DEFAULT_SCOPES = ("upload:*", "evidence", "move:*")  # what publishing needs
SCOPES = "upload:PROJECT, evidence, move:CHANNEL, lease, yank, read, cache, metrics, admin"
_SCOPE = re.compile(r"(upload|move):[a-z0-9*?-]+\Z|(evidence|lease|yank|read|cache|metrics|admin)\Z")
UNKNOWN_TIME = "an unknown time"  # of a revocation that is damaged
_READ_AGAIN = 2.0  # seconds for which a token is not read again


@dataclass(frozen=True)
class Publisher:
    """The owner of a request's token, with its scopes."""

    name: str
    secret_hash: str
    scopes: tuple[str, ...] = DEFAULT_SCOPES

    @property
    def id(self) -> str:
        """The public id of the token."""
        return token_id(self.secret_hash)

    def may(self, action: str, subject: str = "") -> bool:
        """Whether a scope allows the action; ``admin`` allows everything."""
        wanted = f"{action}:{subject}" if subject else action
        return any(scope == "admin" or fnmatchcase(wanted, scope) for scope in self.scopes)

    def demand(self, action: str, subject: str = "") -> None:
        """Check that a scope allows the action.

        Raises:
            ForbiddenError: no scope of the token allows it.
        """
        if not self.may(action, subject):
            wanted = f"{action}:{subject}" if subject else action
            raise ForbiddenError(
                f"the token {self.name!r} has no scope {wanted}; it has {', '.join(self.scopes) or 'none'}"
            )

    def demand_uploads(self) -> None:
        """Check that a scope allows the upload of any project.

        Raises:
            ForbiddenError: no scope of the token allows any upload.
        """
        if not any(scope == "admin" or scope.startswith("upload:") for scope in self.scopes):
            self.demand("upload", "PROJECT")

    def session(self, number: int) -> str:
        """The name of the publisher's own session of this number. It cannot be guessed."""
        digest = hashlib.sha256(f"session {number} of {self.secret_hash}".encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True)
class ListedToken:
    """A token as ``armwheels-index tokens`` lists it."""

    id: str
    token: Token | None  # None if the stored object is damaged
    revoked_at: str | None

    @property
    def name(self) -> str:
        return self.token.name if self.token else ""

    @property
    def scopes(self) -> tuple[str, ...]:
        if self.token is None:
            return ()
        return DEFAULT_SCOPES if self.token.scopes is None else self.token.scopes

    @property
    def state(self) -> str:
        """``valid``, ``expired``, ``damaged``, or ``revoked`` with the day."""
        if self.revoked_at is not None:
            return f"revoked {self.revoked_at.split('T')[0]}"
        if self.token is None:
            return "damaged"
        return "expired" if _expired(self.token) else "valid"


def token_id(secret_hash: str) -> str:
    """The public id of a token, from the hash of its secret."""
    return secret_hash[:12]


def check_scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    """The scopes with normalised project names (PEP 503).

    Raises:
        ConfigError: scopes are not valid; the message names all of them.
    """
    spelled = tuple(re.sub(r"[-_.]+", "-", scope.strip().lower()) for scope in scopes)
    faults = [scope for scope, right in zip(scopes, spelled, strict=True) if not _SCOPE.match(right)]
    if faults:
        known = re.findall("[a-z]+", SCOPES)
        actions = [action for action in (fault.partition(":")[0] for fault in faults) if action not in known]
        near = did_you_mean(actions[0], known) if len(actions) == len(faults) == 1 else ""
        advice = f"there are {SCOPES} (names may hold * and ?)"
        raise ConfigError(f"no such scope: {', '.join(faults)}{near or ';'} {advice}")
    return spelled


def make_token(
    store: ObjectStore, name: str, expires_days: int | None, scopes: Sequence[str] | None = None
) -> str:
    """Make a token and return its secret, which is not stored. Without scopes it has :data:`DEFAULT_SCOPES`.

    Raises:
        ConfigError: a scope, the name or the expiry is not allowed.
    """
    if not person(name) or len(name) > MAX_NAME or not name.isprintable():
        raise ConfigError(f"a token's name has 1 to {MAX_NAME} printable characters")
    if expires_days is not None and expires_days > MAX_DAYS:
        raise ConfigError(
            f"a token expires in {MAX_DAYS} days at most; without an expiry it is valid for ever"
        )
    if person(name) == person(MIRROR):
        raise ConfigError(f"{name!r} is the name of the mirror; choose another name")
    secret = PREFIX + secrets.token_urlsafe(32)
    now = datetime.now(UTC)
    token = Token(
        name=name,
        created_at=stamp(now),
        expires_at=stamp(now + timedelta(days=expires_days)) if expires_days is not None else None,
        scopes=check_scopes(scopes) if scopes else None,
    )
    store.create(_key(sha256_hex(secret.encode())), token.encode())
    return secret


def list_tokens(store: ObjectStore) -> list[ListedToken]:
    """All tokens, the oldest first, and damaged ones before them."""
    found = []
    for key in keys(store, "tokens/"):
        secret_hash = key.removeprefix("tokens/").removesuffix(".json")
        token = None
        with suppress(DamagedError):  # the others can still be revoked
            token = Token.decode(store.get(key), key=key)
        found.append(ListedToken(token_id(secret_hash), token, _revocation(store, secret_hash)))
    return sorted(found, key=lambda each: each.token.created_at if each.token else "")


def revoke_tokens(store: ObjectStore, name_or_id: str) -> list[ListedToken]:
    """Revoke all tokens of a name, or the one with an id. Return those that were valid or damaged before.

    Raises:
        ConfigError: there is no such token.
    """
    known = [each for each in list_tokens(store) if name_or_id in (each.id, each.name)]
    if not known:
        raise ConfigError(f"there is no token {name_or_id!r}; `armwheels-index tokens` lists them")
    at = Revocation(at=stamp(datetime.now(UTC))).encode()
    hashes = [key.removeprefix("tokens/").removesuffix(".json") for key in keys(store, "tokens/")]
    for each in known:
        [secret_hash] = [one for one in hashes if token_id(one) == each.id]
        store.create(f"revocations/{secret_hash}.json", at)
    return [each for each in known if each.state in ("valid", "damaged")]


def authenticate(store: ObjectStore, authorization: str | None) -> Publisher:
    """The publisher who sends this ``Authorization`` header.

    Raises:
        UnauthorizedError: there is no token.
        WrongTokenError: the token is unknown, expired or revoked.
    """
    if not authorization:
        raise UnauthorizedError(f"this request carries no token: {_HINT}")
    secret_hash = sha256_hex(_secret(authorization).encode())
    try:
        token = Token.decode(store.get(_key(secret_hash)), key="token")
    except MissingObjectError:
        raise WrongTokenError(f"this token is unknown here: {_HINT}") from None
    if _expired(token):
        raise WrongTokenError(f"the token {token.name!r} expired at {token.expires_at}; make a new one")
    if (gone := _revocation(store, secret_hash)) is not None:
        raise WrongTokenError(f"the token {token.name!r} was revoked at {gone}; make a new one")
    return Publisher(token.name, secret_hash, DEFAULT_SCOPES if token.scopes is None else token.scopes)


class RecentTokens:
    """Checks tokens, and remembers valid ones for a moment, so that pages and uploads stay fast.

    A token that was just revoked may pass :meth:`known`. So nothing may be written without :func:`authenticate`.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._good: dict[
            str, tuple[float, Publisher]
        ] = {}  # by the hash of the secret, with the end of the moment

    def known(self, authorization: str | None) -> Publisher | None:
        """The owner of a token that was valid a moment ago, else None. Asks nothing of the store.

        Raises:
            UnauthorizedError: the header has no token.
        """
        if not authorization:
            return None
        until, publisher = self._good.get(sha256_hex(_secret(authorization).encode()), (0.0, None))
        return publisher if until > time.monotonic() else None

    def check(self, authorization: str | None) -> Publisher:
        """The owner of a valid token.

        Raises:
            UnauthorizedError: the header has none.
        """
        publisher = authenticate(self._store, authorization)
        if len(self._good) > 10_000:
            self._good.clear()
        self._good[publisher.secret_hash] = time.monotonic() + _READ_AGAIN, publisher
        return publisher


def _secret(authorization: str) -> str:
    """The password of Basic (RFC 7617) or the token of Bearer (RFC 6750)."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        raise UnauthorizedError(f"this scheme of authorization is not understood: {_HINT}")
    try:
        user, _, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise UnauthorizedError(f"the Basic credentials cannot be read: {_HINT}") from None
    if user != "__token__":
        raise UnauthorizedError(f"the user must be __token__: {_HINT}")
    return password


def _expired(token: Token) -> bool:
    return token.expires_at is not None and token.expires_at <= stamp(datetime.now(UTC))


def _revocation(store: ObjectStore, secret_hash: str) -> str | None:
    """Return when a token was revoked, or None. A damaged revocation is one, at an unknown time."""
    key = f"revocations/{secret_hash}.json"
    if store.size(key) is None:
        return None
    try:
        return Revocation.decode(store.get(key), key=key).at
    except DamagedError:
        return UNKNOWN_TIME


def _key(secret_hash: str) -> str:
    return f"tokens/{secret_hash}.json"
