"""Opens a store by its address, which is ``file:FOLDER`` or ``s3://BUCKET/PREFIX``."""

from __future__ import annotations

from pathlib import Path

from index_server.errors import StoreError
from index_server.settings import expected_store_id, s3_endpoint, scratch_folder, store_timeout
from index_server.store.folder import DirectoryStore
from index_server.store.guard import Versioned, guarded
from index_server.store.interface import ObjectStore


def open_store(address: str) -> ObjectStore:
    """Open the store at an address such as ``file:/srv/armwheels`` or ``s3://bucket/prefix``.

    Raises:
        StoreError: the address is malformed, or the store cannot be used.
        UnsafeStoreError: the bucket does not honour conditional writes.
        StoreAwayError: the store does not answer.
    """
    return guarded(open_unmarked(address), address, expected_store_id())


def open_unmarked(address: str) -> Versioned:
    """Open what lies at an address without making it a store: only a copy of one may be written there.

    Raises:
        StoreError: as :func:`open_store`.
    """
    kind, _, place = address.partition(":")
    if kind == "file" and place:
        return DirectoryStore(Path(place).expanduser().resolve())
    bucket, _, prefix = place.removeprefix("//").strip("/").partition("/")
    if kind == "s3" and place.startswith("//") and bucket:
        from index_server.store import (
            bucket as s3,  # importing boto3 takes 0.5 s and 25 MB, and a folder does not need it
        )

        return s3.open_bucket(
            bucket, prefix, endpoint=s3_endpoint(), scratch=scratch_folder(), timeout=store_timeout()
        )
    raise StoreError(f"{address!r} is not a store address; write file:FOLDER or s3://BUCKET/PREFIX")
