"""The worker process that checks wheels for :mod:`index_server.intake.pool`, one at a time, with resource limits.

It writes no file and has no credentials. It communicates over one socket, its standard input. A message is a frame:
the lengths of head and tail in bytes, as two unsigned 32-bit integers in network byte order, then both. The head is
JSON. The tail has the bytes of a small wheel in a job, and those of METADATA in an answer about a valid wheel.
"""

from __future__ import annotations

import dataclasses
import resource
import socket
import struct
import sys
import traceback
from pathlib import Path
from typing import Any

import orjson
from jsonschema import Draft202012Validator

from index_server.intake.wheel import WheelContents, read_wheel
from index_server.names import parse_name
from index_server.targets import Target, Targets

MEMORY = 512 << 20  # bytes of address space
KEPT = (
    160 << 20
)  # resident bytes above which a process ends, since Python returns little memory to the system
MAX_JOB = 1 << 20  # bytes
FRAME = struct.Struct("!II")


class ClosedError(Exception):
    """The process at the other end of the socket closed it."""


def send(channel: socket.socket, head: object, tail: bytes = b"") -> None:
    """Write one frame."""
    data = orjson.dumps(head)
    channel.sendall(FRAME.pack(len(data), len(tail)) + data + tail)


def receive(channel: socket.socket, limit: int) -> tuple[Any, bytes]:
    """Read one frame.

    Raises:
        ClosedError: the other end closed the socket, or the frame is larger than ``limit`` bytes.
    """
    head, tail = FRAME.unpack(_exactly(channel, FRAME.size))
    if head + tail > limit:
        raise ClosedError
    return orjson.loads(_exactly(channel, head)), _exactly(channel, tail)


def _exactly(channel: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = channel.recv(size - len(data))
        if not piece:
            raise ClosedError
        data += piece
    return bytes(data)


def serve(channel: socket.socket) -> None:
    """Check wheels until the server closes the socket, or this process uses too much memory."""
    rules, _ = receive(channel, 1 << 24)
    targets, passport = (
        Targets(Target(name, "", (), ()) for name in rules["targets"]),
        Draft202012Validator(rules["passport"]),
    )
    send(channel, "ready")
    while True:
        job, data = receive(channel, MAX_JOB)
        _allow_cpu(job["cpu"])
        try:
            content = Path(job["path"]) if job["path"] else data
            name = parse_name(job["filename"])
            wheel = read_wheel(content, name, targets, passport, mirrored=job["mirrored"])
        except MemoryError:
            wheel = WheelContents()
            wheel.faults.append(f"checking it costs too much: more than {MEMORY >> 20} MiB of memory")
        except Exception as error:  # a malformed file must not end the worker with any exception
            traceback.print_exc()
            wheel = WheelContents()
            wheel.faults.append(f"it cannot be checked: {type(error).__name__}")
        last = _resident() > KEPT
        head = {
            "faults": list(wheel.faults),
            "facts": dataclasses.asdict(wheel.facts) if wheel.facts else None,
            "tuned": wheel.tuned.model_dump() if wheel.tuned else None,
            "last": last,
        }
        send(channel, head, b"" if wheel.faults else wheel.metadata)
        if last:
            return


def _resident() -> int:
    """Return this process's resident memory in bytes (proc(5)).

    ``ru_maxrss`` would include the server's memory before the exec (getrusage(2)).
    """
    pages = Path("/proc/self/statm").read_bytes().split()[1]
    return int(pages) * resource.getpagesize()


def _allow_cpu(seconds: int) -> None:
    """Make the kernel end this process after this many more seconds of CPU time (RLIMIT_CPU, setrlimit(2))."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))


def main() -> None:
    """Set the resource limits of the process, then serve the socket on standard input."""
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        _, hard = resource.getrlimit(limit)
        ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (ceiling, ceiling))
    with socket.socket(fileno=0) as channel:
        try:
            serve(channel)
        except (ClosedError, ConnectionError):
            sys.exit(0)


if __name__ == "__main__":
    main()
