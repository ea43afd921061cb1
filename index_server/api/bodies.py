"""Reads JSON bodies after the token was checked, within limits, and parses them in a thread."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any

import anyio.to_thread
import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute

from index_server.api.parts import the_publisher
from index_server.errors import MalformedError
from index_server.secret import holds_token

BODY = 64 << 10  # bytes of a body, where a route says nothing else
MANY_NAMES = 4 << 20  # of a body that lists files
EVIDENCE = 16 << 20
OBJECT = 32 << 20  # of the compile cache
LOG = 4 << 20  # of a part of a log
DEPTH = 100  # levels of nesting; the readers of what is stored give up at 200
VALUES = 500_000  # values in a body; each takes up to 200 bytes of memory
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class JsonRoute(APIRoute):
    """A route that asks for the token before it reads a body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def guarded(request: Request) -> Response:
            request.state.publisher = await anyio.to_thread.run_sync(the_publisher, request)
            body = await request.body()
            data = await anyio.to_thread.run_sync(parse_json, body) if body else None
            return await handle(_Parsed(request.scope, body, data))

        return guarded


async def read_json(request: Request) -> Any:
    """Read the body and parse it.

    Raises:
        MalformedError: the body is no JSON, nests too deeply, has too many values, or contains a token.
    """
    return await anyio.to_thread.run_sync(parse_json, await request.body())


def parse_json(body: bytes) -> Any:
    """Parse JSON (RFC 8259) within :data:`DEPTH` and :data:`VALUES`.

    Raises:
        MalformedError: as :func:`read_json`.
    """
    if _separators(body) > VALUES and _separators(_STRING.sub(b"", body)) > VALUES:
        raise MalformedError(f"the body has more than {VALUES} values")
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"the body is not JSON: {error}") from error
    if _deeper(data, DEPTH):
        raise MalformedError(f"the body nests deeper than {DEPTH} levels")
    if holds_token(body.decode()):
        raise MalformedError(
            "the body holds a token, which would be kept and shown; revoke it and take it out"
        )
    return data


def _separators(body: bytes) -> int:
    """A bound on the values in JSON; text in strings counts, too."""
    return sum(map(body.count, (b",", b"[", b"{")))


def _deeper(data: object, depth: int) -> bool:
    """Whether containers nest deeper than ``depth``."""
    level = [data] if isinstance(data, dict | list) else []
    for _ in range(depth):
        level = [
            child
            for each in level
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, dict | list)
        ]
    return bool(level)


class _Parsed(Request):
    """A request whose body is read and parsed."""

    def __init__(self, scope: Any, body: bytes, data: Any) -> None:
        super().__init__(scope)
        self._bytes = body
        self._data = data

    async def body(self) -> bytes:
        return self._bytes

    async def json(self) -> Any:
        return self._data
