"""Content negotiation of simple pages: media type, encoding and ETag (RFC 9110 sections 12 and 13, PEP 691)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
TEXT = "text/html"
_LATEST = {
    "application/vnd.pypi.simple.latest+json": JSON,
    "application/vnd.pypi.simple.latest+html": HTML,
}
# A client that names types gets JSON rather than HTML; one that accepts anything is a browser.
_NAMED_ORDER = (JSON, HTML, TEXT)
_WILD_ORDER = (TEXT, JSON, HTML)
_ENCODINGS = ("zstd", "gzip", "identity")  # the smallest first


_KEPT = 300  # characters of a header whose answer is kept; pip and uv send 150


def header_fields(lines: Iterable[tuple[bytes, bytes]]) -> dict[bytes, str]:
    """The header's fields by their lower-case names. Lines of one name are one list (RFC 9110 section 5.3)."""
    found: dict[bytes, str] = {}
    for name, value in lines:
        text = value.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def negotiate_type(accept: str | None) -> str | None:
    """The media type to answer with (RFC 9110 section 12.5.1, PEP 691); None if none is acceptable."""
    return _kept_type(accept) if accept is None or len(accept) <= _KEPT else _type(accept)


def negotiate_encoding(accept: str | None) -> str:
    """The content encoding to answer with (RFC 9110 section 12.5.3)."""
    return _kept_encoding(accept) if accept is None or len(accept) <= _KEPT else _encoding(accept)


def _type(accept: str | None) -> str | None:
    if not accept or not accept.strip():
        return TEXT
    ranges = _qualities(accept)
    best: tuple[float, int, int] | None = None
    chosen = None
    for media in (JSON, HTML, TEXT):
        quality, precision = _match(media, ranges)
        order = _NAMED_ORDER if precision == 2 else _WILD_ORDER
        rank = (quality, precision, -order.index(media))
        if quality > 0 and (best is None or rank > best):
            best, chosen = rank, media
    return chosen


def _encoding(accept: str | None) -> str:
    ranges = _qualities(accept or "")
    best = "identity"
    best_quality = 0.0
    for encoding in _ENCODINGS:
        default = 0.001 if encoding == "identity" else ranges.get("*", 0.0)
        quality = ranges.get(encoding, default)
        if quality > best_quality:
            best, best_quality = encoding, quality
    return best


_kept_type = lru_cache(maxsize=256)(_type)
_kept_encoding = lru_cache(maxsize=256)(_encoding)


def etag_matches(header: str, etag: str) -> bool:
    """Whether ``If-None-Match`` names this ETag (RFC 9110 section 13.1.2: weak comparison)."""
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag in tags


def precondition_fails(header: str | None, etag: str) -> bool:
    """Whether ``If-Match`` names other ETags alone (RFC 9110 section 13.1.1: strong comparison)."""
    if header is None:
        return False
    tags = [tag.strip() for tag in header.split(",")]
    return "*" not in tags and etag not in tags


def _qualities(header: str) -> dict[str, float]:
    """The ranges of an Accept-like header with their q-values. A malformed q-value counts as 0."""
    found: dict[str, float] = {}
    for item in header.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                try:
                    quality = min(max(float(value), 0.0), 1.0)
                except ValueError:
                    quality = 0.0
                if math.isnan(quality):
                    quality = 0.0
        name = _LATEST.get(name, name)
        if name:
            found[name] = max(quality, found.get(name, 0.0))
    return found


def _match(media: str, ranges: dict[str, float]) -> tuple[float, int]:
    """The quality of the most precise range that matches ``media``, and its precision."""
    major = media.partition("/")[0]
    for precision, name in ((2, media), (1, f"{major}/*"), (0, "*/*")):
        if name in ranges:
            return ranges[name], precision
    return 0.0, 0
