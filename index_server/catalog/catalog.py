"""The state of the index: records, sessions, snapshots and channels.

The rules, in the order in which a publisher meets them:

1.  A file name, once recorded, never means other bytes. Recording the same bytes again changes nothing.
2.  A session is a growing set of recorded files. Only those who know its name can see it.
3.  A snapshot never changes. It is its parent's records plus a session's, cell by cell: a cell is (project,
    version without our local part, Python tag, ABI tag, target, backend) for wheels with a passport, and the
    file name for all other files. A new build of a cell replaces the older one.
4.  A session that adds nothing to the parent makes no snapshot. The answer is the parent.
5.  The inputs of a snapshot (parent, day, files) are stored under its idempotency key first. A repeated request
    gets the same answer, also after a crash.
6.  A channel is a journal (see :mod:`index_server.catalog.journal`): **creating the entry is the commit.**
7.  A move names a complete snapshot, the serial that it expects to follow, and a nonce. If the nonce is in the
    journal already, the caller lost the answer to its own request and gets the same entry again.
8.  A move to the snapshot that the channel shows already writes nothing. The channel's gates are applied directly
    before the entry is written, and their judgement is stored before the entry.
9.  Objects are written in the order files, records, shards, snapshot, journal. A crash between two of them leaves
    unreachable objects at worst. What a reader can reach is always complete.
10. A session ends when a snapshot is requested from it or when it is discarded, whichever is first. A discarded
    session accepts no more uploads and shows nothing. Its files keep their names, by rule 1.
11. Yanks (PEP 592) and quarantines (PEP 792) are entries of one journal, ``_status``, for all channels. They
    change no snapshot; they change what is shown of every snapshot.
12. Whoever makes files reachable announces it and then looks whether they are collected. The collector marks files
    and then looks for announcements (see :mod:`index_server.catalog.tombstones`). No channel ever shows a snapshot
    with collected files.

Layout: ``files/<sha256>/<filename>[.metadata]``, ``records/<project>/<filename>.json``,
``builds/<wheel digest>/<project>.json``, ``sessions/<session>/files/<filename>.json``,
``sessions/<session>/requests/<hash of key>.json``, ``sessions/<session>/fate.json``, ``shards/<sha256>.json``,
``snapshots/<id>.json``, ``journal/<channel>/<serial>.json``, ``evidence/<sha256>/<kind>/<number>.json``,
``verdicts/<project>/<sha256>.<kind>.<number>.<passed or failed>``,
``approvals/<channel>/<snapshot>/<token id>.json``, ``judgements/<sha256>.json``, ``channels/<channel>.json``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from index_server.catalog.evidence import EvidenceShelf
from index_server.catalog.journal import Journal
from index_server.catalog.leases import Leases
from index_server.catalog.marks import StatusBook
from index_server.catalog.recording import CheckedFile, Recorder, build_key, record_key
from index_server.catalog.sessions import Sessions
from index_server.catalog.tombstones import Tombstones, announce, generation_key
from index_server.errors import ConflictError, GoneError, MissingObjectError, NotFoundError, RequestError
from index_server.model import (
    GENESIS,
    Approval,
    DevelopmentRule,
    FilePointer,
    Judgement,
    Move,
    Record,
    SessionFile,
    Shard,
    ShardRef,
    Snapshot,
    SnapshotAnswer,
    SnapshotRequest,
    sha256_hex,
    stamp,
)
from index_server.names import no_channel
from index_server.rules.development import select
from index_server.rules.views import offers
from index_server.store.interface import ObjectStore
from index_server.store.objects import find, keys, read

AT_ONCE = 64  # shards staged together: each is an open file of a folder store until it has its name
SNAPSHOT_ID = re.compile(r"[0-9]{8}-[1-9][0-9]*\Z")


def file_key(sha256: str, filename: str) -> str:
    """The key of a file's first generation, which is also the path of its URL."""
    return generation_key((sha256, filename), 0)


def cell(record: Record) -> tuple[str, ...]:
    """The cell of a record (rule 3)."""
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
        *((record.label,) if record.label else ()),
    )


@dataclass(frozen=True)
class _Merged:
    """What a snapshot holds, and the names of the files that tell it from its parent."""

    projects: dict[str, ShardRef]
    added: set[str] = field(default_factory=set)
    replaced: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)


class Catalog:
    """The state of the index in a store. Several processes may share the store."""

    def __init__(
        self,
        store: ObjectStore,
        channels: Mapping[str, str],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        development: Mapping[str, DevelopmentRule] | None = None,
    ) -> None:
        self.store = store
        self.channels = channels
        self.development = development or {}
        self.now = now
        self.status = StatusBook(store, self._is_recorded, now)
        self.evidence = EvidenceShelf(store, now)
        self.sessions = Sessions(store, now)
        self._journals = {name: Journal(store, name, Move) for name in channels}
        self.tombs = Tombstones(store)
        self.leases = Leases(store)
        self.recorder = Recorder(store, self.sessions, self.tombs, now)
        self.shard = lru_cache(maxsize=4096)(self._shard)
        self.snapshot = lru_cache(maxsize=256)(self._snapshot)

    # Files and sessions (rules 1 and 2)

    def record_file(self, record: Record, metadata: bytes, content: Path | bytes, session: str) -> Record:
        """Record a checked file and add it to a session. Return the stored record.

        ``content`` is the file's bytes, or a closed file from the store's ``scratch``.

        Raises:
            ConflictError: the name is recorded with other bytes, or the session was discarded.
        """
        [outcome] = self.recorder.record([CheckedFile(record, metadata, content, session)])
        if isinstance(outcome, RequestError):
            raise outcome
        return outcome

    def adopt(self, session: str, filename: str, project: str) -> Record:
        """Add a file that is recorded already to a session.

        Raises:
            NotFoundError: no such file is recorded.
            GoneError: the file was collected.
            ConflictError: the session was discarded.
        """
        self.sessions.refuse_discarded(session)
        record = self.find_record(project, filename)
        if record is None:
            raise NotFoundError(f"the index has no file {filename}; upload it")
        self._refuse_gone(record)
        self.sessions.join(record, session)
        self._refuse_gone(record)
        return record

    def find_record(self, project: str, filename: str) -> Record | None:
        """The record of a file name, or None."""
        return find(self.store, Record, record_key(project, filename))

    def _is_recorded(self, project: str, filename: str | None) -> bool:
        if filename is not None:
            return self.store.size(record_key(project, filename)) is not None
        return next(iter(keys(self.store, f"records/{project}/")), None) is not None

    def find_build(self, wheel_digest: str, project: str | None = None) -> Record | None:
        """The record of the wheel of a project that was published for a wheel digest, or None.

        A wheel states its own digest, so that only wheels of the same project can be trusted. Without a project,
        this returns the newest wheel that states the digest.
        """
        older = f"builds/{wheel_digest}.json"  # the key that older servers wrote
        places = (
            [build_key(wheel_digest, project)] if project else keys(self.store, f"builds/{wheel_digest}/")
        )
        pointers = [find(self.store, FilePointer, key) for key in (*places, older)]
        records = [
            self.find_record(pointer.project, pointer.filename)
            for pointer in pointers
            if pointer is not None and project in (None, pointer.project)
        ]
        found = [record for record in records if record is not None and not self._is_gone(record)]
        return max(found, key=lambda record: (record.uploaded_at, record.filename), default=None)

    def session_records(self, session: str) -> list[Record]:
        """The records of a session's files, in the order of upload."""
        return [self._record_of(file) for file in self.sessions.files(session)]

    def stored_key(self, sha256: str, filename: str) -> str:
        """The key of a file's current generation, as of the last look at collected files."""
        return generation_key((sha256, filename), self.tombs.known.generation((sha256, filename)))

    def _is_gone(self, record: Record) -> bool:
        return (record.sha256, record.filename) in self.tombs.look().gone

    def _refuse_gone(self, record: Record) -> None:
        if self._is_gone(record):
            raise GoneError(f"{record.filename} was collected; upload it again", sha256=record.sha256)

    def _record_of(self, file: SessionFile) -> Record:
        return read(self.store, Record, record_key(file.project, file.filename))

    # Snapshots (rules 3, 4 and 5)

    def make_snapshot(self, session: str, idempotency_key: str, channel: str) -> SnapshotAnswer:
        """Make a snapshot of the channel's current one plus a session, or return the answer given before.

        Raises:
            NotFoundError: there is no such channel, or the session has no files.
            ConflictError: the key was used for another channel, or the session was discarded.
        """
        request = self._pin(session, idempotency_key, channel)
        parent = self.snapshot(request.parent) if request.parent else None
        merged = self._merge(request, parent, [self._record_of(file) for file in request.files])
        if parent is not None and not merged.added:
            return SnapshotAnswer(
                id=parent.id,
                created=False,
                parent=parent.id,
                files=sum(ref.files for ref in parent.projects.values()),
                added=(),
                replaced=(),
                dropped=tuple(sorted(merged.dropped)),
            )
        name = sha256_hex(f"{session}/{idempotency_key}".encode())
        snapshot = self._place(request, name, merged.projects)
        return SnapshotAnswer(
            id=snapshot.id,
            created=True,
            parent=snapshot.parent,
            files=sum(ref.files for ref in merged.projects.values()),
            added=tuple(sorted(merged.added)),
            replaced=tuple(sorted(merged.replaced)),
            dropped=tuple(sorted(merged.dropped)),
        )

    def snapshot_ids(self) -> list[str]:
        """All snapshots, the oldest first."""
        ids = [key.removeprefix("snapshots/").removesuffix(".json") for key in keys(self.store, "snapshots/")]
        return sorted(ids, key=lambda each: tuple(map(int, each.split("-"))))

    def find_snapshot(self, snapshot_id: str) -> Snapshot:
        """The snapshot with this id.

        Raises:
            NotFoundError: there is no such snapshot.
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
        request = self.sessions.request(session, idempotency_key)
        if request is None:
            head = self.head(channel)
            self.sessions.refuse_discarded(session)
            files = self.sessions.files(session)
            if not files:
                raise NotFoundError(
                    "the session has no files: nothing was uploaded to it, or its files are in a snapshot already; "
                    "upload again, or point a channel at that snapshot"
                )
            inputs = SnapshotRequest(
                channel=channel,
                parent=head.snapshot if head else None,
                at=stamp(self.now()),
                files=tuple(files),
                development=self.development.get(channel),
            )
            request = self.sessions.pin(session, idempotency_key, inputs)
        if request.channel != channel:
            raise ConflictError(f"this idempotency key was used for channel {request.channel}")
        return request

    def _merge(self, request: SnapshotRequest, parent: Snapshot | None, records: list[Record]) -> _Merged:
        """The projects of parent plus ``records``."""
        merged = _Merged(dict(parent.projects) if parent else {})
        projects = merged.projects
        shards: dict[str, bytes | Path] = {}
        news: dict[str, list[Record]] = {}
        for record in records:
            news.setdefault(record.project, []).append(record)
        for project in sorted(news):
            old = self.shard(projects[project].shard).records if project in projects else ()
            cells = {cell(record): record for record in old}
            before = {record.filename for record in old}
            cells |= {cell(record): record for record in news[project]}
            listed = select(cells.values(), request.development, request.at)
            after = {record.filename: record for record in listed}
            aside = {record.filename for record in cells.values()} - after.keys()
            merged.dropped.update(aside)
            if before == after.keys():
                continue
            merged.added.update(after.keys() - before)
            merged.replaced.update(before - after.keys() - aside)
            held = tuple(after[name] for name in sorted(after))
            data = Shard(project=project, records=held).encode()
            digest = sha256_hex(data)
            shards[f"shards/{digest}.json"] = data
            projects[project] = ShardRef(shard=digest, files=len(held), offers=offers(held))
        names = list(shards)
        for start in range(0, len(names), AT_ONCE):
            part = names[start : start + AT_ONCE]
            with self.store.stage({name: shards[name] for name in part}) as staged:
                staged.create(*part)
        return merged

    def _place(self, request: SnapshotRequest, name: str, projects: dict[str, ShardRef]) -> Snapshot:
        """Write the snapshot under the first free id of its day, unless an earlier attempt wrote it."""
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
            key = f"snapshots/{snapshot.id}.json"
            if self.store.size(key) is None:
                self.store.create(key, snapshot.encode())
            if self.snapshot(snapshot.id).request == name:
                return snapshot

    def _snapshot(self, snapshot_id: str) -> Snapshot:
        return read(self.store, Snapshot, f"snapshots/{snapshot_id}.json")

    def _shard(self, digest: str) -> Shard:
        return read(self.store, Shard, f"shards/{digest}.json")

    # Channels (rules 6, 7 and 8)

    def head(self, channel: str) -> Move | None:
        """The last move of a channel, or None. Costs one request to the store if the channel has not moved.

        Raises:
            NotFoundError: there is no such channel.
        """
        return self.journal(channel).head()

    def moves(self, channel: str) -> list[Move]:
        """The journal of a channel, the oldest first."""
        return self.journal(channel).entries()

    def move(
        self,
        channel: str,
        *,
        snapshot_id: str,
        expected_serial: int,
        nonce: str,
        by: str,
        message: str = "",
        judge: Callable[[], Judgement | None] = lambda: None,
    ) -> tuple[Move, bool]:
        """Point a channel at a snapshot. Return the entry, and whether this nonce wrote it.

        ``judge`` applies the channel's gates and raises :class:`GateError` if they refuse.

        Raises:
            NotFoundError: there is no such channel or snapshot.
            ConflictError: the channel has moved, or the nonce was used for another move.
        """
        self.find_snapshot(snapshot_id)
        journal = self.journal(channel)
        head = journal.head()
        mine = journal.of_nonce(nonce)
        if mine is None and head is not None and head.snapshot == snapshot_id:
            return head, False
        if mine is None and (head.serial if head else 0) == expected_serial:
            judgement = judge()
            entry = Move(
                channel=channel,
                serial=expected_serial + 1,
                snapshot=snapshot_id,
                previous_hash=GENESIS,
                nonce=nonce,
                at=stamp(self.now()),
                by=by,
                approvals=tuple(approval.by for approval in judgement.approvals) if judgement else (),
                message=message,
                judgement=self._keep(judgement) if judgement else None,
                snapshot_sha256=sha256_hex(self.store.get(f"snapshots/{snapshot_id}.json")),
            )
            self.hold(snapshot_id)
            mine = journal.append(entry)
        if mine is None:
            raise self._moved_on(channel, expected_serial)
        if mine.snapshot != snapshot_id:
            raise ConflictError(f"this nonce was used for a move to {mine.snapshot}", serial=mine.serial)
        journal.hint()
        return mine, True

    def hold(self, snapshot_id: str) -> None:
        """Announce a move to a snapshot, then check that none of its files is collected (rule 12).

        Raises:
            ConflictError: files are collected, so that nothing may refer to the snapshot any more.
        """
        announce(self.store, snapshot_id, stamp(self.now()))
        records = list(self.snapshot_records(self.find_snapshot(snapshot_id)))
        collected = self.tombs.look()
        names = [each.filename for each in records if (each.sha256, each.filename) in collected.gone]
        if names:
            raise ConflictError(
                f"of the files of {snapshot_id}, {len(names)} have been collected: {', '.join(names[:3])}"
                f"{' and others' if len(names) > 3 else ''}; publish them again in a new snapshot",
                snapshot=snapshot_id,
                collected=len(names),
            )

    def journal(self, channel: str) -> Journal[Move]:
        """The journal of a channel.

        Raises:
            NotFoundError: there is no such channel.
        """
        self.require_channel(channel)
        return self._journals[channel]

    def require_channel(self, channel: str) -> None:
        """Check that there is such a channel.

        Raises:
            NotFoundError: there is no such channel.
        """
        if channel not in self._journals:
            raise NotFoundError(no_channel(channel, self.channels))

    def _keep(self, judgement: Judgement) -> str:
        data = judgement.encode()
        digest = sha256_hex(data)
        self.store.create(f"judgements/{digest}.json", data)
        return digest

    def _moved_on(self, channel: str, expected: int) -> ConflictError:
        head = self.head(channel)
        serial = head.serial if head else 0
        return ConflictError(
            f"{channel} is at serial {serial}, not {expected}: look at what it shows now, then decide again",
            serial=serial,
            snapshot=head.snapshot if head else None,
        )

    # Approvals

    def approve(self, channel: str, snapshot_id: str, *, by: str, token: str, message: str) -> Approval:
        """Record the approval of a token's owner. Return the stored one if they approved before.

        Raises:
            NotFoundError: there is no such channel or snapshot.
        """
        self.require_channel(channel)
        self.find_snapshot(snapshot_id)
        approval = Approval(
            channel=channel, snapshot=snapshot_id, by=by, token=token, at=stamp(self.now()), message=message
        )
        key = f"approvals/{channel}/{snapshot_id}/{token}.json"
        self.store.create(key, approval.encode())
        return read(self.store, Approval, key)

    def approvals(self, channel: str, snapshot_id: str) -> list[Approval]:
        """The approvals of a snapshot for a channel, the earliest first."""
        found = keys(self.store, f"approvals/{channel}/{snapshot_id}/")
        return sorted(
            (read(self.store, Approval, key) for key in found), key=lambda each: (each.at, each.token)
        )
