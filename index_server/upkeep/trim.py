"""Removes old objects of the builders' compile cache, and old logs."""

from __future__ import annotations

from datetime import datetime, timedelta

from index_server.store.interface import ObjectStore
from index_server.store.objects import keys


def trim(store: ObjectStore, older_than: timedelta, now: datetime, *, prefix: str = "cache/") -> int:
    """Delete objects below ``prefix`` that were written longer ago than ``older_than``. Return their number."""
    old = [key for key in keys(store, prefix) if (at := store.written_at(key)) and now - at > older_than]
    for key in old:
        store.remove(key)
    return len(old)
