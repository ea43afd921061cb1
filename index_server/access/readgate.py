"""Requires a token of every reader, for an index with ``ARMWHEELS_READS=token``.

pip and uv send the credentials of the index URL (``https://__token__:TOKEN@host/...``) or of a netrc file as Basic.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index_server.access.tokens import RecentTokens
from index_server.errors import StoreAwayError, StoreError, UnauthorizedError, as_answer
from index_server.extensions import Holds, wrap_again
from index_server.limits import PROBES

OPEN = PROBES  # they tell nothing but serials, and watchers have no token; /metrics asks for one itself


class ReadGate:
    """Passes requests with a valid token on, and answers all others with 401 or 403.

    Any valid token may read. A token with only the scope ``read`` can do nothing else.

    Answers are marked ``private``, so that shared caches do not keep them (RFC 9111 section 5.2.2.7).
    """

    def __init__(self, app: ASGIApp, tokens: RecentTokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)  # every writing route checks the token itself
            return
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        try:
            authorization = header.decode("latin-1")
            if self._tokens.known(authorization) is None:
                await asyncio.to_thread(self._tokens.check, authorization)
        except UnauthorizedError as error:
            again = (b"www-authenticate", b'Basic realm="armwheels"')
            await _refuse(send, 401, again, f"{error}\n".encode(), head=scope["method"] == "HEAD")
            return
        except StoreError as error:  # nobody can say whether the token is valid
            answer = as_answer(error)
            again = (b"retry-after", str(StoreAwayError.retry_after).encode())
            text = "\n".join(answer.reasons) + "\n"
            await _refuse(send, 503, again, text.encode(), head=scope["method"] == "HEAD")
            return

        async def private(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    (name, value.replace(b"public", b"private") if name == b"cache-control" else value)
                    for name, value in message["headers"]
                ]
                message = {**message, "headers": headers}
            await send(message)

        def while_valid(holds: Holds) -> Holds:
            return lambda client: self._tokens.known(authorization) is not None and holds(client)

        await self._app(wrap_again(scope, while_valid), receive, private)


async def _refuse(send: Send, status: int, header: tuple[bytes, bytes], body: bytes, *, head: bool) -> None:
    headers = [
        header,
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})
