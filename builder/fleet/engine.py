"""The engine of a run of its own: Temporal's development server over a file in the state folder.

The server listens on loopback alone, and dies with the process that started it. Its file stays when that one is
killed, so that the next run goes on; a run that ends deletes it. This module loads nothing of Temporal's library:
the server starts while the library is loaded.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from builder.errors import EngineError
from builder.index.local import kill_with_parent

NAMESPACE = "default"


class LocalEngine:
    """Temporal's development server for one run, and again if it dies during the run."""

    def __init__(self, file: Path, *, port: int | None = None) -> None:
        self.file = file
        self.port = port or _free_port()
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    @property
    def address(self) -> str:
        """``HOST:PORT`` of the server."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The id of the server's process; 0 without one."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start the server, without waiting until it answers."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._process = self._launch()
        self._keeper.start()

    def stop(self, *, delete: bool = True) -> None:
        """End the server, and ``delete`` its file."""
        self._ended.set()
        if self._process is not None:
            # Killed: it would wait for its pollers first. What it acknowledged is in its file.
            self._process.kill()
            self._process.wait()
            if self._keeper.is_alive():
                self._keeper.join()
        for suffix in ("", "-wal", "-shm") if delete else ():
            Path(f"{self.file}{suffix}").unlink(missing_ok=True)

    def _launch(self) -> subprocess.Popen[bytes]:
        # Write-ahead logging: what was acknowledged survives the death of the process, at a third of the time.
        pragmas = ("journal_mode=wal", "synchronous=normal")
        with self.file.with_suffix(".log").open("wb") as log:
            return subprocess.Popen(
                [
                    *(str(Path(sys.executable).parent / "temporal"), "server", "start-dev", "--headless"),
                    *("--ip", "127.0.0.1", "--port", str(self.port), "--db-filename", str(self.file)),
                    *(part for pragma in pragmas for part in ("--sqlite-pragma", pragma)),
                    *("--namespace", NAMESPACE, "--log-level", "error", "--disable-config-file"),
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
    with _held(home, name, f"another run of {name} is going on"):
        engine = LocalEngine(home / f"engine/{name}.db")
        engine.start()
        try:
            yield engine
        finally:
            engine.stop()


@contextmanager
def served_engine(home: Path, port: int) -> Iterator[LocalEngine]:
    """The engine that a machine keeps, at ``port``. Its file stays.

    Raises:
        EngineError: one is running already, or another program has the port.
    """
    with _held(home, "served", "another engine is running"):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError as error:
                raise EngineError(f"port {port} on loopback cannot be used: {error.strerror}") from error
        engine = LocalEngine(home / "engine/served.db", port=port)
        engine.start()
        try:
            yield engine
        finally:
            engine.stop(delete=False)


@contextmanager
def _held(home: Path, name: str, taken: str) -> Iterator[None]:
    """Hold the lock of an engine's file."""
    folder = home / "engine"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise EngineError(f"{taken} in {home}") from None
    try:
        yield
    finally:
        lock.release()


def _free_port() -> int:
    with suppress(OSError), socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
    raise EngineError("no port on loopback is free")
