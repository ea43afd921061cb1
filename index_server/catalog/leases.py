"""Leases: each keeps snapshots or files under a name until it is ended.

All leases are entries of one journal, ``_leases``, so that one request tells whether any has changed. A lease is
annulled if its files prove to be collected after it was written.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from index_server.catalog.journal import Journal
from index_server.errors import MalformedError, NotFoundError
from index_server.model import GENESIS, Kind, LeasedFile, LeaseEntry
from index_server.rules.leases import Lease, fold
from index_server.store.interface import ObjectStore

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\Z")
JOURNAL = "_leases"


class Leases:
    """The journal of leases, as seen by one process."""

    def __init__(self, store: ObjectStore) -> None:
        self.journal = Journal(store, JOURNAL, LeaseEntry)

    def all(self) -> list[Lease]:
        """All leases, including ended ones."""
        return fold(self.journal.entries())

    def standing(self, name: str) -> LeaseEntry | None:
        """The entry of the current lease of this name, or None."""
        mine = [entry for entry in self.journal.entries() if entry.name == name]
        return mine[-1] if mine and mine[-1].kind == "lease" else None

    def put(
        self,
        name: str,
        *,
        snapshots: Sequence[str],
        files: Sequence[LeasedFile],
        message: str,
        at: str,
        by: str,
    ) -> LeaseEntry:
        """Write a lease, unless the current one of this name is equal.

        Raises:
            MalformedError: the name is not valid, or there is nothing to keep.
        """
        if not NAME.match(name) or len(name) > 64:
            raise MalformedError("a lease's name is up to 64 lower-case letters, digits and single dashes")
        if not snapshots and not files:
            raise MalformedError("a lease names snapshots or files")
        wanted = (tuple(snapshots), tuple(files))
        standing = self.standing(name)
        if standing is not None and (standing.snapshots, standing.files) == wanted:
            return standing
        return self._append("lease", name, wanted, message, at, by)

    def end(self, name: str, *, at: str, by: str) -> LeaseEntry:
        """End a lease.

        Raises:
            NotFoundError: there is no lease of this name.
        """
        if self.standing(name) is None:
            raise NotFoundError(f"there is no lease {name}")
        return self._append("end", name, ((), ()), "", at, by)

    def void(self, name: str, *, at: str, by: str) -> LeaseEntry:
        """Annul the lease that was just written."""
        return self._append("void", name, ((), ()), "", at, by)

    def _append(
        self,
        kind: Kind,
        name: str,
        named: tuple[tuple[str, ...], tuple[LeasedFile, ...]],
        message: str,
        at: str,
        by: str,
    ) -> LeaseEntry:
        entry = LeaseEntry(
            serial=1,
            previous_hash=GENESIS,
            nonce=secrets.token_urlsafe(16),
            at=at,
            by=by,
            kind=kind,
            name=name,
            snapshots=named[0],
            files=named[1],
            message=message,
        )
        return self.journal.push(entry)
