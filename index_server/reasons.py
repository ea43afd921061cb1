"""The reasons of a refusal, bounded in number and in length."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Self

from index_server.secret import redact

MAX_REASONS = 50
MAX_COMPARED = 100  # characters of an unknown name that are compared with known ones
MAX_REASON = 500  # characters; a file name alone may take 200


class Reasons:
    """Collects reasons: at most :data:`MAX_REASONS` lines, each cut to :data:`MAX_REASON` characters.

    Where there are more, the last line says how many. A malformed file can have a fault in each of its millions
    of rows; neither memory nor an answer may grow with them.
    """

    def __init__(self, reasons: Iterable[str] = ()) -> None:
        self._kept: list[str] = []
        self._more = 0
        self += reasons

    def append(self, reason: str) -> None:
        """Add a reason, without the tokens that stand in it; what UTF-8 cannot hold is escaped."""
        if len(self._kept) == MAX_REASONS:
            self._more += 1
            return
        text = redact(reason).encode("utf-8", "backslashreplace").decode()
        half = MAX_REASON // 2 - 2  # what is wrong often stands at the end, after what the client sent
        self._kept.append(text if len(text) <= MAX_REASON else f"{text[:half]}...{text[-half:]}")

    def __iadd__(self, reasons: Iterable[str]) -> Self:
        if isinstance(reasons, Reasons):
            self._more += reasons._more
            reasons = reasons._kept
        for reason in reasons:
            self.append(reason)
        return self

    def __iter__(self) -> Iterator[str]:
        if not self._more:
            return iter(self._kept)
        return iter([*self._kept[:-1], f"and {self._more + 1} more"])

    @property
    def full(self) -> bool:
        """Whether further reasons would only be counted."""
        return len(self._kept) == MAX_REASONS

    def __bool__(self) -> bool:
        return bool(self._kept)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Advice to be added to a message about an unknown name; empty if no known one is near."""
    near = difflib.get_close_matches(name[:MAX_COMPARED].lower(), sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
