"""Middleware that limits how slowly a client may send a request body."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index_server.errors import SlowBodyError

STEP = 16 << 10  # bytes that must arrive within the time


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
                    f"less than {STEP} bytes of the body arrived in {self._seconds:g} seconds; send it again"
                ) from None
            left -= loop.time() - begun
            size += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if size >= STEP:
                left, size = self._seconds, 0
            return message

        await self._app(scope, paced, send)
