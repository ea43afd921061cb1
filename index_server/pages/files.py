"""Sends bytes and stored files over ASGI: ranges, conditions, HEAD (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import asyncio
import math
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from index_server.errors import DamagedError
from index_server.extensions import Scope, part_of_file, sends_files
from index_server.pages.filecache import Reader
from index_server.pages.negotiation import etag_matches, precondition_fails

Headers = list[tuple[bytes, bytes]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_RANGE = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*\Z")


@dataclass(frozen=True)
class StoredFile:
    """An immutable file in the store, with its HTTP metadata."""

    key: str
    size: int  # bytes
    etag: str  # strong
    media: str
    name: tuple[str, str]  # sha256 of the wheel, and the file's name


def staleness(stale: float | None) -> Headers:
    """The headers of an answer that was right so many seconds ago (RFC 9111 section 5.1)."""
    seconds = b"" if stale is None else str(math.ceil(stale)).encode()
    return [(b"age", seconds), (b"x-armwheels-stale", seconds)] if seconds else []


async def send_bytes(send: Send, status: int, headers: Headers, body: bytes | None, *, head: bool) -> None:
    """Send a whole answer. ``None`` is for statuses without a body."""
    if body is not None:
        headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head or body is None else body})


async def send_file(
    scope: Scope,
    receive: Receive,
    send: Send,
    store: Reader,
    file: StoredFile,
    headers: dict[bytes, str],
    stale: float | None = None,
    *,
    head: bool,
) -> None:
    """Send a file, or the one range of it that was requested. Several ranges are answered with the whole file.

    ``stale`` has the seconds since the store was last read, if it is away.
    """
    common: Headers = [
        (b"etag", file.etag.encode()),
        (b"cache-control", b"public, max-age=31536000, immutable"),
        (b"accept-ranges", b"bytes"),
        (b"x-content-type-options", b"nosniff"),
        *staleness(stale),
    ]
    if precondition_fails(headers.get(b"if-match"), file.etag):
        await send_bytes(send, 412, common, b"", head=head)
        return
    if etag_matches(headers.get(b"if-none-match", ""), file.etag):
        await send_bytes(send, 304, common, None, head=head)
        return
    start, stop, status = 0, file.size, 200
    asked = None if head else headers.get(b"range")  # RFC 9110 section 14.2: ranges are of GET
    if asked is not None and headers.get(b"if-range", file.etag) == file.etag:
        part = parse_range(asked, file.size)
        if part is not None:
            (start, stop), status = part, 206
        if start >= stop and part is not None:
            unsatisfied = [*common, (b"content-range", f"bytes */{file.size}".encode())]
            await send_bytes(send, 416, unsatisfied, b"", head=head)
            return
    typed = [
        *common,
        (b"content-type", file.media.encode()),
        (b"content-length", str(stop - start).encode()),
        *([(b"content-range", f"bytes {start}-{stop - 1}/{file.size}".encode())] if status == 206 else []),
    ]
    begun: MutableMapping[str, Any] = {"type": "http.response.start", "status": status, "headers": typed}
    if not head and sends_files(scope):
        opened = await asyncio.to_thread(store.open, file.key)
        if opened is not None:
            with opened:
                missing = stop - os.fstat(opened.fileno()).st_size
                if missing > 0:
                    raise DamagedError(file.key, f"{missing} bytes are missing at its end")
                await send(begun)
                await send(part_of_file(opened, start, stop))
            return
    chunks = iter(()) if head else store.read(file.key, start, stop)
    chunk = await asyncio.to_thread(next, chunks, b"")  # before the status, since the store may fail
    left = 0 if head else stop - start
    if left and not chunk:
        raise DamagedError(file.key, "it is empty")
    await send(begun)
    gone = asyncio.create_task(_gone(receive))
    try:
        while chunk and not gone.done():
            left -= len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            chunk = await asyncio.to_thread(next, chunks, b"")
    finally:
        gone.cancel()
    if left and not gone.done():
        raise DamagedError(file.key, f"{left} bytes are missing at its end")
    await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    """Wait until the client has disconnected. The server accepts data for a closed connection without an error."""
    while (await receive())["type"] != "http.disconnect":
        pass


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """The requested bytes as start and stop; start >= stop if the range cannot be satisfied.

    None if the header must be ignored: another unit, several ranges, or an invalid range.
    """
    match = _RANGE.match(header)
    if match is None or match[1] == match[2] == "":
        return None
    first, last = match.groups()
    if first == "":
        return max(size - int(last), 0), size
    if last != "" and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size
