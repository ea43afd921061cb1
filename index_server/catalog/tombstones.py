"""The journal ``_collected``: files that the collector deleted, and files that were uploaded again.

A file has generations, so that a slow or resumed collector never deletes a file that came back after the collector
looked. Generation 0 is stored at the path of its URL, each later one in a folder of its own beside it.

* A ``collected`` entry is written **before** the bytes are deleted. From then on the file counts as collected, and
  nothing may refer to it again, though its bytes may exist for a while.
* A ``restored`` entry is written **after** the bytes of the next generation are complete.

A request that makes files reachable first writes an announcement: an entry in a session, a lease, or an intent to
move. It reads this journal afterwards. The collector writes this journal first, and reads the announcements
afterwards. So at least one of the two sees the other, and no lock is needed.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Literal

from index_server.catalog.journal import Journal
from index_server.errors import MissingObjectError
from index_server.model import GENESIS, File, Intent, Tomb, TombEntry
from index_server.rules.collected import Collected
from index_server.store.interface import ObjectStore
from index_server.store.objects import keys

JOURNAL = "_collected"
AT_ONCE = 5000  # files in one entry
_LATER = re.compile(r"again-([1-9][0-9]*)\Z")


def generation_key(file: File, generation: int) -> str:
    """The key of a generation of a file. The key of its metadata adds ``.metadata``."""
    sha256, filename = file
    folder = f"files/{sha256}/again-{generation}" if generation else f"files/{sha256}"
    return f"{folder}/{filename}"


def split_key(key: str) -> tuple[File, int]:
    """The file and the generation of a key below ``files/``, of a file or of its metadata."""
    _, sha256, *later, name = key.split("/")
    match = _LATER.match(later[0]) if later else None
    return (sha256, name.removesuffix(".metadata")), int(match[1]) if match else 0


class Tombstones:
    """The journal of collected files, as seen by one process."""

    def __init__(self, store: ObjectStore) -> None:
        self._journal = Journal(store, JOURNAL, TombEntry)
        self._known = Collected()

    def look(self) -> Collected:
        """The current state of all files. Costs one request to the store if nothing changed."""
        serial = self._journal.serial
        known = self._known
        if serial != known.serial:
            self._known = known = known.after(self._journal.entries()[known.serial : serial])
        return known

    @property
    def known(self) -> Collected:
        """The state at the last :meth:`look`, for readers that look again when a file is missing."""
        return self._known

    def collect(self, tombs: Sequence[Tomb], *, at: str, by: str) -> None:
        """Record that files are collected."""
        for start in range(0, len(tombs), AT_ONCE):
            self._append("collected", tombs[start : start + AT_ONCE], at, by)

    def restore(self, tomb: Tomb, *, at: str, by: str) -> None:
        """Record that this generation, which is stored already, is the current one of its file."""
        self._append("restored", [tomb], at, by)

    def _append(
        self, kind: Literal["collected", "restored"], tombs: Iterable[Tomb], at: str, by: str
    ) -> None:
        entry = TombEntry(
            serial=1,
            previous_hash=GENESIS,
            nonce=secrets.token_urlsafe(16),
            at=at,
            by=by,
            kind=kind,
            files=tuple(tombs),
        )
        self._journal.push(entry)
        self.look()


def announce(store: ObjectStore, snapshot: str, at: str) -> None:
    """Announce a move. Each attempt writes a new announcement, since the collector ignores old ones."""
    key = f"intents/{snapshot}/{secrets.token_hex(12)}.json"
    store.create(key, Intent(snapshot=snapshot, at=at).encode())


def announced(store: ObjectStore) -> Iterator[tuple[str, Intent]]:
    """All announcements with their keys, except those that another collector deletes at the same time."""
    for key in keys(store, "intents/"):
        with suppress(MissingObjectError):
            yield key, Intent.decode(store.get(key), key=key)
