"""A real HTTP server in a thread of the tests' process, and clients that write plain bytes to it."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from index_server.limits import Limits
from index_server.serving.protocol import LimitedConfig
from index_server.serving.run import listen


@dataclass
class Running:
    """A server in a thread of this process."""

    port: int
    server: uvicorn.Server

    def connect(self, data: bytes = b"") -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), 20)
        client.sendall(data)
        return client

    def ask(self, data: bytes) -> bytes:
        """Send bytes, and no more; return all that comes until the server closes."""
        with self.connect(data) as client:
            client.shutdown(socket.SHUT_WR)
            return read_all(client)

    def get(self, data: bytes) -> tuple[int, bytes, bytes]:
        """Send a request; return status, header and body. The connection stays open until the answer is whole."""
        with self.connect(data) as client:
            return read_message(client)

    def status(self, data: bytes) -> int:
        return int(self.ask(data).split(b" ", 2)[1])


def read_all(client: socket.socket) -> bytes:
    """All that comes until the server closes, at most in the socket's time."""
    got = b""
    while chunk := client.recv(65536):
        got += chunk
    return got


def read_message(client: socket.socket) -> tuple[int, bytes, bytes]:
    """The status, the header and the body of an answer with ``content-length``."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):  # no byte of what follows
        head += _some(client, 1)
    length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
    body = bytearray()
    while length is not None and len(body) < int(length[1]):
        body += _some(client, int(length[1]) - len(body))
    return int(head.split(b" ", 2)[1]), head, bytes(body)


def _some(client: socket.socket, most: int) -> bytes:
    got = client.recv(min(most, 1 << 20))
    assert got, "the server closed the connection"
    return got


@contextmanager
def serving(app: ASGIApp, limits: Limits, log_level: str = "critical") -> Iterator[Running]:
    """Serve an application in a thread of this process."""
    listener = listen("127.0.0.1", 0, limits.send_seconds)
    config = LimitedConfig(app, limits, log_level=log_level, access_log=False, log_config=None)
    server = uvicorn.Server(config)
    server.config.load()
    thread = threading.Thread(target=lambda: asyncio.run(server._serve([listener])))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Running(listener.getsockname()[1], server)
    finally:
        server.force_exit = server.should_exit = True
        thread.join(20)
