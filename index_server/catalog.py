"""Records, snapshots, channels: the state machine of the index.

The rules, in the order in which a publisher meets them:

1.  A file name, once recorded, never means other bytes. Recording the same bytes again changes nothing.
2.  A session is a growing set of recorded files. It is visible only to those who know its name.
3.  A snapshot never changes. It is its parent's records plus a session's, cell by cell: a cell is (project,
    version without our local part, Python tag, ABI tag, target, backend) for wheels with a passport, and the
    file name for all else. A new build of a cell takes the older one's place.
4.  A session that adds nothing to the parent makes no snapshot: the answer is the parent.
5.  What a snapshot is made from (parent, day, files) is pinned under its idempotency key first. Whoever asks
    again, after whatever crash, gets the same answer.
6.  A channel is a journal: numbered moves from 1, without gaps, each holding the hash of the one before.
    **Creating the entry is the commit.** Of two writers of one serial, one wins, and the other is told.
7.  A move names a snapshot that is whole, the serial it expects to follow, and a nonce. A nonce already in
    the journal is the caller's own lost answer: the entry that it wrote is given again.
8.  A move to the snapshot that is the head already is no move.
9.  Writes go in the order files, records, shards, snapshot, journal. A crash between any two leaves
    unreachable objects at worst; what a reader can reach is always whole.
10. Hints (``channels/``) only save steps. A missing or stale one costs time, never truth.

Layout: ``files/<sha256>/<filename>[.metadata]``, ``records/<project>/<filename>.json``,
``builds/<wheel digest>.json``, ``sessions/<session>/files/<filename>.json``,
``sessions/<session>/requests/<hash of key>.json``, ``shards/<sha256>.json``, ``snapshots/<id>.json``,
``journal/<channel>/<serial>.json``, ``evidence/<sha256>/<kind>/<number>.json``, ``channels/<channel>.json``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from index_server.errors import ConflictError, MissingObjectError, NotFoundError, StoreError
from index_server.model import (
    GENESIS,
    Evidence,
    FilePointer,
    Hint,
    Move,
    Record,
    SessionFile,
    Shard,
    ShardRef,
    Snapshot,
    SnapshotAnswer,
    SnapshotRequest,
    StoredT,
    sha256_hex,
    stamp,
)
from index_server.store import ObjectStore
from index_server.views import offers

SNAPSHOT_ID = re.compile(r"[0-9]{8}-[1-9][0-9]*\Z")


def file_key(sha256: str, filename: str) -> str:
    """Where a file's bytes lie; the same path below ``/`` serves them."""
    return f"files/{sha256}/{filename}"


def record_key(project: str, filename: str) -> str:
    """Where a file's record lies."""
    return f"records/{project}/{filename}.json"


def journal_key(channel: str, serial: int) -> str:
    """Where a move lies."""
    return f"journal/{channel}/{serial}.json"


def cell(record: Record) -> tuple[str, ...]:
    """What the record is a build of (rule 3)."""
    tuned = record.tuned
    if tuned is None:
        return ("file", record.filename)
    return (
        "cell",
        record.project,
        tuned.version,
        record.python_tag,
        record.abi_tag,
        tuned.target,
        tuned.backend,
    )


class Catalog:
    """The state machine over a store. Several may share one store, in one process or in many."""

    def __init__(
        self,
        store: ObjectStore,
        channels: Mapping[str, str],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.store = store
        self.channels = channels
        self.now = now
        self._heads: dict[str, Move] = {}
        self.shard = lru_cache(maxsize=4096)(self._shard)
        self.snapshot = lru_cache(maxsize=256)(self._snapshot)
        self._entry = lru_cache(maxsize=16384)(self._move)

    # Files and sessions (rules 1 and 2)

    def record_file(self, record: Record, metadata: bytes, path: Path, session: str) -> Record:
        """Take a checked file into the index and into a session; gives the record that stands.

        Raises:
            ConflictError: the name is recorded with other bytes.
        """
        standing = self.find_record(record.project, record.filename)
        if standing is None or standing.sha256 == record.sha256:
            key = file_key(record.sha256, record.filename)
            self.store.create_from(key, path)
            self.store.create(f"{key}.metadata", metadata)
            self.store.create(record_key(record.project, record.filename), record.encode())
            standing = self._read(Record, record_key(record.project, record.filename))
        if standing.sha256 != record.sha256:
            raise ConflictError(
                f"{record.filename} already exists with other bytes (sha256 {standing.sha256}); "
                "a name never changes its meaning, so publish the new build under a new build tag or version",
                sha256=standing.sha256,
            )
        if standing.tuned:
            pointer = FilePointer(project=standing.project, filename=standing.filename)
            self.store.create(f"builds/{standing.tuned.wheel_digest}.json", pointer.encode())
        self._join(standing, session)
        return standing

    def adopt(self, session: str, filename: str, project: str) -> Record:
        """Put a file that is recorded already into a session.

        Raises:
            NotFoundError: no such file is recorded.
        """
        record = self.find_record(project, filename)
        if record is None:
            raise NotFoundError(f"{filename} is not recorded here; upload it")
        self._join(record, session)
        return record

    def find_record(self, project: str, filename: str) -> Record | None:
        """The record of a file name, or None."""
        return self._find(Record, record_key(project, filename))

    def find_build(self, wheel_digest: str) -> Record | None:
        """The record of the wheel that was published for a wheel digest, or None."""
        pointer = self._find(FilePointer, f"builds/{wheel_digest}.json")
        return self.find_record(pointer.project, pointer.filename) if pointer else None

    def session_files(self, session: str) -> list[SessionFile]:
        """What a session holds, in the order it came."""
        keys = self.store.keys(f"sessions/{session}/files/")
        files = [self._read(SessionFile, key) for key in keys]
        return sorted(files, key=lambda file: (file.at, file.filename))

    def session_records(self, session: str) -> list[Record]:
        """The records of what a session holds, in the order it came."""
        return [self._record_of(file) for file in self.session_files(session)]

    def session_closed(self, session: str) -> bool:
        """Whether a snapshot was ever asked from the session."""
        return next(iter(self.store.keys(f"sessions/{session}/requests/")), None) is not None

    def session_asked(self, session: str, idempotency_key: str) -> bool:
        """Whether a snapshot was asked from the session under this key."""
        return self.store.size(_request_key(session, idempotency_key)) is not None

    def _join(self, record: Record, session: str) -> None:
        entry = SessionFile(
            project=record.project, filename=record.filename, sha256=record.sha256, at=stamp(self.now())
        )
        self.store.create(f"sessions/{session}/files/{record.filename}.json", entry.encode())

    def _record_of(self, file: SessionFile) -> Record:
        return self._read(Record, record_key(file.project, file.filename))

    # Snapshots (rules 3, 4 and 5)

    def make_snapshot(self, session: str, idempotency_key: str, channel: str) -> SnapshotAnswer:
        """Make a snapshot of the channel's head plus a session, or give the answer given before.

        Raises:
            NotFoundError: no such channel, or the session holds nothing.
            ConflictError: the key was used for another channel.
        """
        request = self._pin(session, idempotency_key, channel)
        parent = self.snapshot(request.parent) if request.parent else None
        projects, added, replaced = self._merge(parent, [self._record_of(file) for file in request.files])
        files = sum(ref.files for ref in projects.values())
        if parent is not None and not added:
            return SnapshotAnswer(
                id=parent.id,
                created=False,
                parent=parent.id,
                files=files,
                added=(),
                replaced=(),
            )
        name = sha256_hex(f"{session}/{idempotency_key}".encode())
        snapshot = self._place(request, name, projects)
        return SnapshotAnswer(
            id=snapshot.id,
            created=True,
            parent=snapshot.parent,
            files=files,
            added=tuple(sorted(added)),
            replaced=tuple(sorted(replaced)),
        )

    def snapshot_ids(self) -> list[str]:
        """All snapshots, the oldest first."""
        ids = [key.removeprefix("snapshots/").removesuffix(".json") for key in self.store.keys("snapshots/")]
        return sorted(ids, key=lambda each: tuple(map(int, each.split("-"))))

    def find_snapshot(self, snapshot_id: str) -> Snapshot:
        """The snapshot.

        Raises:
            NotFoundError: there is none of this id.
        """
        try:
            if SNAPSHOT_ID.match(snapshot_id):
                return self.snapshot(snapshot_id)
        except MissingObjectError:
            pass
        raise NotFoundError(f"there is no snapshot {snapshot_id}")

    def snapshot_records(self, snapshot: Snapshot) -> Iterable[Record]:
        """All records of a snapshot, by project and file name."""
        for project in sorted(snapshot.projects):
            yield from self.shard(snapshot.projects[project].shard).records

    def _pin(self, session: str, idempotency_key: str, channel: str) -> SnapshotRequest:
        key = _request_key(session, idempotency_key)
        request = self._find(SnapshotRequest, key)
        if request is None:
            head = self.head(channel)
            files = self.session_files(session)
            if not files:
                raise NotFoundError("this session holds no file; upload to it or adopt files into it first")
            fresh = SnapshotRequest(
                channel=channel,
                parent=head.snapshot if head else None,
                at=stamp(self.now()),
                files=tuple(files),
            )
            self.store.create(key, fresh.encode())
            request = self._read(SnapshotRequest, key)
        if request.channel != channel:
            raise ConflictError(f"this idempotency key was used for channel {request.channel}")
        return request

    def _merge(
        self, parent: Snapshot | None, records: list[Record]
    ) -> tuple[dict[str, ShardRef], list[str], list[str]]:
        """The projects of parent plus ``records``; the file names added and those they replace."""
        projects = dict(parent.projects) if parent else {}
        added: list[str] = []
        replaced: list[str] = []
        for project in sorted({record.project for record in records}):
            old = self.shard(projects[project].shard).records if project in projects else ()
            cells = {cell(record): record for record in old}
            before = {record.filename for record in old}
            cells |= {cell(record): record for record in records if record.project == project}
            after = {record.filename: record for record in cells.values()}
            if before == after.keys():
                continue
            added += after.keys() - before
            replaced += before - after.keys()
            projects[project] = self._write_shard(project, [after[name] for name in sorted(after)])
        return projects, added, replaced

    def _write_shard(self, project: str, records: list[Record]) -> ShardRef:
        data = Shard(project=project, records=tuple(records)).encode()
        digest = sha256_hex(data)
        self.store.create(f"shards/{digest}.json", data)
        return ShardRef(shard=digest, files=len(records), offers=offers(records))

    def _place(self, request: SnapshotRequest, name: str, projects: dict[str, ShardRef]) -> Snapshot:
        """Write the snapshot under the first id of the pinned day that is free, or find it there."""
        day = request.at[:10].replace("-", "")
        number = 0
        while True:
            number += 1
            snapshot = Snapshot(
                id=f"{day}-{number}",
                parent=request.parent,
                created_at=request.at,
                request=name,
                projects=projects,
            )
            self.store.create(f"snapshots/{snapshot.id}.json", snapshot.encode())
            if self.snapshot(snapshot.id).request == name:
                return snapshot

    def _snapshot(self, snapshot_id: str) -> Snapshot:
        return self._read(Snapshot, f"snapshots/{snapshot_id}.json")

    def _shard(self, digest: str) -> Shard:
        return self._read(Shard, f"shards/{digest}.json")

    # Channels (rules 6, 7 and 8)

    def head(self, channel: str) -> Move | None:
        """The last move of a channel, None before the first. One look at the store when nothing moved.

        Raises:
            NotFoundError: there is no such channel.
        """
        if channel not in self.channels:
            raise NotFoundError(f"there is no channel {channel}; there is {', '.join(self.channels)}")
        known = self._heads.get(channel) or self._hinted(channel)
        serial = known.serial if known else 0
        while (move := self._find(Move, journal_key(channel, serial + 1))) is not None:
            known, serial = move, serial + 1
        if known is not None:
            self._heads[channel] = known
        return known

    def moves(self, channel: str) -> list[Move]:
        """The journal of a channel, the oldest first."""
        head = self.head(channel)
        count = head.serial if head else 0
        return [self._entry(channel, serial) for serial in range(1, count + 1)]

    def move(
        self,
        channel: str,
        *,
        snapshot_id: str,
        expected_serial: int,
        nonce: str,
        by: str,
        approvals: tuple[str, ...] = (),
        message: str = "",
    ) -> tuple[Move, bool]:
        """Point a channel at a snapshot; gives the entry, and whether the journal holds this nonce's own.

        Raises:
            NotFoundError: no such channel or snapshot.
            ConflictError: the channel has moved on, or the nonce stands for another move.
        """
        self.find_snapshot(snapshot_id)
        head = self.head(channel)
        mine = self._move_of(channel, nonce)
        if mine is None and head is not None and head.snapshot == snapshot_id:
            return head, False
        if mine is None and (head.serial if head else 0) == expected_serial:
            previous = self.store.get(journal_key(channel, head.serial)) if head else None
            entry = Move(
                channel=channel,
                serial=expected_serial + 1,
                snapshot=snapshot_id,
                previous_hash=sha256_hex(previous) if previous is not None else GENESIS,
                nonce=nonce,
                at=stamp(self.now()),
                by=by,
                approvals=approvals,
                message=message,
            )
            self.store.create(journal_key(channel, entry.serial), entry.encode())
            written = self._read(Move, journal_key(channel, entry.serial))
            mine = written if written.nonce == nonce else None
        if mine is None:
            raise self._moved_on(channel, expected_serial)
        if mine.snapshot != snapshot_id:
            raise ConflictError(f"this nonce stands for a move to {mine.snapshot}", serial=mine.serial)
        self.store.put_hint(f"channels/{channel}.json", Hint(serial=mine.serial).encode())
        return mine, True

    def _moved_on(self, channel: str, expected: int) -> ConflictError:
        head = self.head(channel)
        serial = head.serial if head else 0
        return ConflictError(
            f"{channel} is at serial {serial}, not {expected}: look at what it shows now, then decide again",
            serial=serial,
            snapshot=head.snapshot if head else None,
        )

    def _move(self, channel: str, serial: int) -> Move:
        return self._read(Move, journal_key(channel, serial))

    def _move_of(self, channel: str, nonce: str) -> Move | None:
        return next((move for move in reversed(self.moves(channel)) if move.nonce == nonce), None)

    def _hinted(self, channel: str) -> Move | None:
        """The move that the hint names, if both are there and whole."""
        try:
            hint = self._find(Hint, f"channels/{channel}.json")
        except StoreError:
            return None
        return self._find(Move, journal_key(channel, hint.serial)) if hint else None

    # Evidence

    def add_evidence(self, sha256: str, kind: str, body: object, by: str) -> Evidence:
        """Append what was found out about a file; the newest being the same, nothing is written.

        Raises:
            NotFoundError: no file has this sha256.
        """
        if next(iter(self.store.keys(f"files/{sha256}/")), None) is None:
            raise NotFoundError(f"no file here has the sha256 {sha256}; upload it first")
        fresh = Evidence(sha256=sha256, kind=kind, at=stamp(self.now()), by=by, body=body)
        while True:
            count = self._evidence_count(sha256, kind)
            if count:
                newest = self._read(Evidence, _evidence_key(sha256, kind, count))
                if newest.body == body:
                    return newest
            if self.store.create(_evidence_key(sha256, kind, count + 1), fresh.encode()):
                return fresh

    def find_evidence(self, sha256: str, kind: str) -> Evidence | None:
        """The newest evidence of a kind, or None."""
        count = self._evidence_count(sha256, kind)
        return self._read(Evidence, _evidence_key(sha256, kind, count)) if count else None

    def evidence_kinds(self, sha256: str) -> list[str]:
        """The kinds of evidence there are about a file."""
        return sorted({key.split("/")[2] for key in self.store.keys(f"evidence/{sha256}/")})

    def _evidence_count(self, sha256: str, kind: str) -> int:
        return sum(1 for _ in self.store.keys(f"evidence/{sha256}/{kind}/"))

    # Reading

    def _find(self, model: type[StoredT], key: str) -> StoredT | None:
        if self.store.size(key) is None:  # cheaper than a failed read, and asked on every page
            return None
        return self._read(model, key)

    def _read(self, model: type[StoredT], key: str) -> StoredT:
        return model.decode(self.store.get(key), key=key)


def _request_key(session: str, idempotency_key: str) -> str:
    return f"sessions/{session}/requests/{sha256_hex(idempotency_key.encode())}.json"


def _evidence_key(sha256: str, kind: str, number: int) -> str:
    return f"evidence/{sha256}/{kind}/{number}.json"
