"""What is refused, and why."""

from __future__ import annotations


class RefusedError(Exception):
    """Something does not hold; the message says what, and what was expected."""


class UsageError(Exception):
    """The command line or a file that it names is wrong."""
