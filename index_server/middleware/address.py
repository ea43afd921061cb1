"""Middleware for URLs that contain a token, URLs below a proxy's path, and HEAD requests."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index_server.secret import PREFIX, holds_token

_PREFIX = PREFIX.encode()
_ADVICE = (
    "the URL contains a token, and logs store URLs; revoke the token, make another one, and send that"
    " as the password of the user __token__, or as Bearer\n"
)


class NoTokenInAddress:
    """Answers 400 if the path or query of a URL contains a token.

    Logs and caches store URLs, and redirects and error pages repeat them. This answer does not repeat the token.
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
    """Whether the URL may contain a token, by a cheap test."""
    return PREFIX in scope["path"] or b"%" in scope["query_string"] or _PREFIX in scope["query_string"]


class BelowPath:
    """Removes ``root_path`` from the start of request paths, for proxies that do not. Other paths are unchanged."""

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
    """Answers HEAD as GET without the body (RFC 9110 section 9.3.2), for routes that do not handle HEAD."""

    def __init__(self, app: ASGIApp, own: tuple[str, ...]) -> None:
        self._app = app
        self._own = own  # path prefixes of routes that handle HEAD

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].startswith(self._own):
            await self._app(scope, receive, send)
            return

        async def bare(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, bare)
