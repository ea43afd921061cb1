"""Reads the store's JSON objects as what they mean."""

from __future__ import annotations

from index_server.model import StoredT
from index_server.store.interface import ObjectStore


def read(store: ObjectStore, model: type[StoredT], key: str) -> StoredT:
    """The object.

    Raises:
        MissingObjectError: there is none.
        StoreError: it is damaged.
    """
    return model.decode(store.get(key), key=key)


def find(store: ObjectStore, model: type[StoredT], key: str) -> StoredT | None:
    """The object, or None where there is none.

    Raises:
        StoreError: it is damaged.
    """
    if store.size(key) is None:  # cheaper than a failed read, and asked on every page
        return None
    return read(store, model, key)
