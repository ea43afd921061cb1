"""Checks wheels in worker processes, with limits that depend on the size of the wheel.

Each worker (:mod:`index_server.intake.worker`) is a separate process. The kernel limits its memory and CPU time.
This module limits the elapsed time and the length of the answer. If a worker exceeds a limit or dies, the wheel is
refused.
"""

from __future__ import annotations

import math
import os
import queue
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
from jsonschema import Draft202012Validator

from index_server.errors import NotNowError
from index_server.intake.metadata import Facts
from index_server.intake.wheel import MAX_METADATA, WheelContents
from index_server.intake.worker import ClosedError, receive, send
from index_server.model import Tuned
from index_server.names import WheelName
from index_server.reasons import Reasons
from index_server.targets import Targets

CPU_SECONDS = 5  # for any wheel
CPU_SECONDS_PER_MB = 0.5  # in addition; unpacking and hashing a valid wheel takes about 0.02
WALL_SECONDS = 30  # elapsed, for any wheel
WALL_PER_CPU = 4  # elapsed seconds in addition, per allowed CPU second: the machine may be busy
COMMAND = (sys.executable, "-P", "-m", "index_server.intake.worker")
MAX_ANSWER = MAX_METADATA + (1 << 20)  # bytes
START_SECONDS = 60  # until a new worker answers
_Slots = queue.LifoQueue["_Worker | None"]
_PASSED_ON = ("PYTHON", "LANG", "LC_", "PATH", "LD_LIBRARY_PATH", "TZ")  # no credentials


class Pool:
    """A pool of workers. A worker is started on demand, replaced after it ended, and ended with the pool."""

    def __init__(
        self, targets: Sequence[str], passport: object, workers: int, command: Sequence[str] = COMMAND
    ) -> None:
        self.workers = workers
        self._command = command
        self._rules = {"targets": targets, "passport": passport}
        self._slots: _Slots = queue.LifoQueue()
        for _ in range(workers):
            self._slots.put(None)
        self.close = weakref.finalize(self, _close, self._slots)

    def check(self, content: Path | bytes, name: WheelName, *, mirrored: bool = False) -> WheelContents:
        """Check a wheel, a file or its bytes, after waiting for a free worker.

        If the worker dies, the wheel has a fault.

        Raises:
            NotNowError: no worker can be started.
        """
        worker = self._slots.get()
        try:
            worker = worker or _Worker(self._command, self._rules)
            return worker.check(content, name.filename, mirrored=mirrored)
        finally:
            self._slots.put(worker if worker and worker.alive else None)


def shared_pool(targets: Targets, passport: Draft202012Validator) -> Pool:
    """Return this process's pool for these targets and this schema. It has a worker per processor, at least two."""
    return _pool_of(tuple(sorted(targets.by_name)), orjson.dumps(passport.schema))


@lru_cache(maxsize=4)
def _pool_of(targets: tuple[str, ...], passport: bytes) -> Pool:
    return Pool(targets, orjson.loads(passport), max(2, len(os.sched_getaffinity(0))))


def _close(slots: _Slots) -> None:
    with suppress(queue.Empty):
        while True:
            worker = slots.get_nowait()
            if worker is not None:
                worker.end()


class _Worker:
    """A worker process, and the server's end of the socket to it."""

    def __init__(self, command: Sequence[str], rules: object) -> None:
        self._channel, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env={key: value for key, value in os.environ.items() if key.startswith(_PASSED_ON)},
                    start_new_session=True,  # Ctrl-C stops the server, which waits for running checks
                )
        except OSError as error:
            self._channel.close()
            raise NotNowError(f"this index cannot check wheels now: {error.strerror}") from error
        self.alive = True
        try:
            self._ask(rules, START_SECONDS)
        except (ClosedError, OSError) as error:
            self.end()
            raise NotNowError(
                "this index cannot check wheels now: the worker process does not start"
            ) from error

    def check(self, content: Path | bytes, filename: str, *, mirrored: bool) -> WheelContents:
        path, data = (str(content), b"") if isinstance(content, Path) else ("", content)
        size = content.stat().st_size if isinstance(content, Path) else len(data)
        cpu = math.ceil(CPU_SECONDS + CPU_SECONDS_PER_MB * size / 1e6)
        wall = WALL_SECONDS + WALL_PER_CPU * cpu
        try:
            job = {"path": path, "filename": filename, "mirrored": mirrored, "cpu": cpu}
            answer, metadata = self._ask(job, wall, data)
        except TimeoutError:
            self.end()
            return _refused(f"checking it costs too much: more than {wall} seconds")
        except (ClosedError, OSError):
            code = self.end()
            if code == -signal.SIGXCPU:
                return _refused(f"checking it costs too much: more than {cpu} seconds of CPU")
            return _refused(f"checking it costs too much: the worker process failed (exit code {code})")
        if answer["last"]:
            self.end()
        return WheelContents(
            Reasons(answer["faults"]),
            metadata,
            Facts(**answer["facts"]) if answer["facts"] else None,
            Tuned.model_validate(answer["tuned"]) if answer["tuned"] else None,
        )

    def end(self) -> int:
        """End the process and return its exit code, which is negative after a signal."""
        self.alive = False
        self._channel.close()
        with suppress(subprocess.TimeoutExpired):  # it ends by itself when its socket is closed
            return self._process.wait(0.2)
        self._process.kill()
        return self._process.wait()

    def _ask(self, head: object, seconds: float, data: bytes = b"") -> tuple[Any, bytes]:
        self._channel.settimeout(seconds)
        send(self._channel, head, data)
        return receive(self._channel, MAX_ANSWER)


def _refused(reason: str) -> WheelContents:
    return WheelContents(Reasons([reason]))
