"""Verifies the journals, snapshots, records and files of a store. Changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator
from contextlib import suppress

from index_server.catalog import leases, tombstones
from index_server.catalog.catalog import Catalog, file_key
from index_server.catalog.evidence import evidence_key
from index_server.catalog.journal import Journal, journal_key, serial_of
from index_server.catalog.marks import STATUS
from index_server.catalog.recording import provenance_key, record_key
from index_server.errors import DamagedError, StoreError
from index_server.model import (
    GENESIS,
    EntryT,
    File,
    Judgement,
    LeaseEntry,
    Move,
    Record,
    StatusEntry,
    TombEntry,
    sha256_hex,
)
from index_server.rules.gates import passed
from index_server.store.folder import DirectoryStore
from index_server.store.guard import GuardedStore
from index_server.store.objects import keys, strays
from index_server.trust.repository import Repository


def notes(catalog: Catalog) -> Iterator[str]:
    """Yield notes that are not faults: files that the index did not write, and permissions for other users."""
    for key in strays(catalog.store):
        yield f"{key.encode('ascii', 'backslashreplace').decode()}: not an object of the index; it is ignored"
    store = catalog.store.inner if isinstance(catalog.store, GuardedStore) else catalog.store
    if isinstance(store, DirectoryStore):
        yield from store.exposed()


def journal_names(catalog: Catalog) -> list[str]:
    """Return the channels of ``channels.toml``, and former channels whose journals are in the store."""
    found = {key.split("/")[1] for key in keys(catalog.store, "journal/")}
    return sorted(catalog.channels.keys() | {name for name in found if not name.startswith("_")})


def signature_faults(catalog: Catalog) -> Iterator[str]:
    """Yield what is wrong with the signed metadata, if anything is signed."""
    repository = Repository(catalog)
    try:
        state = repository.state()
        if state is not None:
            repository.policy(state.targets.signed)
    except StoreError as error:
        yield str(error)


def journal_faults(catalog: Catalog, channel: str) -> Iterator[str]:
    """Yield the faults of a channel's journal: gaps, wrong hashes, missing snapshots, and missing approvals."""
    snapshots = set(catalog.snapshot_ids())
    for key, move in _chain(catalog, channel, Move):
        if isinstance(move, str):
            yield move
            continue
        if move.channel != channel:
            yield f"{key}: states the channel {move.channel}"
        if move.snapshot not in snapshots:
            yield f"{key}: moves to {move.snapshot}, which is missing"
        elif move.snapshot_sha256 not in (None, _hash_of(catalog, f"snapshots/{move.snapshot}.json")):
            yield f"{key}: moves to {move.snapshot}, whose bytes have changed"
        yield from _judgement_faults(catalog, key, move)


def status_faults(catalog: Catalog) -> Iterator[str]:
    """Yield gaps, wrong hashes and unknown files in the journal of yanks and quarantines."""
    for key, entry in _chain(catalog, STATUS, StatusEntry):
        if isinstance(entry, str):
            yield entry
        elif entry.filename and catalog.store.size(record_key(entry.project, entry.filename)) is None:
            yield f"{key}: names {entry.filename}, which is not recorded"


def _chain(catalog: Catalog, name: str, model: type[EntryT]) -> Iterator[tuple[str, EntryT | str]]:
    """Yield pairs of a key and its journal entry, or of a key and a fault in the chain of hashes."""
    store = catalog.store
    prefix = f"journal/{name}/"
    serials = {serial_of(key) for key in keys(store, prefix)}
    hint = Journal(store, name, model).hinted()
    acknowledged = {hint.serial} if hint else set()
    previous: str | None = GENESIS
    before = 0
    for serial in sorted(serials | acknowledged):
        gap = _gap(name, before + 1, serial if serial in serials else serial + 1)
        if gap:
            yield journal_key(name, before + 1), gap
            previous = None
        before = serial
        if serial not in serials:
            continue
        key = journal_key(name, serial)
        data = store.get(key)
        if hint and hint.serial == serial and hint.sha256 not in (None, sha256_hex(data)):
            yield key, f"{key}: its bytes have changed"
        try:
            entry = model.decode(data, key=key)
        except StoreError as error:
            yield key, str(error)
        else:
            if previous is not None and entry.previous_hash != previous:
                yield key, f"{key}: does not have the hash of the entry before it; the journal was rewritten"
            if entry.serial != serial:
                yield key, f"{key}: states the serial {entry.serial}"
            yield key, entry
        previous = sha256_hex(data)


def _gap(name: str, first: int, after: int) -> str | None:
    """Return a fault if entries from ``first`` up to the one before ``after`` are missing."""
    if first == after:
        return None
    key = journal_key(name, first)
    return f"{key}: is missing" if first + 1 == after else f"{key} to {after - 1}.json: are missing"


def _judgement_faults(catalog: Catalog, key: str, move: Move) -> Iterator[str]:
    """Yield faults of a move's judgement and approvals: missing, changed, or about another move."""
    if move.judgement is None:
        if move.approvals:
            yield f"{key}: has approvals but no judgement"
        return
    place = f"judgements/{move.judgement}.json"
    try:
        data = catalog.store.get(place)
        judgement = Judgement.decode(data, key=place)
    except StoreError as error:
        yield f"{key}: {error}"
        return
    judged = (judgement.channel, judgement.snapshot, tuple(each.by for each in judgement.approvals))
    if sha256_hex(data) != move.judgement or judged != (move.channel, move.snapshot, move.approvals):
        yield f"{key}: its judgement is about another move"
    for approval in judgement.approvals:
        if approval not in catalog.approvals(move.channel, move.snapshot):
            yield f"{key}: the approval by {approval.by} is missing"


def snapshot_faults(catalog: Catalog, snapshot_id: str, seen: dict[str, Record]) -> Iterator[str]:
    """Yield missing or damaged parts of a snapshot. Add its records to ``seen``, by the keys of their files."""
    try:
        snapshot = catalog.find_snapshot(snapshot_id)
    except StoreError as error:
        yield str(error)
        return
    for project, ref in snapshot.projects.items():
        key = f"shards/{ref.shard}.json"
        try:
            if sha256_hex(catalog.store.get(key)) != ref.shard:
                yield f"{key}: its bytes have changed since {snapshot_id} was made"
            records = catalog.shard(ref.shard).records
        except StoreError as error:
            yield f"{snapshot_id}: {project}: {error}"
            continue
        seen.update({file_key(record.sha256, record.filename): record for record in records})


def collected_faults(catalog: Catalog) -> Iterator[str]:
    """Yield faults in the journals of collected files and of leases, and collected files that channels show."""
    for name, model in ((leases.JOURNAL, LeaseEntry), (tombstones.JOURNAL, TombEntry)):
        for _, entry in _chain(catalog, name, model):
            if isinstance(entry, str):
                yield entry
    for channel in catalog.channels:
        with suppress(StoreError):  # another check reports it
            collected = catalog.tombs.look()
            head = catalog.head(channel)
            for record in catalog.snapshot_records(catalog.snapshot(head.snapshot)) if head else ():
                if (record.sha256, record.filename) in collected.gone:
                    yield f"{channel} shows {record.filename}, which was collected"


def verdict_faults(catalog: Catalog) -> Iterator[str]:
    """Yield verdicts that differ from their evidence. Gates rely on verdicts. Reads all evidence."""
    for project in sorted({key.split("/")[1] for key in keys(catalog.store, "verdicts/")}):
        for sha256, kind, number, good in catalog.evidence.told(project):
            try:
                body = catalog.evidence.read(sha256, kind, number).body
            except StoreError as error:
                yield f"verdicts/{project}/: {error}"
                continue
            if not catalog.evidence.sealed(project, sha256, kind, number, good=good):
                yield f"{evidence_key(sha256, kind, number)}: its bytes have changed"
            if passed(body, sha256) != good:
                yield f"verdicts/{project}/: the verdict of {kind} {number} about {sha256} contradicts the evidence"


def _hash_of(catalog: Catalog, key: str) -> str:
    return sha256_hex(catalog.store.get(key))


def record_faults(catalog: Catalog, record: Record, *, deep: bool) -> Iterator[str]:
    """Yield differences between a record and its stored object, file and metadata. ``deep`` also hashes the file.

    A collected file has only a record.
    """
    store = catalog.store
    key = record_key(record.project, record.filename)
    try:
        if catalog.find_record(record.project, record.filename) != record:
            yield f"{key}: differs from the record in snapshots"
    except StoreError as error:
        yield str(error)
    collected: Container[File] = ()
    with suppress(DamagedError):  # another check reports it
        collected = catalog.tombs.look().gone
    if (record.sha256, record.filename) in collected:
        return
    file = catalog.stored_key(record.sha256, record.filename)
    size = store.size(file)
    if size != record.size:
        yield f"{file}: {'missing' if size is None else f'{size} bytes'}, not {record.size} bytes"
    elif deep:
        engine = hashlib.sha256()
        for chunk in store.read(file, 0, size):
            engine.update(chunk)
        if engine.hexdigest() != record.sha256:
            yield f"{file}: its bytes have changed"
    if record.provenance_sha256 is not None and store.size(provenance_key(record.provenance_sha256)) is None:
        yield f"{provenance_key(record.provenance_sha256)}: missing, and {record.filename} names it"
    try:
        if sha256_hex(store.get(f"{file}.metadata")) != record.metadata_sha256:
            yield f"{file}.metadata: its bytes have changed"
    except StoreError as error:
        yield str(error)
