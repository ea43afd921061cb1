"""Checks wheels outside the server's process, each within what its size warrants.

A worker (:mod:`index_server.intake.worker`) is a process of its own. The kernel limits its memory and its CPU time,
this side its time and the length of its answer. One that passes a limit, or dies, is a reason to refuse the wheel.
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
CPU_SECONDS_PER_MB = 0.5  # more: unpacking and hashing a sound wheel takes some 0.02
WALL_SECONDS = 30  # for any wheel, besides
WALL_PER_CPU = 4  # times its CPU time, on a busy machine
COMMAND = (sys.executable, "-P", "-m", "index_server.intake.worker")
MAX_ANSWER = MAX_METADATA + (1 << 20)  # bytes
START_SECONDS = 60  # until a new worker answers
_Slots = queue.LifoQueue["_Worker | None"]
_PASSED_ON = ("PYTHON", "LANG", "LC_", "PATH", "LD_LIBRARY_PATH", "TZ")  # no credentials


class Pool:
    """Workers that live until the pool does; started when first needed, and again after one has ended."""

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

    def check(self, path: Path, name: WheelName, *, mirrored: bool = False) -> WheelContents:
        """Check the wheel at ``path``; waits for a worker that is free. What ends a worker is the wheel's fault.

        Raises:
            NotNowError: no worker can be started.
        """
        worker = self._slots.get()
        try:
            worker = worker or _Worker(self._command, self._rules)
            return worker.check(path, name.filename, mirrored=mirrored)
        finally:
            self._slots.put(worker if worker and worker.alive else None)


def shared_pool(targets: Targets, passport: Draft202012Validator) -> Pool:
    """The pool of this process for these rules, with a worker for each processor, two at least."""
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
    """One process, and this side of its socket."""

    def __init__(self, command: Sequence[str], rules: object) -> None:
        self._channel, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env={key: value for key, value in os.environ.items() if key.startswith(_PASSED_ON)},
                    start_new_session=True,  # Ctrl-C is for the server, which lets running checks finish
                )
        except OSError as error:
            self._channel.close()
            raise NotNowError(f"this index cannot check wheels now: {error.strerror}") from error
        self.alive = True
        try:
            self._ask(rules, START_SECONDS)
        except (ClosedError, OSError) as error:
            self.end()
            raise NotNowError("this index cannot check wheels now: no process for it starts") from error

    def check(self, path: Path, filename: str, *, mirrored: bool) -> WheelContents:
        cpu = math.ceil(CPU_SECONDS + CPU_SECONDS_PER_MB * path.stat().st_size / 1e6)
        wall = WALL_SECONDS + WALL_PER_CPU * cpu
        try:
            job = {"path": str(path), "filename": filename, "mirrored": mirrored, "cpu": cpu}
            answer, metadata = self._ask(job, wall)
        except TimeoutError:
            self.end()
            return _refused(f"checking it costs too much: more than {wall} seconds")
        except (ClosedError, OSError):
            code = self.end()
            if code == -signal.SIGXCPU:
                return _refused(f"checking it costs too much: more than {cpu} seconds of CPU")
            return _refused(f"checking it costs too much: it ended the process that did so ({code})")
        if answer["last"]:
            self.end()
        return WheelContents(
            Reasons(answer["faults"]),
            metadata,
            Facts(**answer["facts"]) if answer["facts"] else None,
            Tuned.model_validate(answer["tuned"]) if answer["tuned"] else None,
        )

    def end(self) -> int:
        """End the process; gives its exit code, negative for a signal."""
        self.alive = False
        self._channel.close()
        with suppress(subprocess.TimeoutExpired):  # it ends by itself, since its socket is closed
            return self._process.wait(0.2)
        self._process.kill()
        return self._process.wait()

    def _ask(self, head: object, seconds: float) -> tuple[Any, bytes]:
        self._channel.settimeout(seconds)
        send(self._channel, head)
        return receive(self._channel, MAX_ANSWER)


def _refused(reason: str) -> WheelContents:
    return WheelContents(Reasons([reason]))
