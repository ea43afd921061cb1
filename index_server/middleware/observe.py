"""Observes every request: metrics for Prometheus at ``/metrics``, and an access log of JSON lines.

The log has neither headers with credentials nor the addresses in which a token was sent. Labels of metrics come
from fixed sets, so that no client can make more of them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index_server.extensions import ZERO_COPY, Client, Holds, wrap_again
from index_server.limits import PROBES
from index_server.secret import holds_token

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"  # where the processes of one server add up their numbers
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
_HIDDEN = "[a token was sent here]"


class Metrics:
    """The numbers of one application."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "armwheels_requests",
            "Answered requests, by what they asked for.",
            ["kind", "method", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "armwheels_request_seconds",
            "Seconds from the first byte of a request to the last of its answer.",
            ["kind"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.sent = Counter("armwheels_sent_bytes", "Bytes of answers' bodies.", ["kind"], registry=registry)
        self.running = Gauge(
            "armwheels_requests_running",
            "Requests that are being answered.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.stale = Counter(
            "armwheels_stale_answers",
            "Answers from memory or disk while the store was away.",
            registry=registry,
        )

    def text(self) -> bytes:
        """Return all numbers in Prometheus's text format; of all processes where there are several."""
        if MULTIPROCESS not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


class Observe:
    """Counts requests, and writes a line for each if ``write`` is given."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, write: Callable[[bytes], object] | None = None
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._write = write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        status, sent, stale = 500, 0, False

        async def watched(message: Message) -> None:
            nonlocal status, sent, stale
            if message["type"] == "http.response.start":
                status = message["status"]
                stale = any(name == b"x-armwheels-stale" for name, _ in message.get("headers", ()))
            elif message["type"] == ZERO_COPY:
                sent += message["count"]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        def observed(holds: Holds) -> Holds:
            return self._observe_again(scope, holds, lambda: (status, sent))

        metrics = self._metrics
        metrics.running.inc()
        try:
            await self._app(wrap_again(scope, observed), receive, watched)
        finally:
            metrics.running.dec()
            seconds = time.perf_counter() - begun
            kind, method = kind_of(scope["path"]), scope["method"]
            metrics.requests.labels(kind, method if method in _METHODS else "other", str(status)).inc()
            metrics.seconds.labels(kind).observe(seconds)
            metrics.sent.labels(kind).inc(sent)
            if stale:
                metrics.stale.inc()
            if self._write is not None and scope["path"] not in PROBES:
                self._write(_line(scope, status, sent, seconds, stale=stale))

    def _observe_again(self, scope: Scope, holds: Holds, answer: Callable[[], tuple[int, int]]) -> Holds:
        """Count each repetition of an answer. ``answer`` gives its status and size once it is sent."""
        kind, metrics = kind_of(scope["path"]), self._metrics
        seconds, sent = metrics.seconds.labels(kind), metrics.sent.labels(kind)
        requests: Counter | None = None

        def holds_observed(client: Client) -> bool:
            nonlocal requests
            begun = time.perf_counter()
            if not holds(client):
                return False
            status, size = answer()
            if requests is None:
                requests = metrics.requests.labels(kind, scope["method"], str(status))
            requests.inc()
            sent.inc(size)
            took = time.perf_counter() - begun
            seconds.observe(took)
            if self._write is not None:
                self._write(_line({**scope, "client": client}, status, size, took, stale=False))
            return True

        return holds_observed


def kind_of(path: str) -> str:
    """Return what a path asks for, of a fixed set of kinds."""
    if path in PROBES:
        return "probe"
    first = path.split("/", 2)[1] if path.startswith("/") else ""
    if first == "files":
        return "metadata" if path.endswith(".metadata") else "file"
    if first in ("api", "upload"):
        return "cache" if path.startswith("/api/cache/") else first
    return "page" if "/simple/" in path else "people"


def _line(scope: Scope, status: int, sent: int, seconds: float, *, stale: bool) -> bytes:
    query = scope["query_string"].decode("latin-1")
    agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
    client = scope.get("client")
    line: dict[str, object] = {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "client": client[0] if client else None,
        "method": scope["method"],
        "path": _shown(scope["path"]),
        "query": _shown(query),
        "status": status,
        "bytes": sent,
        "seconds": round(seconds, 6),
        "agent": _shown(agent.decode("latin-1")),
    }
    if stale:
        line["stale"] = True
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _shown(text: str) -> str:
    return _HIDDEN if holds_token(text) else text


def to_standard_output(line: bytes) -> None:
    """Write a line at once: it must not wait in a buffer while the server stands still."""
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
