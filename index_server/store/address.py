"""Opens the store that an address names: ``file:FOLDER`` or ``s3://BUCKET/PREFIX``."""

from __future__ import annotations

from pathlib import Path

from index_server.errors import StoreError
from index_server.settings import expected_store_id, s3_endpoint, scratch_folder, store_timeout
from index_server.store.folder import DirectoryStore
from index_server.store.guard import guarded
from index_server.store.interface import ObjectStore


def open_store(address: str) -> ObjectStore:
    """Open the store that ``ARMWHEELS_STORE`` names: ``file:/srv/armwheels``, ``s3://bucket/prefix``.

    Raises:
        StoreError: the address is of no known kind, or what it names cannot be used.
        UnsafeStoreError: the store ignores the conditions that keep two writers apart.
        StoreAwayError: the store does not answer.
    """
    kind, _, place = address.partition(":")
    if kind == "file" and place:
        folder = DirectoryStore(Path(place).expanduser().resolve())
        return guarded(folder, address, expected_store_id())
    bucket, _, prefix = place.removeprefix("//").strip("/").partition("/")
    if kind == "s3" and place.startswith("//") and bucket:
        from index_server.store import (
            bucket as s3,  # boto3 costs half a second and 25 MB, which a folder need not pay
        )

        opened = s3.open_bucket(
            bucket, prefix, endpoint=s3_endpoint(), scratch=scratch_folder(), timeout=store_timeout()
        )
        return guarded(opened, address, expected_store_id())
    raise StoreError(f"{address!r} names no store; write file:FOLDER or s3://BUCKET/PREFIX")
