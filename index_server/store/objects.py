"""Reads JSON objects of the store into the classes of :mod:`index_server.model`, and lists keys."""

from __future__ import annotations

from collections.abc import Iterator

from index_server.model import StoredT
from index_server.store.interface import ObjectStore
from index_server.store.layout import is_object


def read(store: ObjectStore, model: type[StoredT], key: str) -> StoredT:
    """Return the decoded object.

    Raises:
        MissingObjectError: there is no such object.
        DamagedError: the object is damaged.
    """
    return model.decode(store.get(key), key=key)


def find(store: ObjectStore, model: type[StoredT], key: str) -> StoredT | None:
    """Return the decoded object, or None if there is no such object.

    Raises:
        DamagedError: the object is damaged.
    """
    if store.size(key) is None:  # cheaper than a failed read; every page does this
        return None
    return read(store, model, key)


def keys(store: ObjectStore, prefix: str) -> Iterator[str]:
    """Return the keys below a prefix, sorted, without those of files that the index did not write."""
    return (key for key in store.keys(prefix) if is_object(key))


def strays(store: ObjectStore) -> Iterator[str]:
    """Return the keys of all files in the store that the index did not write."""
    return (key for key in store.keys("") if not is_object(key))
