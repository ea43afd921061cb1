"""uvicorn's HTTP/1.1 protocol with limits on headers and connections.

uvicorn accepts another protocol class as ``Config.http``. This one limits the size of the header, the time until
it is complete, and the number of connections. No server that was tried (docs/decisions/index-9-http-server.md) has
a header deadline together with a long keep-alive, which proxies need. httptools still does the parsing.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict
from functools import partial
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable
from uvicorn._types import Scope as UvicornScope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from index_server.extensions import ZERO_COPY
from index_server.limits import PROBES, SPARE, Limits
from index_server.serving.repeats import LONGEST, REQUEST, Repeat, Repeats
from index_server.serving.sendfile import FileSender

LINGER_BYTES = 1 << 20  # that are read and discarded after a refusal, so that the client can read the answer
LINGER_SECONDS = 2.0  # for which they are read
DISCARDED = 64 << 10  # bytes of a discarded body that must arrive within a deadline to extend it
_HOST = re.compile(rb"[^\s/?#@\\<>\"]*\Z")  # of RFC 3986 section 3.2.2, without the user part
# Faults of clients are answered and not logged: otherwise anybody could fill the disk of the log.
_log = logging.getLogger("uvicorn.error.clients")
_log.setLevel(logging.ERROR)
QUIET = 5.0  # seconds without progress after which a request may be dropped for a new connection


class LimitedConfig(uvicorn.Config):
    """uvicorn's configuration with our limits."""

    def __init__(self, app: Any, limits: Limits, **options: Any) -> None:
        super().__init__(
            app,
            http=LimitedProtocol,
            ws="none",
            timeout_keep_alive=limits.keep_alive,  # type: ignore[arg-type]  # asyncio takes fractions, too
            **options,
        )
        self.limits = limits
        self.repeats = Repeats()
        self.clients = Clients(limits.connections)


class Clients:
    """All connections, ordered by their last progress, the oldest first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._quiet: OrderedDict[LimitedProtocol, None] = OrderedDict()

    def admit(self, client: LimitedProtocol) -> int:
        """Add a connection. Above the limit, drop a quiet one. Return the number of connections above the limit."""
        self._quiet[client] = None
        if len(self._quiet) > self._limit:
            quiet = next((each for each in self._quiet if each is not client and each.droppable()), None)
            if quiet is not None:
                self.remove(quiet)
                quiet.transport.abort()
        return max(len(self._quiet) - self._limit, 0)

    def progressed(self, client: LimitedProtocol) -> None:
        """Note that a client sent data, or received a part of an answer."""
        if client in self._quiet:
            self._quiet.move_to_end(client)

    def remove(self, client: LimitedProtocol) -> None:
        """Forget a connection."""
        self._quiet.pop(client, None)


class LimitedProtocol(HttpToolsProtocol):
    """One connection. If a request is refused, the client gets a status code and the connection is closed."""

    def __init__(
        self,
        config: LimitedConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = _log
        self._limits = config.limits
        self._clients = config.clients
        self._deadline: asyncio.TimerHandle | None = None
        self._progress_at = 0.0
        self._incoming = False  # a request has started and is not complete
        self._in_header = False
        self._header_bytes = 0
        self._fields = 0
        self._hosts = 0
        self._no_body = 0  # bytes since the last byte of a body: header, trailers, chunk extensions
        self._discarded = 0  # bytes of a discarded body since the deadline was set
        self._refused: HTTPStatus | None = None
        self._lingered = 0
        self._begun = 0  # requests that begin in the bytes that are parsed
        self._repeats: Repeats | None = config.repeats
        self._sender: FileSender | None = None
        self.app = config.repeats.around(self.app)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._progress_at = self.loop.time()
        above = self._clients.admit(self)
        if above > SPARE:
            transport.abort()
        elif above:
            self.app = _only_health(self.app)
            self._repeats = None
        self._expect_header()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.remove(self)
        self._clear_deadline()
        if self._sender is not None:
            self._sender.stop()
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
        first = self._idle() and not self._incoming and not self.flow.write_paused
        if first and self._repeats is not None:
            repeat = self._repeats.find(data, self.client)
            if repeat is not None:
                self._send_again(repeat)
                return
        self._no_body += len(data)
        self._begun = 0
        super().data_received(data)
        if first and self._repeats is not None and self._is_plain(data):
            self.scope["extensions"] = {ZERO_COPY: {}, REQUEST: data}  # type: ignore[dict-item]  # not a dict
        if self._no_body > self._limits.header_bytes:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._idle() and self._deadline is None and self.timeout_keep_alive_task is None:
            self._expect_header()

    def resume_writing(self) -> None:
        self._note_progress()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn passes its own message
        too_large = (
            self._header_bytes > self._limits.header_bytes or self._fields > self._limits.header_fields
        )
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if too_large else HTTPStatus.BAD_REQUEST)

    def droppable(self) -> bool:
        """Whether the connection may be dropped: it is idle, or its client made no progress for :data:`QUIET`."""
        if self._idle():
            return True
        waits = self.flow.write_paused or (self.cycle.more_body and not self.flow.read_paused)
        waits = waits or (self._sender is not None and self._sender.waits)
        return waits and self.loop.time() - self._progress_at > QUIET

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        self._incoming = self._in_header = True
        self._begun += 1
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
        if name.lower() == b"transfer-encoding" and value.strip().lower() != b"chunked":
            raise ValueError(
                "unknown transfer coding"
            )  # RFC 9112 section 6.1; llhttp ignores it before "chunked"

    def on_headers_complete(self) -> None:
        if self._hosts > 1 or (self._hosts == 0 and self.parser.get_http_version() == "1.1"):
            raise ValueError("one Host is needed")  # RFC 9112 section 3.2
        self._in_header = False
        self._clear_deadline()
        self.scope["extensions"] = {ZERO_COPY: {}}
        super().on_headers_complete()
        self.cycle.send = partial(self._send, self.cycle)  # type: ignore[method-assign]

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

    # Answers

    def _is_plain(self, data: bytes) -> bool:
        """Whether these bytes were one whole GET without a body, on a connection that stays open."""
        return (
            len(data) <= LONGEST
            and self._begun == 1
            and not self._incoming
            and self._refused is None
            and self.scope["method"] == "GET"
            and self.cycle.keep_alive
            and not self.expect_100_continue
            and not self.cycle.body
        )

    def _send_again(self, repeat: Repeat) -> None:
        self._unset_keepalive_if_required()
        self._clear_deadline()
        dates = (b"%s: %s\r\n" % field for field in self.server_state.default_headers)
        self.transport.writelines([STATUS_LINE[repeat.status], *dates, repeat.fields, repeat.body])
        self.on_response_complete()

    async def _send(self, cycle: RequestResponseCycle, message: Any) -> None:
        """Send a message of the application: uvicorn's, or one that sends a part of a file."""
        if message["type"] != ZERO_COPY:
            await RequestResponseCycle.send(cycle, message)
            return
        await self._empty_buffer()
        if not cycle.disconnected:
            descriptor = self.transport.get_extra_info("socket").fileno()
            self._sender = FileSender(self.loop, descriptor, message["file"], self._note_progress)
            try:
                whole = await self._sender.send(message["offset"], message["count"])
            finally:
                self._sender = None
            if not whole:
                self.transport.abort()
                return
            cycle.expected_content_length -= message["count"]
        await RequestResponseCycle.send(
            cycle, {"type": "http.response.body", "body": b"", "more_body": False}
        )

    async def _empty_buffer(self) -> None:
        """Wait until the transport has sent what was written."""
        self.transport.set_write_buffer_limits(0)
        await self.flow.drain()
        self.transport.set_write_buffer_limits()

    # Deadlines

    def _idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _expect_header(self) -> None:
        """Start the deadline for the next header, or for the rest of a discarded body."""
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
        """Count bytes of the header, and stop the parser if the header is too large.

        httptools converts the ValueError into its own error, on which uvicorn calls :meth:`send_400_response`.
        """
        self._header_bytes += size
        if self._header_bytes > self._limits.header_bytes or self._fields > self._limits.header_fields:
            raise ValueError("too large")

    def _refuse(self, status: HTTPStatus) -> None:
        """Send an error status and close the connection after a delay.

        Until then, data is read and discarded. Data that arrives at a closed socket would make the kernel send a
        reset, and the client could lose the answer.
        """
        if self._refused is not None or self.transport.is_closing():
            return
        if not self._idle():
            self.cycle.disconnected = True  # of an earlier request, whose answer is not sent
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
    """Return an app for connections above the limit. It answers probes, and 503 for all other paths."""

    async def answer(scope: UvicornScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "http" and scope["path"] in PROBES:
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
