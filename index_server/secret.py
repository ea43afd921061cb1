"""How tokens are spelled, and how they are kept out of what others read."""

from __future__ import annotations

import re

PREFIX = "awt_"  # lets secret scanners recognise a token
_TOKEN = re.compile(
    PREFIX + r"(?=[a-z0-9_-]*[A-Z])[A-Za-z0-9_-]{43}"
)  # 43 characters are 256 bits (RFC 4648)


def holds_token(text: str) -> bool:
    """Whether a token stands in a text."""
    return _TOKEN.search(text) is not None


def redact(text: str) -> str:
    """The text with every token shortened to its prefix."""
    return _TOKEN.sub(f"{PREFIX}...", text)
