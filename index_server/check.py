"""Verifies a store: journals chained, snapshots whole, files what their records say. Changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from index_server.catalog import Catalog, file_key, journal_key, record_key
from index_server.errors import StoreError
from index_server.model import GENESIS, Move, Record, sha256_hex


def journal_faults(catalog: Catalog, channel: str) -> Iterator[str]:
    """Gaps, broken hashes and moves to nowhere in a channel's journal."""
    store = catalog.store
    prefix = f"journal/{channel}/"
    serials = sorted(int(key.removeprefix(prefix).removesuffix(".json")) for key in store.keys(prefix))
    if serials != list(range(1, len(serials) + 1)):
        yield f"{channel}: the journal's serials have gaps"
        return
    snapshots = set(catalog.snapshot_ids())
    previous = GENESIS
    for serial in serials:
        key = journal_key(channel, serial)
        data = store.get(key)
        try:
            move = Move.decode(data, key=key)
        except StoreError as error:
            yield str(error)
        else:
            if move.previous_hash != previous:
                yield f"{key}: does not follow from the entry before it; the journal was rewritten"
            if (move.serial, move.channel) != (serial, channel):
                yield f"{key}: says it is serial {move.serial} of {move.channel}"
            if move.snapshot not in snapshots:
                yield f"{key}: moves to {move.snapshot}, which is not there"
        previous = sha256_hex(data)


def snapshot_faults(catalog: Catalog, snapshot_id: str, seen: dict[str, Record]) -> Iterator[str]:
    """Missing or damaged parts of a snapshot; its records are added to ``seen`` by the key of their file."""
    try:
        snapshot = catalog.find_snapshot(snapshot_id)
    except StoreError as error:
        yield str(error)
        return
    for project, ref in snapshot.projects.items():
        key = f"shards/{ref.shard}.json"
        try:
            if sha256_hex(catalog.store.get(key)) != ref.shard:
                yield f"{key}: its bytes are not what {snapshot_id} names"
            records = catalog.shard(ref.shard).records
        except StoreError as error:
            yield f"{snapshot_id}: {project}: {error}"
            continue
        seen.update({file_key(record.sha256, record.filename): record for record in records})


def record_faults(catalog: Catalog, record: Record, *, deep: bool) -> Iterator[str]:
    """How a record's file, metadata and own object differ from it; ``deep`` reads every byte."""
    store = catalog.store
    key = record_key(record.project, record.filename)
    try:
        if catalog.find_record(record.project, record.filename) != record:
            yield f"{key}: not the record that snapshots hold"
    except StoreError as error:
        yield str(error)
    file = file_key(record.sha256, record.filename)
    size = store.size(file)
    if size != record.size:
        yield f"{file}: {'missing' if size is None else f'{size} bytes'}, not {record.size} bytes"
    elif deep:
        engine = hashlib.sha256()
        for chunk in store.read(file, 0, size):
            engine.update(chunk)
        if engine.hexdigest() != record.sha256:
            yield f"{file}: its bytes have changed"
    try:
        if sha256_hex(store.get(f"{file}.metadata")) != record.metadata_sha256:
            yield f"{file}.metadata: its bytes have changed"
    except StoreError as error:
        yield str(error)
