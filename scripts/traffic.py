"""Sends HTTP requests over plain sockets, and reads what the processes of a server cost meanwhile.

A plain socket leaves the processors to the server that is measured.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_BUFFER = 1 << 20  # bytes that a client reads at once


class Answer(NamedTuple):
    """The status of an answer and the bytes of its body."""

    status: int
    size: int
    closed: bool
    """Whether the server ends the connection, as those of HTTP/1.0 do."""


class Client:
    """One connection to a server. It is made again where the server closes it."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        lines = [
            f"GET {target} HTTP/1.1",
            f"Host: {parts.netloc}",
            *(f"{k}: {v}" for k, v in headers.items()),
        ]
        self._request = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self._buffer = bytearray(_BUFFER)
        self._socket: socket.socket | None = None

    def get(self) -> Answer:
        """Send the request and read the whole answer.

        Raises:
            ConnectionError: the server closes the connection before the answer is whole.
        """
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=600)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(self._request)
        answer = self._read(self._socket)
        if answer.closed:
            self.close()
        return answer

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _read(self, connection: socket.socket) -> Answer:
        view, have = memoryview(self._buffer), 0
        while (end := self._buffer.find(b"\r\n\r\n", 0, have)) < 0:
            have += self._more(connection, view[have:])
        head = bytes(view[:end])
        status, old = int(head[9:12]), head.startswith(b"HTTP/1.0")
        length = _LENGTH.search(head)
        left = (int(length[1]) if length and status != 304 else 0) - (have - end - 4)
        size = left + have - end - 4
        while left > 0:
            left -= self._more(connection, view)
        return Answer(status, size, old or b"\r\nconnection: close" in head.lower())

    @staticmethod
    def _more(connection: socket.socket, place: memoryview) -> int:
        got = connection.recv_into(place)
        if not got:
            raise ConnectionError("the server closed the connection in the middle of an answer")
        return got


def spent(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and its children, user and system."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def resident(process: psutil.Process) -> float:
    """Return the megabytes (10^6 bytes) of memory of a process and its children, shared pages divided (PSS)."""
    return float(
        sum(each.memory_full_info().pss for each in (process, *process.children(recursive=True))) / 1e6
    )


class Cost(NamedTuple):
    """What a request costs the server."""

    micros: float  # of CPU time
    status: int
    size: int  # bytes of the body


def cost(process: psutil.Process, url: str, headers: Mapping[str, str], seconds: float) -> Cost:
    """Ask for one URL again and again over one connection."""
    client = Client(url, headers)
    answer = client.get()
    count, before, end = 0, spent(process), time.monotonic() + seconds
    while time.monotonic() < end:
        client.get()
        count += 1
    client.close()
    return Cost((spent(process) - before) / count * 1e6, answer.status, answer.size)


class Rate(NamedTuple):
    """How fast a server sends one file."""

    gigabytes: float  # 10^9 bytes a second, of all clients together
    micros: float  # CPU microseconds of the server for a megabyte


def rate(process: psutil.Process, url: str, clients: int, seconds: float) -> Rate:
    """Download one file again and again, by several clients at once. Each ends with a whole file."""
    sizes = [0] * clients
    end = time.monotonic() + seconds

    def download(number: int) -> None:
        client = Client(url, {"Accept-Encoding": "identity"})
        while time.monotonic() < end:
            sizes[number] += client.get().size
        client.close()

    before, begun = spent(process), time.monotonic()
    run_together([threading.Thread(target=download, args=(number,)) for number in range(clients)])
    total, took = sum(sizes), time.monotonic() - begun
    return Rate(total / took / 1e9, (spent(process) - before) / total * 1e12)


def run_together(threads: Sequence[threading.Thread]) -> None:
    """Start all threads and wait for them."""
    for each in threads:
        each.start()
    for each in threads:
        each.join()
