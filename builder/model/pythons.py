"""Python tags, such as ``cp311`` and ``cp313t`` (free-threaded): their versions, and the wheels they take. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache

from packaging.tags import Tag, compatible_tags, cpython_tags


def release_of(python: str) -> tuple[int, int]:
    """``cp311`` -> ``(3, 11)``.

    Raises:
        ValueError: it is no tag of a CPython 3.
    """
    match = re.fullmatch(r"cp3([0-9]{1,2})t?", python)
    if match is None:
        raise ValueError(f"'{python}' is no tag of a CPython 3")
    return 3, int(match[1])


def version_of(python: str) -> str:
    """``cp311`` -> ``3.11``."""
    return ".".join(map(str, release_of(python)))


def program_of(python: str) -> str:
    """``cp311`` -> ``python3.11``."""
    return f"python{version_of(python)}"


def installable_tags(python: str, platforms: Sequence[str]) -> list[Tag]:
    """Tags of the wheels that install for a Python on ``platforms``, best first (:pep:`425`)."""
    release = release_of(python)
    return [
        *cpython_tags(release, abis=[python], platforms=platforms),
        *compatible_tags(release, interpreter=python.removesuffix("t"), platforms=platforms),
    ]


def built_for(python: str, tags: Collection[Tag]) -> bool:
    """Whether a wheel with these tags may have been built for a Python: it takes each of them, on any platform.

    It takes its own ABI, no ABI and, unless it is free-threaded, the stable ABI of its version or an earlier one
    (:pep:`384`, :pep:`703`).
    """
    return all((tag.interpreter, tag.abi) in _accepted(python) for tag in tags)


@lru_cache(maxsize=64)
def _accepted(python: str) -> frozenset[tuple[str, str]]:
    try:
        tags = cpython_tags(release_of(python), [python], ["any"])
    except ValueError:
        return frozenset()
    return frozenset((tag.interpreter, tag.abi) for tag in tags)
