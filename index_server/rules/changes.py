"""What one snapshot has that another has not. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from index_server.model import Record

Cell = Callable[[Record], tuple[str, ...]]


@dataclass(frozen=True)
class Change:
    """The files of one project that differ: ``replaced`` has pairs of the same cell, the old one first."""

    project: str
    added: tuple[Record, ...]
    replaced: tuple[tuple[Record, Record], ...]
    removed: tuple[Record, ...]


def changes(project: str, before: Iterable[Record], after: Iterable[Record], cell: Cell) -> Change | None:
    """Return what changed in a project; ``None`` if nothing did. ``cell`` tells what a file takes the place of."""
    old = {record.filename: record for record in before}
    new = {record.filename: record for record in after}
    gone = {cell(record): record for name, record in old.items() if name not in new}
    come = [record for name, record in new.items() if name not in old]
    replaced = tuple((gone.pop(cell(record)), record) for record in come if cell(record) in gone)
    taken = {record.filename for _, record in replaced}
    added = tuple(record for record in come if record.filename not in taken)
    if not (added or replaced or gone):
        return None
    return Change(project, added, replaced, tuple(gone.values()))


def grown(every: Sequence[Change]) -> int:
    """Return by how many bytes the later snapshot is larger."""
    return sum(
        sum(record.size for record in one.added)
        + sum(new.size - old.size for old, new in one.replaced)
        - sum(record.size for record in one.removed)
        for one in every
    )
