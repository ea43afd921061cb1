"""ASGI extensions that the HTTP server offers in a scope (ASGI specification, section "Extensions").

``http.response.zerocopysend`` is the specification's: the kernel sends a part of a file. ``armwheels.again`` is our
own. An application calls it to say that the answer which it sends next may be sent again, to a request with the
same bytes, for as long as the answer holds::

    scope["extensions"]["armwheels.again"](holds)

``holds(client)`` is asked before each repetition, with the peer's address as in a scope. Such a request does not
reach the application. So middleware that has to see each request wraps ``holds``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, BinaryIO

AGAIN = "armwheels.again"
ZERO_COPY = "http.response.zerocopysend"
Scope = MutableMapping[str, Any]
Client = tuple[str, int] | None
Holds = Callable[[Client], bool]


def offer_again(scope: Scope, holds: Holds) -> None:
    """Say that the next answer may be sent again while it ``holds``."""
    offer = _extensions(scope).get(AGAIN)
    if offer is not None:
        offer(holds)


def wrap_again(scope: Scope, wrap: Callable[[Holds], Holds]) -> Scope:
    """Return the scope for an inner application, whose ``holds`` is wrapped."""
    offer = _extensions(scope).get(AGAIN)
    if offer is None:
        return scope
    return {**scope, "extensions": {**_extensions(scope), AGAIN: lambda holds: offer(wrap(holds))}}


def sends_files(scope: Scope) -> bool:
    """Whether the server sends parts of files."""
    return ZERO_COPY in _extensions(scope)


def part_of_file(file: BinaryIO, start: int, stop: int) -> MutableMapping[str, Any]:
    """The message that sends the bytes of a file from ``start`` up to ``stop`` as the rest of an answer's body."""
    return {
        "type": ZERO_COPY,
        "file": file.fileno(),
        "offset": start,
        "count": stop - start,
        "more_body": False,
    }


def _extensions(scope: Scope) -> Mapping[str, Any]:
    found: Mapping[str, Any] | None = scope.get("extensions")
    return found or {}
