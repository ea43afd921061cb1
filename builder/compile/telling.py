"""Finds the lines of a build's output that name the cause of its failure. Pure.

Of a traceback of Python that is the exception, of an error of CMake its message, of a compiler's error the line and
the two that follow it, which show the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile

_TRACEBACK = re.compile(r"\s*(\+ Exception Group )?Traceback \(most recent call last\):")
_CMAKE = re.compile(r"\s*CMake Error\b")
_ERROR = re.compile(r"\berror(\[E\d+\])?: |\bError: |\bERROR\b|^FAILED: |undefined reference|\bfatal: ")
_CAUSES = 3
"""Causes that are shown. Later errors are mostly reports of the first ones."""
_WIDTH = 300
_CMAKE_LINES = 6


def telling_lines(output: str, *, most: int = 12) -> str:
    """Return at most ``most`` lines that name the first causes of a failure, or the last lines if none does."""
    lines = output.splitlines()
    chosen: dict[int, None] = {}
    causes = 0
    for cause in _causes(lines):
        if chosen.keys().isdisjoint(cause):
            causes += 1
        if causes > _CAUSES:
            break
        chosen |= dict.fromkeys(cause)
    shown = sorted(chosen)[:most] if chosen else range(max(0, len(lines) - most), len(lines))
    return "\n".join(lines[number][:_WIDTH] for number in shown)


def _causes(lines: Sequence[str]) -> Iterator[list[int]]:
    """Yield the numbers of the lines of each cause, in the order of the output."""
    behind = 0
    for number, line in enumerate(lines):
        if number < behind:
            continue
        if _TRACEBACK.match(line):
            cause = _exception(lines, number)
            behind = cause[-1] + 1 if cause else number
        elif _CMAKE.match(line):
            cause = _message(lines, number)
        elif _ERROR.search(line):
            cause = _paragraph(lines, number)
        else:
            continue
        if cause:
            yield cause


def _exception(lines: Sequence[str], traceback: int) -> list[int]:
    """The lines of the exception that ends a traceback: those after its frames, which are indented."""
    indent = _indent(lines[traceback])
    number = traceback + 1
    while number < len(lines) and (not lines[number].strip() or _indent(lines[number]) > indent):
        number += 1
    return _paragraph(lines, number)


def _paragraph(lines: Sequence[str], number: int) -> list[int]:
    """A line and up to two that follow it without an empty one."""
    return list(takewhile(lambda near: lines[near].strip(), range(number, min(number + 3, len(lines)))))


def _message(lines: Sequence[str], number: int) -> list[int]:
    """The lines of an error of CMake: its place and its text, up to the call stack."""
    found = [number]
    for near in range(number + 1, len(lines)):
        text = lines[near].strip()
        if text.startswith("Call Stack") or (text and _indent(lines[near]) <= _indent(lines[number])):
            break
        if text:
            found.append(near)
        if len(found) == _CMAKE_LINES:
            break
    return found


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
