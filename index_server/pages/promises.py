"""Computes how long pages promise to keep their files, by the retention rules and the journals.

Promises depend only on journals and leases. So every server states the same, and a page changes only when one of
them does. A promise is a lower bound: what a channel shows is kept as long as it is shown.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache

from index_server.catalog.catalog import Catalog
from index_server.errors import GoneError
from index_server.model import Gone, Snapshot
from index_server.pages.simple import file_url
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
        heads = [self._catalog.head(channel) for channel in channels]
        serials = [head.serial if head else 0 for head in heads]
        epoch = (self._catalog.leases.journal.serial, *serials)
        if epoch != self._epoch:
            moved = [(name, [(m.snapshot, m.at) for m in self._catalog.moves(name)]) for name in channels]
            all_stays = [stay for name, moves in moved for stay in stays(name, moves)]
            self._state, self._epoch = (
                RetentionState(self._terms, all_stays, self._catalog.leases.all()),
                epoch,
            )
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
            for record in self._catalog.shard(digest).records:
                if (record.sha256, record.filename) in names:
                    more.setdefault(record.filename, until)
        for (sha256, filename), until in state.leased().items():
            if (sha256, filename) in names and until > more.get(filename, base):
                more[filename] = until
        kept = ((name, until) for name, until in more.items() if until > base)
        return Promise(base, tuple(sorted(kept)) if base != FOREVER else ())

    def _shards_of(self, snapshot_id: str) -> Mapping[str, str]:
        refs = self._catalog.snapshot(snapshot_id).projects
        return {project: ref.shard for project, ref in refs.items()}


def gone_error(catalog: Catalog, gone: Gone) -> GoneError:
    """The answer about a collected file: when it was collected, and which file replaces it."""
    tomb = gone.tomb
    members: dict[str, object] = {"filename": tomb.filename, "sha256": tomb.sha256, "collected_at": gone.at}
    reason = f"{tomb.filename} was collected on {gone.at[:10]}: no promise covered it any more"
    record = catalog.find_record(tomb.project, tomb.filename)
    heads = {move.snapshot: move for name in catalog.channels if (move := catalog.head(name)) is not None}
    for snapshot_id in sorted(heads, key=lambda each: heads[each].at, reverse=True):
        ref = catalog.snapshot(snapshot_id).projects.get(tomb.project)
        found = successor(record, catalog.shard(ref.shard).records) if record and ref else None
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
