"""Files that the kernel sends: whole, in parts, to slow clients and to clients that go away."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import threading
import time
import unittest.mock
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from starlette.types import Receive, Send

from index_server.api.app import create_app
from index_server.extensions import Scope, part_of_file, sends_files
from index_server.limits import Limits
from index_server.serving.sendfile import FileSender
from index_server.settings import Settings
from index_server.store.interface import ObjectStore
from tests.helpers.connections import Running, read_message, serving
from tests.helpers.wheels import make_wheel
from tests.unit.index.api import test_app

LIMITS = Limits(header_seconds=0.3, keep_alive=60, send_seconds=60)
DATA = os.urandom(24 << 20)  # more than the buffers of a connection on loopback take


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode()


class App:
    """Sends ``DATA``: all of it, or ``/START-STOP``; ``/short`` promises a byte more than the file has."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        assert sends_files(scope)
        short = scope["path"] == "/short"
        named = scope["path"] not in ("/", "/short")
        start, stop = map(int, scope["path"][1:].split("-")) if named else (0, len(DATA) + short)
        headers = [(b"content-length", str(stop - start).encode())]
        self.running += 1
        try:
            with self.file.open("rb") as file:
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send(part_of_file(file, start, stop))
        finally:
            self.running -= 1


@pytest.fixture
def app(tmp_path: Path) -> App:
    (tmp_path / "data").write_bytes(DATA)
    return App(tmp_path / "data")


@pytest.fixture
def running(app: App) -> Iterator[Running]:
    with serving(app, LIMITS) as server:
        yield server


def descriptors() -> int:
    return psutil.Process().num_fds()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 40
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_whole_and_in_parts_over_one_connection(running: Running) -> None:
    with running.connect() as client:
        for path, expected in (("/", DATA), ("/5-17", DATA[5:17]), ("/", DATA), ("/7-7", b"")):
            client.sendall(get(path))
            assert read_message(client)[2] == expected


def test_pipelined_requests_are_answered_in_order(running: Running) -> None:
    with running.connect(get("/0-3000000") + get("/3000000-6000000")) as client:
        assert read_message(client)[2] + read_message(client)[2] == DATA[:6000000]


def test_many_clients_at_once(running: Running) -> None:
    clients = [running.connect(get("/")) for _ in range(50)]  # more than there are threads
    assert [read_message(client)[2] == DATA for client in clients] == [True] * 50


def test_a_slow_client_gets_all(running: Running) -> None:
    digest = hashlib.sha256()
    with running.connect(get("/")) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        time.sleep(0.5)  # longer than a header may take
        got = b""
        while b"\r\n\r\n" not in got:
            got += client.recv(65536)
        body = got.partition(b"\r\n\r\n")[2]
        left = len(DATA) - len(body)
        digest.update(body)
        while left:
            chunk = client.recv(1 << 16)
            left -= len(chunk)
            digest.update(chunk)
            time.sleep(0.0005)
    assert digest.digest() == hashlib.sha256(DATA).digest()


def test_clients_that_go_away_leave_nothing(running: Running, app: App) -> None:
    running.get(get("/0-1"))
    before = descriptors()
    clients = [running.connect(get("/")) for _ in range(8)]
    until(lambda: app.running == 8)
    for client in clients:
        client.close()
    until(lambda: app.running == 0 and descriptors() <= before)


def test_a_file_that_became_shorter_breaks_the_connection_off(running: Running, app: App) -> None:
    with running.connect(get("/short")) as client, pytest.raises((AssertionError, ConnectionError)):
        read_message(client)
    until(lambda: app.running == 0)
    assert running.get(get("/0-5"))[2] == DATA[:5]


def test_a_reader_that_stands_still_makes_room(app: App) -> None:
    with serving(app, Limits(connections=2, header_seconds=0.3, keep_alive=60, send_seconds=60)) as running:
        still = [running.connect(get("/")) for _ in range(2)]
        until(lambda: app.running == 2)
        until(lambda: running.get(get("/0-5"))[0] == 200)  # after QUIET
        until(lambda: app.running == 1)
        for client in still:
            client.close()


def test_the_index_sends_wheels_so(make_store: Callable[[str], ObjectStore], settings: Settings) -> None:
    store = make_store("directory")
    publisher = test_app.Client(store, settings)
    wheel = make_wheel(test_app.PURE)
    publisher.publish((test_app.PURE, wheel))
    page = publisher.json("/nightly/generic/simple/pure-thing/", accept="application/vnd.pypi.simple.v1+json")
    path = "/nightly/generic/simple/pure-thing/" + page["files"][0]["url"]
    path = os.path.normpath(path)
    with serving(create_app(store, settings), LIMITS) as running:
        assert running.get(get(path))[2] == wheel
        partial = get(path).replace(b"\r\n\r\n", b"\r\nRange: bytes=10-19\r\n\r\n")
        status, head, body = running.get(partial)
        assert (status, body) == (206, wheel[10:20])
        assert f"content-range: bytes 10-19/{len(wheel)}".encode() in head
        [stored] = [key for key in store.keys("files/") if key.endswith(".whl")]
        (store.root / stored).chmod(0o600)  # type: ignore[attr-defined]
        (store.root / stored).write_bytes(wheel[:-3])  # type: ignore[attr-defined]
        assert running.get(get(path))[0] == 500


def test_a_call_that_outlives_its_caller_keeps_its_descriptors(tmp_path: Path) -> None:
    """The thread of a cancelled task must not write to a descriptor that another connection has got."""
    (tmp_path / "data").write_bytes(b"x")
    entered, go, seen = threading.Event(), threading.Event(), []

    def slow(out: int, source: int, offset: int, count: int) -> int:
        entered.set()
        go.wait(10)
        seen.append((os.fstat(out).st_mode, os.fstat(source).st_size))
        return count

    async def cancelled() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, (tmp_path / "data").open("rb") as file:
            sender = FileSender(asyncio.get_running_loop(), ours.fileno(), file.fileno(), lambda: None)
            with unittest.mock.patch("os.sendfile", slow):
                task = asyncio.create_task(sender.send(0, 1))
                await asyncio.to_thread(entered.wait, 10)
                task.cancel()
                await asyncio.wait([task])
        go.set()
        await asyncio.sleep(0.1)

    before = descriptors()
    asyncio.run(cancelled())
    assert [size for _, size in seen] == [1]
    assert descriptors() == before
