"""What a read is answered with, and how that is sent."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from index_server.errors import RequestError, StoreAwayError, StoreError, as_answer
from index_server.model import sha256_hex
from index_server.pages import people as landing
from index_server.pages.files import Headers, Send, StoredFile, send_bytes, staleness
from index_server.pages.negotiation import (
    HTML,
    JSON,
    TEXT,
    etag_matches,
    negotiate_encoding,
    negotiate_type,
    precondition_fails,
)
from index_server.pages.promises import Epoch
from index_server.pages.simple import Page

_log = logging.getLogger(__name__)
UNKEPT: Headers = [
    (b"cache-control", b"no-cache"),
    (b"content-security-policy", landing.POLICY.encode()),
]
FOR_PEOPLE: Headers = [(b"content-type", b"text/html; charset=utf-8"), *UNKEPT]


@dataclass(frozen=True)
class Kept:
    """A page, valid while ``channel`` is at ``serial`` and the journal of marks at ``marked``."""

    page: Page
    channel: str | None = None
    serial: int = 0
    marked: int = 0  # the serial of the journal of yanks and quarantines
    promised: Epoch | None = None  # what its promises were made from, if it makes any
    rendered: float = 0.0  # when, by the monotonic clock
    base: str | None = None  # the address of the index that the page names, if it names one
    private: bool = False  # a session's: neither kept nor found by search engines


@dataclass(frozen=True)
class Redirect:
    """A redirect: 308 to the normal form of a path, 307 from an alias, whose target may change."""

    path: str
    status: int


@dataclass(frozen=True)
class Text:
    """A page for people, or a feed."""

    status: int
    body: bytes
    media: str = "text/html; charset=utf-8"


@dataclass(frozen=True)
class Problem:
    """A problem document (RFC 9457)."""

    error: RequestError


@dataclass(frozen=True)
class Fixed:
    """A small file that never changes."""

    body: bytes
    media: str


Answer = Kept | Redirect | Text | StoredFile | Problem | Fixed


async def send_failure(send: Send, error: StoreError, *, head: bool) -> None:
    """What is told of a store that fails: 503 while it is away, 500 where an object is damaged."""
    answer = as_answer(error)
    if isinstance(answer, StoreAwayError):
        wait = (b"retry-after", str(answer.retry_after).encode())
        page = landing.away_page("; ".join(answer.reasons))
        await send_bytes(send, answer.status, [*FOR_PEOPLE, wait], page, head=head)
        return
    _log.error("%s", error)
    page = landing.damaged_page("; ".join(answer.reasons))
    await send_bytes(send, answer.status, FOR_PEOPLE, page, head=head)


async def send_fixed(send: Send, fixed: Fixed, headers: dict[bytes, str], *, head: bool) -> None:
    """Send a file that never changes, or say that the client has it."""
    etag = f'"{sha256_hex(fixed.body)[:32]}"'
    common: Headers = [
        (b"etag", etag.encode()),
        (b"cache-control", b"public, max-age=31536000, immutable"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if etag_matches(headers.get(b"if-none-match", ""), etag):
        await send_bytes(send, 304, common, None, head=head)
        return
    await send_bytes(send, 200, [*common, (b"content-type", fixed.media.encode())], fixed.body, head=head)


async def send_page(
    send: Send, kept: Kept, headers: dict[bytes, str], stale: float | None, *, head: bool
) -> None:
    """Negotiate, revalidate, answer (PEP 691: an Accept that nothing matches is 406)."""
    media = negotiate_type(headers.get(b"accept"))
    common: Headers = [
        (b"vary", b"Accept, Accept-Encoding"),
        (b"cache-control", b"no-store" if kept.private else b"no-cache"),
        *([(b"x-robots-tag", b"noindex")] if kept.private else []),
        *staleness(stale),
    ]
    if media is None:
        offered = f"this page comes as {JSON}, {HTML} or {TEXT}\n"
        await send_bytes(send, 406, [*common, (b"content-type", b"text/plain")], offered.encode(), head=head)
        return
    form = kept.page.form(media, negotiate_encoding(headers.get(b"accept-encoding")))
    etag = (b"etag", form.etag.encode())
    if precondition_fails(headers.get(b"if-match"), form.etag):
        await send_bytes(send, 412, [*common, etag], b"", head=head)
        return
    if etag_matches(headers.get(b"if-none-match", ""), form.etag):
        await send_bytes(send, 304, [*common, etag], None, head=head)
        return
    charset = "" if media == JSON else "; charset=utf-8"
    typed = [*common, etag, (b"content-type", f"{media}{charset}".encode())]
    if form.encoding != "identity":
        typed.append((b"content-encoding", form.encoding.encode()))
    await send_bytes(send, 200, typed, form.body, head=head)
