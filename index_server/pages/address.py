"""The address under which others reach this server: behind a proxy, below a path, through TLS."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from posixpath import relpath
from typing import Any

_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]+)?\Z|\[[0-9A-Fa-f:]+\](:[0-9]+)?\Z")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~+@-]+)*\Z")  # no empty part: `//host` would name another server


@dataclass(frozen=True)
class Proxies:
    """Which peers may say how a client reached them, and the path below which all clients come.

    A trusted peer's ``X-Forwarded-Proto``, ``X-Forwarded-Host`` and ``X-Forwarded-Prefix`` replace what the
    request itself says.
    """

    root_path: str = ""  # without a slash at its end
    trusted: tuple[IPv4Network | IPv6Network, ...] = field(default_factory=lambda: networks("127.0.0.1,::1"))

    def base(self, scope: MutableMapping[str, Any], headers: Mapping[bytes, str]) -> str:
        """The address of the index as the client has it, without a slash at its end."""
        scheme, host, prefix = scope["scheme"], headers.get(b"host", ""), self.root_path
        if self._trusts(scope.get("client")):
            proto = _first(headers.get(b"x-forwarded-proto"))
            scheme = proto if proto in ("http", "https") else scheme
            host = _first(headers.get(b"x-forwarded-host")) or host
            told = _first(headers.get(b"x-forwarded-prefix")).rstrip("/")
            prefix = told if told and is_prefix(told) else prefix
        if not _HOST.match(host):
            server = scope.get("server") or ("localhost", 80)
            host = f"{server[0]}:{server[1]}"
        return f"{scheme}://{host}{prefix}"

    def _trusts(self, client: tuple[str, int] | None) -> bool:
        try:
            address = ip_address(client[0] if client else "")
        except ValueError:
            return False
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address
        return any(address in network for network in self.trusted)


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Addresses and networks, separated by commas; ``*`` is every address.

    Raises:
        ValueError: one is none.
    """
    if text.strip() == "*":
        return ip_network("0.0.0.0/0"), ip_network("::/0")
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def is_prefix(text: str) -> bool:
    """Whether a text is a path that a proxy may serve the index below."""
    parts = text.split("/")
    return _PREFIX.match(text) is not None and "." not in parts and ".." not in parts


def relative(path: str, target: str) -> str:
    """A reference from one path to another; both begin with a slash, and a slash at the end is kept.

    Relative references hold below any prefix, whatever the proxy says of it (RFC 3986 section 4.2).
    """
    start = path.rpartition("/")[0] or "/"
    slash = "/" if target.endswith("/") else ""
    found = relpath(target, start) + slash
    return f"./{found}" if ":" in found.partition("/")[0] else found


def up(path: str) -> str:
    """The reference from a path to the root of the index."""
    return "../" * (path.count("/") - 1) or "./"


def secure(base: str | None) -> str | None:
    """An address if it is a secure origin, as links to provenance must be (PEP 740): TLS, or this machine."""
    local = re.match(r"http://(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?(/|\Z)", base or "")
    return base if base is not None and (base.startswith("https://") or local) else None


def _first(value: str | None) -> str:
    """The first of several values: each proxy appends its own."""
    return (value or "").partition(",")[0].strip()
