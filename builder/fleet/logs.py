"""The log of a stage: what it says it does, and the output of its compile, sent to the index while it runs."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from builder.compile import FINISHED
from builder.errors import PublishError
from builder.index.client import Index

_SOONEST, _LATEST = 2.0, 60.0
"""Seconds between two parts: each wait is half as long again as the one before."""
_LARGEST = 1 << 20  # bytes of a part
_KEPT = 16 << 20  # bytes that wait for an index that does not answer; the oldest are dropped


class Log:
    """Collects lines and the growth of a file, and sends them in parts. Its own failures harm no build.

    The name of a part has the time at which the stage began and the attempt, so that a worker that was taken for
    dead writes over nothing.
    """

    def __init__(self, index: Index, build: str, night: str, stage: str, attempt: int, file: Path) -> None:
        self._index, self._build, self._night, self._file = index, build, night, file
        self._prefix = f"{int(time.time() * 1000):013d}-{attempt}-{stage}"
        self._read = file.stat().st_size if file.is_file() else 0
        self._number = 0
        self._text = ""
        self._wait = _SOONEST
        self._said = ""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        # A thread of its own: an index that hangs must hold up neither the stage nor its heartbeats.
        self._sender = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Log:
        self._sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._sender.join()

    def _run(self) -> None:
        while not self._ended.wait(self._wait):
            self.send()
            self._wait = min(self._wait * 1.5, _LATEST)
        self.send()

    def say(self, what: str) -> None:
        """Add a line about what the stage does now."""
        if what in (self._said, FINISHED):
            return
        self._said = what
        with self._lock:
            self._collect()
            self._text += f"[{datetime.now(UTC):%H:%M:%S}] {what}\n"

    def send(self) -> None:
        """Send what has come since the last time."""
        with self._lock:
            self._collect()
            text, self._text = self._text, ""
        while text:
            part, rest = text[:_LARGEST], text[_LARGEST:]
            try:
                self._index.add_log(self._build, self._night, f"{self._prefix}-{self._number:05d}", part)
            except PublishError:
                with self._lock:
                    self._text = (text + self._text)[-_KEPT:]
                break
            self._number, text = self._number + 1, rest

    def _collect(self) -> None:
        """Take what the compile wrote since the last time; a new file is read from its start."""
        try:
            size = self._file.stat().st_size
            if size < self._read:
                self._read = 0
            with self._file.open("rb") as file:
                file.seek(self._read)
                new = file.read(_KEPT)
        except FileNotFoundError:
            return
        self._read += len(new)
        self._text += new.decode("utf-8", "replace")
