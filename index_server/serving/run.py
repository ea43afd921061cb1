"""Opens the listening socket and runs the server until a signal."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.loops.auto import auto_loop_factory
from uvicorn.supervisors import Multiprocess

from index_server.errors import PortInUseError
from index_server.limits import Limits
from index_server.serving.protocol import LimitedConfig

THREADS = 40  # that read the store for pages and files
GRACE = 10  # seconds that running requests get when the server stops
HEALTH = 60  # seconds without a sign of life, after which a server process is replaced
START = 120  # seconds that a server process has to get ready


def listen(host: str, port: int, send_seconds: float) -> socket.socket:
    """Bind a socket. Connections inherit its options.

    The kernel closes a connection whose client acknowledges no data for ``send_seconds`` or has disappeared
    (TCP_USER_TIMEOUT and SO_KEEPALIVE, tcp(7) and socket(7)).

    Raises:
        PortInUseError: the address is in use, or does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(send_seconds * 1000))
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            advice = f"stop the program that uses it, or use another: armwheels-index serve --port {port + 1}"
            raise PortInUseError(f"port {port} on {host} is in use; {advice}") from error
        raise PortInUseError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener


def serve(
    app: ASGIApp | str,
    listener: socket.socket,
    limits: Limits,
    *,
    workers: int,
    base: str,
    ready_file: Path | None,
    announce: Callable[[], None],
) -> None:
    """Serve until SIGINT or SIGTERM, with so many processes that accept connections from one socket.

    Several processes cannot share an application: ``app`` is then the import string of a function that makes one.
    When all are ready, call ``announce`` and write ``base``, the server's URL, to ``ready_file``.
    """
    config = LimitedConfig(
        app,
        limits,
        factory=isinstance(app, str),
        loop="index_server.serving.run:new_loop",
        workers=workers,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # index_server.pages.address judges them
        timeout_graceful_shutdown=GRACE,
        timeout_worker_healthcheck=HEALTH,
    )

    def ready() -> None:
        announce()
        if ready_file is not None:
            _write_whole(ready_file, base + "\n")

    if workers == 1:
        _Server(config, ready).run(sockets=[listener])
    else:
        listener.listen(config.backlog)  # the processes start at different times
        _Processes(config, [listener], ready).run()


def new_loop() -> asyncio.AbstractEventLoop:
    """Make the event loop of a server process."""
    loop = auto_loop_factory()()
    # Threads wait for the store. asyncio's default number is small, so that a slow store would block all pages.
    loop.set_default_executor(ThreadPoolExecutor(THREADS, "store"))
    return loop


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            await asyncio.to_thread(self._ready)


class _Processes(Multiprocess):
    """uvicorn's server processes. One that dies or hangs is replaced."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], ready: Callable[[], None]
    ) -> None:
        super().__init__(config, sockets)
        self._ready = ready

    def init_processes(self) -> None:
        super().init_processes()
        if all(process.wait_until_ready(START, self.should_exit) for process in self.processes):
            self._ready()


def _write_whole(path: Path, text: str) -> None:
    """Write a file atomically: a reader sees the complete text or no file."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
