"""Selects the files that a view, which is a (snapshot, target, backend), shows. Pure.

For each project, version (without the local part), Python tag and ABI tag, a view shows the one best wheel:

1. A wheel is eligible if its target is the view's own or in the target's ``also_runs``.
2. If the view asks for a backend, wheels of that backend come before wheels of the recipe's default one;
   wheels of other backends are never shown.
3. Among equals the target's own wheel comes first, then the order of ``also_runs`` decides.
4. Files without a passport are shown to every target. A Linux aarch64 wheel without a passport is hidden by a
   tuned wheel of the same version, Python and ABI. If both were shown, installers would choose between them by
   the order of local versions (PEP 440).
5. Wheel variants (PEP 825) are in no such view. :mod:`index_server.rules.variants` shows them.
6. A yanked wheel (PEP 592) takes the place of no other. It stays visible for those who pinned it, and the best
   wheel that is not yanked is shown beside it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from index_server.model import Record
from index_server.targets import Lens

EVERY_TARGET = "*"


def view(records: Iterable[Record], lens: Lens, yanked: Container[str] = ()) -> list[Record]:
    """The records that ``lens`` shows, by file name; ``yanked`` holds the names of yanked files."""
    listed = [record for record in records if not record.label]
    best = _best(listed, lens)
    standing = _best([record for record in listed if record.filename not in yanked], lens)
    untuned = [record for record in listed if record.tuned is None]
    shown = {record.filename: record for record in (*best.values(), *standing.values())}
    shown |= {
        record.filename: record
        for record in untuned
        if not (_is_linux_arm(record) and _release(record) in standing)
    }
    return [shown[name] for name in sorted(shown)]


def offers(records: Iterable[Record]) -> tuple[str, ...]:
    """A summary of ``records``, from which :func:`visible` answers without reading them.

    ``*`` means a file for every target, ``target`` a wheel with its recipe's default backend, and
    ``target+backend`` any wheel with that backend.
    """
    found = set()
    for record in records:
        if record.label:  # shown beside a plain wheel alone
            continue
        if record.tuned is None:
            found.add(EVERY_TARGET)
            continue
        found.add(f"{record.tuned.target}+{record.tuned.backend}")
        if record.tuned.default_backend:
            found.add(record.tuned.target)
    return tuple(sorted(found))


def visible(offered: Iterable[str], lens: Lens) -> bool:
    """Whether ``view`` shows any of the records that ``offered`` was made from."""
    wanted = {EVERY_TARGET, *lens.target.runs}
    if lens.backend:
        wanted |= {f"{target}+{lens.backend}" for target in lens.target.runs}
    return not wanted.isdisjoint(offered)


def backends(offered: Iterable[str]) -> set[str]:
    """The backends named in ``offered``."""
    return {offer.partition("+")[2] for offer in offered} - {""}


def _best(records: Iterable[Record], lens: Lens) -> dict[tuple[str, ...], Record]:
    """The best tuned wheel of each project, version, Python and ABI."""
    best: dict[tuple[str, ...], tuple[tuple[int, int], Record]] = {}
    # Newest first: of two builds of a cell, the newer one is shown.
    for record in sorted(records, key=lambda record: (record.uploaded_at, record.filename), reverse=True):
        rank = _rank(record, lens)
        release = _release(record)
        if rank is not None and (release not in best or rank < best[release][0]):
            best[release] = (rank, record)
    return {release: record for release, (_, record) in best.items()}


def _rank(record: Record, lens: Lens) -> tuple[int, int] | None:
    """The rank of a tuned wheel, lower is better; None if it must not be shown."""
    if record.tuned is None or record.tuned.target not in lens.target.runs:
        return None
    place = lens.target.runs.index(record.tuned.target)
    if lens.backend and record.tuned.backend == lens.backend:
        return 0, place
    return (1, place) if record.tuned.default_backend else None


def _release(record: Record) -> tuple[str, ...]:
    version = record.tuned.version if record.tuned else record.version
    return record.project, version, record.python_tag, record.abi_tag


def _is_linux_arm(record: Record) -> bool:
    return any(
        part.endswith("_aarch64") and part.startswith(("linux", "manylinux"))
        for part in record.platform_tag.split(".")
    )
