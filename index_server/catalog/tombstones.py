"""What the collector took away, and what came back: the journal ``_collected``.

A file lives in generations, so that a collector that was slow, or killed and resumed, can never take what came
back after it looked. Generation 0 lies where its URL says; each later one lies in a folder of its own beside it.

* A ``collected`` entry is written **before** the bytes go. From then on the file counts as gone: nobody may make
  it reachable again, though its bytes may still be there for a while.
* A ``restored`` entry is written **after** the bytes of the next generation are whole.

Whoever makes files reachable announces it first (an entry in a session, a lease, or an intent to move) and looks
here afterwards; the collector writes here first and looks for announcements afterwards. So of the two, one at
least sees the other: that is all the locking there is.
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

JOURNAL = "_collected"
AT_ONCE = 5000  # files in one entry
_LATER = re.compile(r"again-([1-9][0-9]*)\Z")


def generation_key(file: File, generation: int) -> str:
    """Where a generation of a file lies; its metadata lies beside it."""
    sha256, filename = file
    folder = f"files/{sha256}/again-{generation}" if generation else f"files/{sha256}"
    return f"{folder}/{filename}"


def split_key(key: str) -> tuple[File, int]:
    """The file and the generation of a key below ``files/``, be it of the file or of its metadata."""
    _, sha256, *later, name = key.split("/")
    match = _LATER.match(later[0]) if later else None
    return (sha256, name.removesuffix(".metadata")), int(match[1]) if match else 0


class Tombstones:
    """The journal of collected files, as one process sees it."""

    def __init__(self, store: ObjectStore) -> None:
        self._journal = Journal(store, JOURNAL, TombEntry)
        self._known = Collected()

    def look(self) -> Collected:
        """The state of all files now. One look at the store when nothing was written since the last one."""
        serial = self._journal.serial
        known = self._known
        if serial != known.serial:
            self._known = known = known.after(self._journal.entries()[known.serial : serial])
        return known

    @property
    def known(self) -> Collected:
        """The state as of the last look of this process, for readers who look again when they find no file."""
        return self._known

    def collect(self, tombs: Sequence[Tomb], *, at: str, by: str) -> None:
        """Write that these are gone."""
        for start in range(0, len(tombs), AT_ONCE):
            self._append("collected", tombs[start : start + AT_ONCE], at, by)

    def restore(self, tomb: Tomb, *, at: str, by: str) -> None:
        """Write that this generation, which is stored already, is the file's present one."""
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
    """Announce a move; every attempt is an announcement of its own, so that none is out of date."""
    key = f"intents/{snapshot}/{secrets.token_hex(12)}.json"
    store.create(key, Intent(snapshot=snapshot, at=at).encode())


def announced(store: ObjectStore) -> Iterator[tuple[str, Intent]]:
    """All announcements with their keys; one that another collector has just forgotten kept nothing."""
    for key in store.keys("intents/"):
        with suppress(MissingObjectError):
            yield key, Intent.decode(store.get(key), key=key)
