"""Reads every object of a store, and checks that it is intact, has the right key, and agrees with other objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from index_server.catalog.catalog import Catalog, file_key
from index_server.catalog.recording import provenance_key, record_key
from index_server.errors import StoreError
from index_server.model import (
    Approval,
    Evidence,
    Fate,
    FilePointer,
    Hint,
    Intent,
    Judgement,
    Record,
    Revocation,
    SessionFile,
    Shard,
    Snapshot,
    SnapshotRequest,
    Stored,
    StoredT,
    StoreMark,
    Token,
    sha256_hex,
)
from index_server.store.objects import keys
from index_server.upkeep.check import record_faults

Reader = Callable[[Catalog, str, bytes], Iterator[str]]


def deep_faults(catalog: Catalog, seen: Mapping[str, Record]) -> Iterator[str]:
    """Yield the faults of all objects, and of the files that are not in ``seen``, which has the checked ones."""
    for key in keys(catalog.store, ""):
        reader = _READERS.get(key.split("/")[0])
        try:
            if reader is not None:
                yield from reader(catalog, key, catalog.store.get(key))
            elif key.startswith("sessions/"):
                yield from _session_faults(catalog, key, catalog.store.get(key))
            elif key.startswith("records/"):
                yield from _unseen_faults(catalog, key, seen)
        except StoreError as error:
            yield str(error)


def _placed(model: type[StoredT], places: Callable[[StoredT, str], object]) -> Reader:
    """Return a reader of objects that contain their key. ``places`` computes the key from the object."""

    def read(_: Catalog, key: str, data: bytes) -> Iterator[str]:
        stored = model.decode(data, key=key)
        if places(stored, key) != key:
            yield f"{key}: its content belongs to another key"

    return read


def _named_by_hash(model: type[Stored]) -> Reader:
    """Return a reader of objects whose name is the sha256 of their bytes."""

    def read(_: Catalog, key: str, data: bytes) -> Iterator[str]:
        model.decode(data, key=key)
        if f"{key.split('/')[0]}/{sha256_hex(data)}.json" != key:
            yield f"{key}: its bytes have changed"

    return read


def _provenance_faults(_: Catalog, key: str, data: bytes) -> Iterator[str]:
    if provenance_key(sha256_hex(data)) != key:
        yield f"{key}: its bytes have changed"


def _pointer_faults(catalog: Catalog, key: str, data: bytes) -> Iterator[str]:
    pointer = FilePointer.decode(data, key=key)
    record = catalog.find_record(pointer.project, pointer.filename)
    digest = key.split("/")[1].removesuffix(".json")
    if record is None or record.tuned is None or record.tuned.wheel_digest != digest:
        yield f"{key}: names {pointer.filename}, which is not recorded with this wheel digest"


def _revocation_faults(catalog: Catalog, key: str, data: bytes) -> Iterator[str]:
    Revocation.decode(data, key=key)
    if catalog.store.size(key.replace("revocations/", "tokens/")) is None:
        yield f"{key}: revokes a token that is missing"


def _session_faults(catalog: Catalog, key: str, data: bytes) -> Iterator[str]:
    match key.split("/")[2]:
        case "files":
            file = SessionFile.decode(data, key=key)
            record = catalog.find_record(file.project, file.filename)
            if record is None or record.sha256 != file.sha256 or not key.endswith(f"/{file.filename}.json"):
                yield f"{key}: names {file.filename}, which is not recorded with this sha256"
        case "requests":
            SnapshotRequest.decode(data, key=key)
        case _:
            Fate.decode(data, key=key)


def _unseen_faults(catalog: Catalog, key: str, seen: Mapping[str, Record]) -> Iterator[str]:
    """Yield the faults of a record, and of its file if no snapshot contains it."""
    record = Record.decode(catalog.store.get(key), key=key)
    if record_key(record.project, record.filename) != key:
        yield f"{key}: its content belongs to another key"
    elif file_key(record.sha256, record.filename) not in seen:
        yield from record_faults(catalog, record, deep=True)


def _same_folder(stored: Intent, key: str) -> str:
    return f"intents/{stored.snapshot}/{key.rpartition('/')[2]}"


_READERS: dict[str, Reader] = {
    "approvals": _placed(
        Approval, lambda each, _: f"approvals/{each.channel}/{each.snapshot}/{each.token}.json"
    ),
    "attestations": _provenance_faults,
    "builds": _pointer_faults,
    "channels": _placed(Hint, lambda _, key: key),
    "evidence": _placed(
        Evidence, lambda each, key: f"evidence/{each.sha256}/{each.kind}/{key.rpartition('/')[2]}"
    ),
    "intents": _placed(Intent, _same_folder),
    "judgements": _named_by_hash(Judgement),
    "revocations": _revocation_faults,
    "shards": _named_by_hash(Shard),
    "snapshots": _placed(Snapshot, lambda each, _: f"snapshots/{each.id}.json"),
    "store.json": _placed(StoreMark, lambda _, key: key),
    "tokens": _placed(Token, lambda _, key: key),
}
