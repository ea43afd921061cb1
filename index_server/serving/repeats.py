"""Answers a request again that is, byte for byte, one that was answered before.

A pip or a uv sends the same header for the same page each time. Such a request is neither parsed nor passed through
the application, as long as the application says that its answer holds (:mod:`index_server.extensions`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index_server.extensions import AGAIN, Client, Holds

REQUEST = "armwheels.request"  # the extension by which the protocol hands over the bytes of a whole request
LONGEST = 4096  # bytes of a request that is kept; pip and uv send under 1 kB
KEPT_BYTES = 32 << 20  # of requests and answers


class Repeat(NamedTuple):
    """An answer that may be sent again."""

    holds: Holds
    status: int
    fields: bytes  # the lines of the header, and the empty one
    body: bytes


class Repeats:
    """The answers of one server process that may be sent again. The ones that were sent longest ago are dropped."""

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        """``limit`` is the most bytes of requests and answers together."""
        self._limit = limit
        self._kept: OrderedDict[bytes, Repeat] = OrderedDict()
        self._weight = 0

    def find(self, request: bytes, client: Client) -> Repeat | None:
        """Return the answer to a request, if it still holds for this client."""
        found = self._kept.get(request)
        if found is None:
            return None
        if not found.holds(client):
            self._drop(request)
            return None
        self._kept.move_to_end(request)
        return found

    def around(self, app: ASGIApp) -> ASGIApp:
        """Return the application, whose answers are kept where it offers them."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            request = scope.get("extensions", {}).get(REQUEST)
            if request is None:
                await app(scope, receive, send)
                return
            offered: list[Holds] = []
            sent: list[Message] = []

            async def noted(message: Message) -> None:
                if offered:
                    sent.append(message)
                await send(message)

            extensions = {**scope["extensions"], AGAIN: offered.append}
            await app({**scope, "extensions": extensions}, receive, noted)
            if sent:
                self._keep(request, _repeat(offered[-1], sent))

        return watched

    def _keep(self, request: bytes, repeat: Repeat) -> None:
        self._drop(request)
        self._kept[request] = repeat
        self._weight += _weight(request, repeat)
        while self._weight > self._limit:
            self._drop(next(iter(self._kept)))

    def _drop(self, request: bytes) -> None:
        dropped = self._kept.pop(request, None)
        if dropped is not None:
            self._weight -= _weight(request, dropped)


def _repeat(holds: Holds, sent: Iterable[Message]) -> Repeat:
    start, *rest = sent
    fields = b"".join(b"%s: %s\r\n" % (name, value) for name, value in start["headers"])
    return Repeat(holds, start["status"], fields + b"\r\n", b"".join(each.get("body", b"") for each in rest))


def _weight(request: bytes, repeat: Repeat) -> int:
    return len(request) + len(repeat.fields) + len(repeat.body) + 1024
