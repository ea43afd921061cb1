"""Sends parts of files by the kernel, without reading them into this process (sendfile(2))."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

PIECE = 8 << 20  # bytes that one call may send; the socket's buffer takes fewer


class FileSender:
    """Sends a part of a file over a connection, beside the transport, whose write buffer must be empty."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, descriptor: int, file: int, progressed: Callable[[], object]
    ) -> None:
        """``descriptor`` is of a socket that does not block, ``file`` of an open file.

        Both are duplicated: the transport watches the socket, and a call in a thread may outlive its caller.
        ``progressed`` is called when the client has taken some bytes.
        """
        self._loop = loop
        self._progressed = progressed
        self._socket = os.dup(descriptor)
        self._file = os.dup(file)
        self._call: asyncio.Future[int] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._stopped = False

    async def send(self, offset: int, count: int) -> bool:
        """Send bytes of the file. Return whether all were sent before the connection or the file ended."""
        end = offset + count
        try:
            while offset < end and not self._stopped:
                # In a thread: the disk may be slow.
                piece = min(end - offset, PIECE)
                self._call = self._loop.run_in_executor(
                    None, os.sendfile, self._socket, self._file, offset, piece
                )
                try:
                    sent = await asyncio.shield(self._call)
                except BlockingIOError:
                    await self._until_writable()
                    continue
                if not sent:  # the file is shorter than it was
                    return False
                offset += sent
                self._progressed()
        except OSError:  # the client is gone
            return False
        finally:
            if self._call is None or self._call.done():
                self._close()
            else:
                self._call.add_done_callback(lambda _: self._close())
        return offset == end

    @property
    def waits(self) -> bool:
        """Whether the client does not take bytes at the moment."""
        return self._writable is not None

    def stop(self) -> None:
        """End :meth:`send` soon: the connection is closed."""
        self._stopped = True
        self._wake()

    async def _until_writable(self) -> None:
        self._writable = self._loop.create_future()
        self._loop.add_writer(self._socket, self._wake)
        try:
            await self._writable
        finally:
            self._loop.remove_writer(self._socket)
            self._writable = None

    def _wake(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def _close(self) -> None:
        os.close(self._socket)
        os.close(self._file)
