"""Addresses that hold a token, addresses below a path of a proxy, and HEAD wherever GET goes."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index_server.secret import PREFIX, holds_token

_PREFIX = PREFIX.encode()
_ADVICE = (
    "a token stands in this address, where logs keep it; revoke it, make another, and send that"
    " as password of the user __token__, or as Bearer\n"
)


class NoTokenInAddress:
    """Answers 400 to a path or query that holds a token.

    Addresses are kept by logs and caches, and repeated by redirects and error pages. The answer does not repeat
    it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _suspicious(scope):
            query = unquote_to_bytes(scope["query_string"]).decode("latin-1")
            if holds_token(scope["path"]) or holds_token(query):
                await PlainTextResponse(_ADVICE, 400)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _suspicious(scope: Scope) -> bool:
    """Whether a closer look is worth its time."""
    return PREFIX in scope["path"] or b"%" in scope["query_string"] or _PREFIX in scope["query_string"]


class BelowPath:
    """Takes ``root_path`` off the paths of requests, for a proxy that does not; other paths stay as they are."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and f"{scope['path']}/".startswith(f"{self._root_path}/"):
            path = scope["path"].removeprefix(self._root_path)
            if not path:  # relative links need the slash
                there = self._root_path.rpartition("/")[2]
                await RedirectResponse(f"{there}/", 308)(scope, receive, send)
                return
            raw = scope["raw_path"].decode("latin-1").removeprefix(self._root_path).encode("latin-1")
            scope = {**scope, "path": path, "raw_path": raw}
        await self._app(scope, receive, send)


class HeadAsGet:
    """Answers HEAD as GET without its body, for routes that have no HEAD of their own (RFC 9110 section 9.3.2)."""

    def __init__(self, app: ASGIApp, own: tuple[str, ...]) -> None:
        self._app = app
        self._own = own  # beginnings of paths that have one

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].startswith(self._own):
            await self._app(scope, receive, send)
            return

        async def bare(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, bare)
