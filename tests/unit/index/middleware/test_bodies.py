"""Bodies that come too slowly."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from index_server.errors import SlowBodyError
from index_server.middleware.bodies import STEP, BodyPace


def run(method: str, messages: list[tuple[float, bytes]], *, seconds: float = 0.2) -> int:
    """Bytes that the application read, of messages that each come after a pause."""
    left = iter(messages)
    read = 0

    async def receive() -> Message:
        pause, body = next(left)
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": body, "more_body": True}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal read
        for _ in messages:
            read += len((await receive())["body"])

    async def send(_: Message) -> None: ...

    asyncio.run(BodyPace(app, seconds)({"type": "http", "method": method}, receive, send))
    return read


def test_a_body_that_flows_may_take_long() -> None:
    assert run("POST", [(0.1, b"a" * STEP)] * 5) == 5 * STEP


@pytest.mark.parametrize(
    "messages", [[(60, b"a")], [(0.05, b"a")] * 100], ids=["nothing comes", "a byte at a time"]
)
def test_a_body_that_stalls_is_refused(messages: list[tuple[float, bytes]]) -> None:
    with pytest.raises(SlowBodyError, match="send it again"):
        run("PUT", messages)


def test_waiting_for_a_reader_to_hang_up_is_no_body() -> None:
    assert run("GET", [(0.3, b"a")]) == 1
