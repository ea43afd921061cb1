"""The engine of a run: Temporal's development server over a file in the state folder, or a cluster.

The server listens on loopback alone, and dies with the process that started it. Its file stays when that process is
killed, so that the next run goes on; a run that ends deletes it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from builder.errors import ConfigError, EngineError
from builder.index.local import kill_with_parent

START_SECONDS = 60  # until a server must answer
_NAMESPACE = "default"


class LocalEngine:
    """Temporal's development server for one run, and again if it dies during the run."""

    def __init__(self, file: Path, *, port: int | None = None) -> None:
        self.file = file
        self._port = port or _free_port()
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    @property
    def address(self) -> str:
        """``HOST:PORT`` of the server."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The id of the server's process; 0 without one."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start the server, without waiting until it answers."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._process = self._launch()
        self._keeper.start()

    def stop(self) -> None:
        """End the server and delete its file."""
        self._ended.set()
        if self._process is not None:
            # Killed: it would wait for its pollers first. What it acknowledged is in its file.
            self._process.kill()
            self._process.wait()
            if self._keeper.is_alive():
                self._keeper.join()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.file}{suffix}").unlink(missing_ok=True)

    def _launch(self) -> subprocess.Popen[bytes]:
        # Write-ahead logging: what was acknowledged survives the death of the process, at a third of the time.
        pragmas = ("journal_mode=wal", "synchronous=normal")
        with self.file.with_suffix(".log").open("wb") as log:
            return subprocess.Popen(
                [
                    *(str(Path(sys.executable).parent / "temporal"), "server", "start-dev", "--headless"),
                    *("--ip", "127.0.0.1", "--port", str(self._port), "--db-filename", str(self.file)),
                    *(part for pragma in pragmas for part in ("--sqlite-pragma", pragma)),
                    *("--namespace", _NAMESPACE, "--log-level", "error", "--disable-config-file"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C goes to the whole group of a terminal: the run decides when the server ends.
                start_new_session=True,
                preexec_fn=kill_with_parent,
            )

    def _keep(self) -> None:
        """Start the server again when it dies. Its file has all that it acknowledged."""
        while not self._ended.wait(0.2):
            if self._process is not None and self._process.poll() is not None:
                if self._ended.wait(1):
                    return
                self._process = self._launch()


@contextmanager
def local_engine(home: Path, name: str) -> Iterator[LocalEngine]:
    """An engine of a run called ``name``. One run of a name at a time has it.

    Raises:
        EngineError: another run of that name is going on.
    """
    folder = home / "engine"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / f"{name}.lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise EngineError(f"another run of {name} is going on in {home}; wait for its end") from None
    engine = LocalEngine(folder / f"{name}.db")
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
        lock.release()


async def connect(address: str, *, seconds: float = START_SECONDS) -> Client:
    """A client of the server at ``HOST:PORT``.

    Raises:
        ConfigError: the address is none.
        EngineError: the server does not answer within ``seconds``.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"ARMWHEELS_TEMPORAL is {address!r}; write HOST:PORT, such as 127.0.0.1:7233")
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await Client.connect(
                address,
                namespace=_NAMESPACE,
                data_converter=pydantic_data_converter,
                runtime=_runtime(),
                identity=f"{socket.gethostname()}-{os.getpid()}",
            )
        except RuntimeError as error:
            if time.monotonic() > deadline:
                raise EngineError(f"Temporal at {address} does not answer: {error}") from error
            await asyncio.sleep(0.05)


_RUNTIME: list[Runtime] = []


def _runtime() -> Runtime:
    """The library's runtime, which logs nothing: what matters reaches the user as an error."""
    if not _RUNTIME:
        quiet = LoggingConfig(filter=TelemetryFilter(core_level="OFF", other_level="OFF"))
        _RUNTIME.append(Runtime(telemetry=TelemetryConfig(logging=quiet)))
    return _RUNTIME[0]


def _free_port() -> int:
    with suppress(OSError), socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
    raise EngineError("no port on loopback is free")
