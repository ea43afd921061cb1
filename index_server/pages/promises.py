"""Computes how long pages promise to keep their files, by the retention rules and the journals.

Promises depend only on journals and leases. So every server states the same, and a page changes only when one of
them does. A promise is a lower bound: what a channel shows is kept as long as it is shown.
A damaged object promises nothing. So one damaged object does not take down the pages of others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache

from index_server.catalog.catalog import Catalog
from index_server.errors import DamagedError, GoneError, MissingObjectError
from index_server.model import Gone, Record, Snapshot
from index_server.pages.simple import file_url
from index_server.rules.leases import Lease
from index_server.rules.retention import FOREVER, Promise, RetentionState, Terms, stays, successor

LOOK_EVERY = 1.0  # seconds between reads for kept pages; rendering a page always reads
Epoch = tuple[int, ...]


class Promises:
    """The promises of an index, as seen by one process."""

    def __init__(self, catalog: Catalog, terms: Terms) -> None:
        self._catalog = catalog
        self._terms = terms
        self._epoch: Epoch = ()
        self._state = RetentionState(terms)
        self._looked = float("-inf")
        self._shards = lru_cache(maxsize=4096)(self._shards_of)

    def current(self, epoch: Epoch) -> bool:
        """Whether a page rendered at ``epoch`` is still right, by a recent read."""
        return epoch == self._epoch and time.monotonic() - self._looked < LOOK_EVERY

    def look(self) -> Epoch:
        """Read what was written since the last call. Return the serials of leases and channels."""
        begun = time.monotonic()
        channels = self._catalog.channels
        journals = {channel: self._catalog.journal(channel) for channel in channels}
        epoch = (self._catalog.leases.journal.serial, *(each.serial for each in journals.values()))
        if epoch != self._epoch:
            all_stays = [
                stay
                for name, journal in journals.items()
                for stay in stays(name, [(m.snapshot, m.at) if m else None for m in journal.readable()])
            ]
            self._state, self._epoch = RetentionState(self._terms, all_stays, self._leases()), epoch
        self._looked = begun
        return epoch

    def of(self, project: str, snapshot: Snapshot) -> Promise:
        """The promise about a project's files in a snapshot, as of the last :meth:`look`.

        A file is kept as long as any snapshot that has it. Only snapshots that promise more than this one are read.
        """
        state, shard = self._state, snapshot.projects[project].shard
        base = state.until(snapshot.id)
        names = {(record.sha256, record.filename) for record in self._catalog.shard(shard).records}
        more: dict[str, str] = {}
        seen = {shard}
        for until, other in sorted(((until, name) for name, until in state.untils.items()), reverse=True):
            if until <= base:
                break
            digest = self._shards(other).get(project)
            if digest == shard:
                base = until
                break
            if digest is None or digest in seen:
                continue
            seen.add(digest)
            with suppress(DamagedError, MissingObjectError):  # it promises nothing more
                for record in self._catalog.shard(digest).records:
                    if (record.sha256, record.filename) in names:
                        more.setdefault(record.filename, until)
        for (sha256, filename), until in state.leased().items():
            if (sha256, filename) in names and until > more.get(filename, base):
                more[filename] = until
        kept = ((name, until) for name, until in more.items() if until > base)
        return Promise(base, tuple(sorted(kept)) if base != FOREVER else ())

    def of_file(self, record: Record) -> str:
        """The day until which a file is kept, as of the last :meth:`look`; empty if nothing promises to keep it.

        ``forever`` is the greatest.
        """
        file = (record.sha256, record.filename)
        leased = self._state.leased().get(file, "")
        seen: set[str | None] = set()
        promised = ((self._state.until(name), name) for name in self._state.untils)
        for until, name in sorted(promised, reverse=True):
            if until <= leased:
                break
            digest = self._shards(name).get(record.project)
            if digest is None or digest in seen:
                continue
            seen.add(digest)
            with suppress(DamagedError, MissingObjectError):  # it promises nothing more
                if file in {(one.sha256, one.filename) for one in self._catalog.shard(digest).records}:
                    return until
        return leased

    def _leases(self) -> list[Lease]:
        """The leases; none where an entry is damaged, since it may have ended any of them."""
        try:
            return self._catalog.leases.all()
        except DamagedError:
            return []

    def _shards_of(self, snapshot_id: str) -> Mapping[str, str]:
        try:
            refs = self._catalog.snapshot(snapshot_id).projects
        except (DamagedError, MissingObjectError):  # it promises nothing more
            return {}
        return {project: ref.shard for project, ref in refs.items()}


def _shown_now(catalog: Catalog, project: str) -> Iterator[tuple[str, Sequence[Record]]]:
    """The records of a project in what channels show, the latest move first; what is damaged is passed over."""
    heads: dict[str, str] = {}
    for name in catalog.channels:
        with suppress(DamagedError):
            move = catalog.head(name)
            if move is not None:
                heads[move.snapshot] = move.at
    for snapshot_id in sorted(heads, key=lambda each: heads[each], reverse=True):
        with suppress(DamagedError, MissingObjectError):
            ref = catalog.snapshot(snapshot_id).projects.get(project)
            if ref is not None:
                yield snapshot_id, catalog.shard(ref.shard).records


def gone_error(catalog: Catalog, gone: Gone) -> GoneError:
    """The answer about a collected file: when it was collected, and which file replaces it."""
    tomb = gone.tomb
    members: dict[str, object] = {"filename": tomb.filename, "sha256": tomb.sha256, "collected_at": gone.at}
    reason = f"{tomb.filename} was collected on {gone.at[:10]}: no promise covered it any more"
    record = catalog.find_record(tomb.project, tomb.filename)
    for snapshot_id, records in _shown_now(catalog, tomb.project):
        found = successor(record, records) if record else None
        if found is not None:
            members["successor"] = {
                "snapshot": snapshot_id,
                "filename": found.filename,
                "url": file_url(found, "../../"),  # from another file
                "hashes": {"sha256": found.sha256},
                "version": found.version,
            }
            return GoneError(f"{reason}; {found.filename} stands in its place", **members)
    return GoneError(reason, **members)
