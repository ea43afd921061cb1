"""Reads the store's JSON objects as what they mean."""

from __future__ import annotations

from collections.abc import Iterator

from index_server.model import StoredT
from index_server.store.interface import ObjectStore
from index_server.store.layout import is_object


def read(store: ObjectStore, model: type[StoredT], key: str) -> StoredT:
    """The object.

    Raises:
        MissingObjectError: there is none.
        DamagedError: it is damaged.
    """
    return model.decode(store.get(key), key=key)


def find(store: ObjectStore, model: type[StoredT], key: str) -> StoredT | None:
    """The object, or None where there is none.

    Raises:
        DamagedError: it is damaged.
    """
    if store.size(key) is None:  # cheaper than a failed read, and asked on every page
        return None
    return read(store, model, key)


def keys(store: ObjectStore, prefix: str) -> Iterator[str]:
    """The keys below a prefix, sorted, without what strays there."""
    return (key for key in store.keys(prefix) if is_object(key))


def strays(store: ObjectStore) -> Iterator[str]:
    """The keys of the whole store that are none of the index's own."""
    return (key for key in store.keys("") if not is_object(key))
