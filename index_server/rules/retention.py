"""Computes what is kept, and until when, from journals, leases and snapshots. Pure: no clock is read.

Days are in ISO 8601 format, so that they compare as text; :data:`FOREVER` sorts after all days.

1. A channel without ``retention_days`` in ``channels.toml`` keeps everything it has ever shown.
2. A channel with N ``retention_days`` keeps a snapshot until N days after it left the snapshot. While the channel
   shows the snapshot, pages promise N days after the arrival, and the snapshot stays as long as it is shown.
3. A lease keeps what it names until it ends, and then for N more days.
4. Uploads in a session, snapshots that no channel has shown, and snapshots whose move was announced are kept for
   N days. Here and in rule 3, N is the largest of all channels, and at least one.
5. A file is kept as long as anything that contains it. A new journal entry never shortens a promise, except the
   end of a lease.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from packaging.version import Version

from index_server.model import Record
from index_server.rules.leases import Lease

FOREVER = "forever"
NEVER = ""  # no promise; sorts before every day


@dataclass(frozen=True)
class Stay:
    """The days from which and until which a channel showed a snapshot; ``left`` is None while it does."""

    channel: str
    snapshot: str
    came: str
    left: str | None


@dataclass(frozen=True)
class Terms:
    """The ``retention_days`` of each channel; None is for ever."""

    days: Mapping[str, int | None]

    @property
    def grace(self) -> int | None:
        """Days for everything that no channel shows (rules 3 and 4); None is for ever."""
        finite = [days for days in self.days.values() if days is not None]
        return max(1, *finite) if finite else None

    def after(self, day: str, days: int | None) -> str:
        """The day that is ``days`` after ``day``."""
        return FOREVER if days is None else str(date.fromisoformat(day[:10]) + timedelta(days=days))


def stays(channel: str, moves: Iterable[tuple[str, str] | None]) -> list[Stay]:
    """The stays of a channel from its moves, which are pairs of snapshot and time, the oldest first.

    A move that cannot be read is None; the one before it counts as left when it came.

    A clock that was set back cannot shorten a stay: a snapshot counts as left with the first later move whose time
    is not before its arrival, and until there is one it counts as shown.
    """
    listed = [(move[0], move[1][:10]) if move else None for move in moves]
    found = []
    for number, arrived in enumerate(listed, 1):
        if arrived is None:
            continue
        came = arrived[1]
        if number < len(listed) and listed[number] is None:
            left: str | None = came  # it left no earlier than it came
        else:
            later = (listed[each] for each in range(number, len(listed)))
            left = next((move[1] for move in later if move and move[1] >= came), None)
        found.append(Stay(channel, *arrived, left))
    return found


@dataclass(frozen=True)
class RetentionState:
    """The stays and leases from which promises are computed."""

    terms: Terms
    stays: Sequence[Stay] = ()
    leases: Sequence[Lease] = ()
    untils: Mapping[str, str] = field(
        init=False
    )  # of each snapshot that a channel has shown or a lease names
    shown: frozenset[str] = field(init=False)  # snapshots that channels show now

    def __post_init__(self) -> None:
        untils: dict[str, str] = {}
        for stay in self.stays:
            until = self.terms.after(stay.left or stay.came, self.terms.days.get(stay.channel))
            untils[stay.snapshot] = max(untils.get(stay.snapshot, NEVER), until)
        for lease in self.leases:
            for snapshot in lease.snapshots:
                untils[snapshot] = max(untils.get(snapshot, NEVER), self._lease_until(lease))
        object.__setattr__(self, "untils", untils)
        object.__setattr__(self, "shown", frozenset(s.snapshot for s in self.stays if s.left is None))

    def until(self, snapshot: str) -> str:
        """The day until which a snapshot is kept at least. Its id begins with the day it was made."""
        made = f"{snapshot[:4]}-{snapshot[4:6]}-{snapshot[6:8]}"
        return max(self.untils.get(snapshot, NEVER), self.terms.after(made, self.terms.grace))

    def kept(self, snapshot: str, today: str) -> bool:
        """Whether all files of the snapshot must be kept."""
        return snapshot in self.shown or self.until(snapshot) >= today

    def leased(self) -> dict[tuple[str, str], str]:
        """Files named by leases, as sha256 and name, with the day until which they are kept."""
        found: dict[tuple[str, str], str] = {}
        for lease in self.leases:
            for file in lease.files:
                key = (file.sha256, file.filename)
                found[key] = max(found.get(key, NEVER), self._lease_until(lease))
        return found

    def _lease_until(self, lease: Lease) -> str:
        return FOREVER if lease.ended is None else self.terms.after(lease.ended, self.terms.grace)


@dataclass(frozen=True)
class Promise:
    """The days until which the files of a page are kept: at least ``base``, longer for the files in ``more``."""

    base: str
    more: tuple[tuple[str, str], ...] = ()  # file name and day

    def untils(self, filenames: Iterable[str]) -> dict[str, str]:
        """The day for each file name, or :data:`FOREVER`."""
        more = dict(self.more)
        return {name: more.get(name, self.base) for name in filenames}


def successor(gone: Record, present: Iterable[Record]) -> Record | None:
    """The file to use in place of a collected one: the newest of the same cell, else of the most similar cell."""
    ranked = [
        (rank, Version(record.version), record.uploaded_at, record.filename, record)
        for record in present
        if (rank := _likeness(gone, record)) and record.filename != gone.filename
    ]
    return max(ranked, key=lambda each: each[:4])[4] if ranked else None


def _likeness(gone: Record, other: Record) -> int:
    """How well ``other`` replaces ``gone``; 0 if it is of another project, Python or platform."""
    if (gone.project, gone.python_tag, gone.abi_tag) != (other.project, other.python_tag, other.abi_tag):
        return 0
    if gone.tuned is None or other.tuned is None:
        same = gone.tuned is None and other.tuned is None and gone.platform_tag == other.platform_tag
        return 1 if same else 0
    if (gone.tuned.target, gone.tuned.backend) != (other.tuned.target, other.tuned.backend):
        return 0
    return 2 if gone.tuned.version == other.tuned.version else 1
