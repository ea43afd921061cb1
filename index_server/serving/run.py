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

from index_server.errors import PortInUseError
from index_server.limits import Limits
from index_server.serving.protocol import LimitedConfig

THREADS = 40  # that read the store for pages and files
GRACE = 10  # seconds that running requests get when the server stops


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
    app: ASGIApp,
    listener: socket.socket,
    limits: Limits,
    *,
    base: str,
    ready_file: Path | None,
    announce: Callable[[], None],
) -> None:
    """Serve until SIGINT or SIGTERM.

    When the server is ready, call ``announce`` and write ``base``, the server's URL, to ``ready_file``.
    """
    config = LimitedConfig(
        app,
        limits,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    _Server(config, base, ready_file, announce).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, base: str, ready_file: Path | None, announce: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._base = base
        self._ready_file = ready_file
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # Threads wait for the store. asyncio's default number is small, so that a slow store would block all pages.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "store"))
        await super().startup(sockets)
        if not self.started:
            return
        self._announce()
        if self._ready_file is not None:
            await asyncio.to_thread(_write_whole, self._ready_file, self._base + "\n")


def _write_whole(path: Path, text: str) -> None:
    """Write a file atomically: a reader sees the complete text or no file."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
