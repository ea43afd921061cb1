"""What is kept, and until when. Pure: computed from journals, leases and snapshots alone, never from a clock.

A day is spelled as ISO 8601 spells it, so that days compare as text; :data:`FOREVER` sorts after all of them.

1. A channel without ``retention_days`` in ``channels.toml`` keeps for ever what it has ever shown.
2. A channel with N ``retention_days`` keeps a snapshot until N days after the day it left it. While it still
   shows the snapshot, N days after the day it came to it are promised, and it stays for as long as it is shown.
3. A lease keeps for ever what it names; when it ends, N days more.
4. What was uploaded into a session, what no channel has shown yet, and what somebody announced to be moved
   to, is kept for N days. N is here the largest of all channels, and one at least.
5. A file is kept for as long as anything that holds it. An entry added to a journal never makes a promise
   shorter, except the end of a lease.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from packaging.version import Version

from index_server.model import Record
from index_server.rules.leases import Lease

FOREVER = "forever"
NEVER = ""  # sorts before every day: nothing promises the file


@dataclass(frozen=True)
class Stay:
    """A channel's time at a snapshot; ``left`` is None while it is there."""

    channel: str
    snapshot: str
    came: str
    left: str | None


@dataclass(frozen=True)
class Terms:
    """How many days each channel keeps what it has left; None is for ever."""

    days: Mapping[str, int | None]

    @property
    def grace(self) -> int | None:
        """Days for all that no channel holds (rule 4)."""
        finite = [days for days in self.days.values() if days is not None]
        return max(1, *finite) if finite else None

    def after(self, day: str, days: int | None) -> str:
        """The day ``days`` days after ``day``."""
        return FOREVER if days is None else str(date.fromisoformat(day[:10]) + timedelta(days=days))


def stays(channel: str, moves: Iterable[tuple[str, str]]) -> list[Stay]:
    """The stays of a channel from its moves, each a snapshot and the time, the oldest first."""
    listed = [(snapshot, at[:10]) for snapshot, at in moves]
    lefts = [*(at for _, at in listed[1:]), None]
    return [Stay(channel, *arrived, left) for arrived, left in zip(listed, lefts, strict=False)]


@dataclass(frozen=True)
class RetentionState:
    """All that promises are computed from."""

    terms: Terms
    stays: Sequence[Stay] = ()
    leases: Sequence[Lease] = ()
    untils: Mapping[str, str] = field(init=False)  # of each snapshot that a channel or a lease names
    shown: frozenset[str] = field(init=False)  # the snapshots at which channels stand

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
        """Until when a snapshot is kept at least; its id begins with the day it was made."""
        made = f"{snapshot[:4]}-{snapshot[4:6]}-{snapshot[6:8]}"
        return max(self.untils.get(snapshot, NEVER), self.terms.after(made, self.terms.grace))

    def kept(self, snapshot: str, today: str) -> bool:
        """Whether nothing of the snapshot may go."""
        return snapshot in self.shown or self.until(snapshot) >= today

    def leased(self) -> dict[tuple[str, str], str]:
        """Files that leases name, by sha256 and name, and until when they are kept."""
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
    """Until when the files of a page are kept: all until ``base`` at least, some for longer."""

    base: str
    more: tuple[tuple[str, str], ...] = ()  # file name and day

    def untils(self, filenames: Iterable[str]) -> dict[str, str]:
        """For each file name the day, or :data:`FOREVER`."""
        more = dict(self.more)
        return {name: more.get(name, self.base) for name in filenames}


def successor(gone: Record, present: Iterable[Record]) -> Record | None:
    """What to take in place of a collected file: the newest of the same cell, else of the most alike."""
    ranked = [
        (rank, Version(record.version), record.uploaded_at, record.filename, record)
        for record in present
        if (rank := _likeness(gone, record)) and record.filename != gone.filename
    ]
    return max(ranked, key=lambda each: each[:4])[4] if ranked else None


def _likeness(gone: Record, other: Record) -> int:
    """How well ``other`` stands in for ``gone``; 0 where it is of another project, Python or platform."""
    if (gone.project, gone.python_tag, gone.abi_tag) != (other.project, other.python_tag, other.abi_tag):
        return 0
    if gone.tuned is None or other.tuned is None:
        same = gone.tuned is None and other.tuned is None and gone.platform_tag == other.platform_tag
        return 1 if same else 0
    if (gone.tuned.target, gone.tuned.backend) != (other.tuned.target, other.tuned.backend):
        return 0
    return 2 if gone.tuned.version == other.tuned.version else 1
