"""HTTP/1.1 within limits: uvicorn's protocol, and what it does not have.

uvicorn takes another protocol class as ``Config.http``. This one adds limits on the header, a deadline for it,
and a bound on connections. Of the servers tried (docs/decisions/index-9-http-server.md), none has a header
deadline beside a long keep-alive, which proxies need. httptools does the parsing as before.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable
from uvicorn._types import Scope as UvicornScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from index_server.limits import SPARE, Limits

LINGER_BYTES = 1 << 20  # read on after a refusal, so that the client gets to read the answer
LINGER_SECONDS = 2.0
DISCARDED = 64 << 10  # bytes of an unwanted body that must come within a deadline to extend it
_HOST = re.compile(rb"[^\s/?#@\\<>\"]*\Z")  # of RFC 3986 section 3.2.2, without the user part
QUIET = 5.0  # seconds without progress after which a request may be dropped for a new connection


class LimitedConfig(uvicorn.Config):
    """uvicorn's settings, and the limits."""

    def __init__(self, app: Any, limits: Limits, **options: Any) -> None:
        super().__init__(
            app,
            http=LimitedProtocol,
            ws="none",
            timeout_keep_alive=limits.keep_alive,  # type: ignore[arg-type]  # asyncio takes fractions, too
            **options,
        )
        self.limits = limits
        self.clients = Clients(limits.connections)


class Clients:
    """All connections, the one that was quiet longest first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._quiet: OrderedDict[LimitedProtocol, None] = OrderedDict()

    def admit(self, client: LimitedProtocol) -> int:
        """Add a connection; return how many there are above the limit, after dropping a quiet one for it."""
        self._quiet[client] = None
        if len(self._quiet) > self._limit:
            quiet = next((each for each in self._quiet if each is not client and each.droppable()), None)
            if quiet is not None:
                self.remove(quiet)
                quiet.transport.abort()
        return max(len(self._quiet) - self._limit, 0)

    def progressed(self, client: LimitedProtocol) -> None:
        """Note that a client sent something, or took something of an answer."""
        if client in self._quiet:
            self._quiet.move_to_end(client)

    def remove(self, client: LimitedProtocol) -> None:
        """Forget a connection."""
        self._quiet.pop(client, None)


class LimitedProtocol(HttpToolsProtocol):
    """One connection. A refused request gets a status, and the connection ends."""

    def __init__(
        self,
        config: LimitedConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = config.limits
        self._clients = config.clients
        self._deadline: asyncio.TimerHandle | None = None
        self._progress_at = 0.0
        self._incoming = False  # a request has begun, and has not ended
        self._in_header = False
        self._header_bytes = 0
        self._fields = 0
        self._hosts = 0
        self._no_body = 0  # bytes read since the last byte of a body: header, trailers, chunk extensions
        self._discarded = 0  # bytes of a body nobody reads, since the deadline was set
        self._refused: HTTPStatus | None = None
        self._lingered = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._progress_at = self.loop.time()
        above = self._clients.admit(self)
        if above > SPARE:
            transport.abort()
        elif above:
            self.app = _only_health(self.app)
        self._expect_header()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.remove(self)
        self._clear_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused is not None:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES:
                self.transport.abort()
            return
        if self.transport.is_closing():
            return
        self._note_progress()
        self._no_body += len(data)
        super().data_received(data)
        if self._no_body > self._limits.header_bytes:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._idle() and self._deadline is None and self.timeout_keep_alive_task is None:
            self._expect_header()

    def resume_writing(self) -> None:
        self._note_progress()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn passes its own sentence
        too_large = (
            self._header_bytes > self._limits.header_bytes or self._fields > self._limits.header_fields
        )
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if too_large else HTTPStatus.BAD_REQUEST)

    def droppable(self) -> bool:
        """Whether the connection waits for its client: idle, or quiet in the middle of a request."""
        if self._idle():
            return True
        waits = self.flow.write_paused or (self.cycle.more_body and not self.flow.read_paused)
        return waits and self.loop.time() - self._progress_at > QUIET

    # What the parser finds

    def on_message_begin(self) -> None:
        self._incoming = self._in_header = True
        self._header_bytes = self._fields = self._hosts = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._count(len(name) + len(value))
        if not self._in_header:  # trailers are not merged into the header (RFC 9110 section 6.5.1)
            return
        super().on_header(name, value)
        if name.lower() == b"host":
            self._hosts += 1
            if not _HOST.match(value):
                raise ValueError("no host")

    def on_headers_complete(self) -> None:
        if self._hosts > 1 or (self._hosts == 0 and self.parser.get_http_version() == "1.1"):
            raise ValueError("one Host is needed")  # RFC 9112 section 3.2
        self._in_header = False
        self._clear_deadline()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._no_body = 0
        if self.cycle.response_complete:
            self._discarded += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._no_body = 0
        self._incoming = False
        super().on_message_complete()
        if self.cycle.response_complete:
            self._clear_deadline()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._incoming and self._idle() and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self._expect_header()

    # Deadlines

    def _idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _expect_header(self) -> None:
        """Give the client a time for the header that it owes, or for the rest of a body nobody reads."""
        self._clear_deadline()
        self._discarded = 0
        self._deadline = self.loop.call_later(self._limits.header_seconds, self._too_late)

    def _too_late(self) -> None:
        self._deadline = None
        if self._discarded >= DISCARDED:
            self._expect_header()
        else:
            self.transport.abort()

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _note_progress(self) -> None:
        self._progress_at = self.loop.time()
        self._clients.progressed(self)

    def _count(self, size: int) -> None:
        """Stop the parser at too large a header: httptools turns what a callback raises into its own error."""
        self._header_bytes += size
        if self._header_bytes > self._limits.header_bytes or self._fields > self._limits.header_fields:
            raise ValueError("too large")

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer, and read on for a moment: data that arrives at a closed socket would discard the answer."""
        if self._refused is not None or self.transport.is_closing():
            return
        if not self._idle():
            self.cycle.disconnected = True  # a request before this one: its answer is not sent
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.abort()
                return
        self._refused = status
        self._unset_keepalive_if_required()
        self._clear_deadline()
        self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.abort)
        body = f"{status.phrase}\n".encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.flow.resume_reading()
        self.transport.write(head.encode() + body)
        self.transport.write_eof()


def _only_health(app: ASGI3Application) -> ASGI3Application:
    """The app of a connection above the limit: ``/healthz``, and 503 for all else."""

    async def answer(scope: UvicornScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "http" and scope["path"] == "/healthz":
            await app(scope, receive, send)
            return
        body = b"too many connections; ask again in 5 seconds\n"
        await send(
            {
                "type": "http.response.start",
                "status": HTTPStatus.SERVICE_UNAVAILABLE,
                "headers": [
                    (b"content-type", b"text/plain; charset=utf-8"),
                    (b"content-length", str(len(body)).encode()),
                    (b"retry-after", b"5"),
                    (b"connection", b"close"),
                ],
            }
        )
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return answer
