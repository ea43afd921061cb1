"""Bodies of requests: how large, and how slow."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index_server.errors import SlowBodyError, TooLargeError

STEP = 16 << 10  # bytes that must come within the time


class BodyPace:
    """Ends a request whose client sends less than :data:`STEP` bytes of its body in ``seconds``.

    Only the time that the server waits for the client counts.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        left, size, ended = self._seconds, 0, False

        async def paced() -> Message:
            nonlocal left, size, ended
            if ended:
                return await receive()
            begun = loop.time()
            try:
                async with asyncio.timeout(left):
                    message = await receive()
            except TimeoutError:
                raise SlowBodyError(
                    f"less than {STEP} bytes of the body came in {self._seconds:g} seconds; send it again"
                ) from None
            left -= loop.time() - begun
            size += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if size >= STEP:
                left, size = self._seconds, 0
            return message

        await self._app(scope, paced, send)


class BodyLimit:
    """Refuses bodies of more than ``limit`` bytes, except an upload's, which has limits of its own."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/upload"):
            await self._app(scope, receive, send)
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limit:
                raise HTTPException(TooLargeError.status, f"the body is larger than {self._limit} bytes")
            return message

        await self._app(scope, counted, send)
