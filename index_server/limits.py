"""Limits on connections and requests: their settings, and how many descriptors connections may hold."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import dataclass, replace

from index_server import settings
from index_server.errors import ConfigError
from index_server.settings import Variable

PROBES = frozenset({"/healthz", "/livez", "/readyz", "/metrics"})
"""Paths for those who watch the server. They are answered above the limit of connections, and are not logged."""

SPARE = 16  # connections above the limit; these get PROBES, and 503 for everything else
MOST = 1_000_000  # of any limit
_RESERVED = 128  # descriptors for the store, the threads and the logs


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of the HTTP server. Times are in seconds.

    ``keep_alive`` is longer than the pools of usual proxies keep an idle connection (nginx 60 s, Go 90 s,
    Caddy 120 s). A proxy that keeps it longer than the server sends requests into a closed connection.
    """

    connections: int = 1000
    header_bytes: int = 64 << 10  # request line, header fields and whatever else carries no body
    header_fields: int = 100
    header_seconds: float = 20  # from the first byte, or from the connection, to the end of the header
    keep_alive: float = 130
    body_seconds: float = 30  # without 16 KiB of a body, or its end
    send_seconds: float = 60  # in which a client takes nothing of an answer (TCP_USER_TIMEOUT, tcp(7))


_SETTINGS: Mapping[str, tuple[Variable, type[int] | type[float], int]] = {  # the last one is the least value
    "connections": (settings.MAX_CONNECTIONS, int, 1),
    "header_bytes": (settings.MAX_HEADER_BYTES, int, 1024),
    "header_fields": (settings.MAX_HEADERS, int, 10),
    "header_seconds": (settings.HEADER_TIMEOUT, float, 1),
    "keep_alive": (settings.KEEP_ALIVE, float, 0),
    "body_seconds": (settings.BODY_TIMEOUT, float, 1),
    "send_seconds": (settings.SEND_TIMEOUT, float, 1),
}


def load_limits() -> Limits:
    """Read the limits from the environment; connections never take the last descriptors (getrlimit(2)).

    Raises:
        ConfigError: a variable is no number, or too small; the message lists every fault.
    """
    values: dict[str, float] = {}
    faults = []
    for name, (variable, kind, least) in _SETTINGS.items():
        text = variable.value()
        if text is None:
            continue
        try:
            values[name] = kind(text)
        except ValueError:
            faults.append(f"{variable.name} is {text!r}; write a number")
            continue
        if not least <= values[name] <= MOST:
            faults.append(f"{variable.name} is {text}; write {least} to {MOST}")
    if faults:
        raise ConfigError("\n".join(faults))
    asked = Limits(**values)  # type: ignore[arg-type]  # each value is of the kind that the table states
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return asked
    room = max(soft - SPARE - min(_RESERVED, soft // 2), 1)
    return replace(asked, connections=min(asked.connections, room))
