"""Gathers what pages for people show: channels, snapshots and what changed, projects, a search, CPUs.

Installers do not ask for these pages. They are rendered for each request.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from urllib.parse import parse_qs

from packaging.utils import canonicalize_name
from packaging.version import Version

from index_server.catalog.catalog import Catalog, cell
from index_server.errors import DamagedError, MissingObjectError
from index_server.model import Move, Record, Snapshot, StatusEntry
from index_server.pages import people
from index_server.pages.measured import Speed, speed
from index_server.pages.promises import Promises
from index_server.pages.simple import file_url
from index_server.rules.changes import changes
from index_server.rules.development import describe
from index_server.rules.gates import Gates
from index_server.rules.variants import with_variants
from index_server.rules.views import view, visible
from index_server.targets import Lens, Target, Targets

_log = logging.getLogger(__name__)
MOVES = 50  # on the page of a channel, and in its feed
SNAPSHOTS = 60  # in the list
MARKED = 60  # yanks and quarantines in a list
NEWS = 6  # moves on the front page
NAMED = 8  # projects that each names
COMPARED = 50  # replaced wheels whose speed is compared with that of the one before
HITS = 100  # of a search
_QUERY = 100  # letters of a search
_MACHINE = 8000  # letters of what a machine says of itself


class Browser:
    """Pages for people about a catalog."""

    def __init__(
        self, catalog: Catalog, targets: Targets, promises: Promises, gates: Mapping[str, Gates]
    ) -> None:
        self._catalog = catalog
        self._targets = targets
        self._promises = promises
        self._gates = gates

    def landing(self, base: str) -> bytes:
        """The front page: the channels and the targets; a damaged channel is told as such."""
        rows = []
        for name, description in self._catalog.channels.items():
            try:
                move = self._catalog.head(name)
                shown = self._catalog.snapshot(move.snapshot) if move else None
            except (DamagedError, MissingObjectError) as error:
                _log.error("%s", error)
                rows.append(people.ChannelRow(name, f"{description} (damaged)", None, None, 0))
                continue
            rows.append(
                people.ChannelRow(
                    name=name,
                    description=description,
                    snapshot=move.snapshot if move else None,
                    moved_at=move.at if move else None,
                    projects=len(shown.projects) if shown else 0,
                )
            )
        return people.landing_page(base, rows, self._targets.by_name.values(), self._news())

    def _news(self) -> list[people.News]:
        """The last moves of all channels, the newest first, with the projects that each changed."""
        found = []
        for channel in self._catalog.channels:
            with suppress(DamagedError, MissingObjectError):
                moves = self._moves(channel)
                pairs = zip([None, *moves], moves, strict=False)
                found += [(move, before.snapshot if before else None) for before, move in pairs][-NEWS:]
        found.sort(key=lambda pair: pair[0].at, reverse=True)
        return [self._new(move, before) for move, before in found[:NEWS]]

    def _new(self, move: Move, before: str | None) -> people.News:
        changed: list[str] = []
        with suppress(DamagedError, MissingObjectError):
            new = self._catalog.snapshot(move.snapshot).projects
            old = self._catalog.snapshot(before).projects if before else {}
            changed = [name for name in sorted(new.keys() | old.keys()) if new.get(name) != old.get(name)]
        return people.News(move.at, move.channel, move.snapshot, before, tuple(changed[:NAMED]), len(changed))

    def channel(self, base: str, channel: str) -> bytes:
        """The page of a channel: where it points, its targets, gates and moves."""
        moves = self._moves(channel)
        head = self._catalog.head(channel)
        shown = self._catalog.snapshot(head.snapshot) if head else None
        rule = self._catalog.development.get(channel)
        return people.channel_page(
            base,
            channel,
            self._catalog.channels[channel],
            moves=moves[: -MOVES - 1 : -1],
            older=max(0, len(moves) - MOVES),
            targets=self._seen(shown),
            gates=_told(self._gates.get(channel)),
            listing=describe(rule) if rule else "",
        )

    def feed(self, base: str, channel: str) -> bytes:
        """The last moves of a channel as an Atom feed."""
        return people.feed(base, channel, self._moves(channel)[: -MOVES - 1 : -1])

    def _moves(self, channel: str) -> list[Move]:
        """The moves of a channel, the oldest first, without damaged ones, which ``check`` names."""
        return [move for move in self._catalog.journal(channel).readable() if move is not None]

    def snapshots(self) -> bytes:
        """The list of snapshots, the newest first."""
        ids = self._catalog.snapshot_ids()[::-1]
        heads = self._heads()
        rows = [self._row(one, heads) for one in ids[:SNAPSHOTS]]
        return people.snapshots_page(rows, max(0, len(ids) - SNAPSHOTS), self._marks()[:MARKED])

    def _marks(self) -> list[StatusEntry]:
        """The yanks and quarantines and their undoing, the newest first, without damaged entries."""
        return [entry for entry in reversed(self._catalog.status.journal.readable()) if entry is not None]

    def snapshot(self, base: str, snapshot_id: str) -> bytes:
        """The page of one snapshot.

        Raises:
            NotFoundError: there is no such snapshot.
        """
        snapshot = self._catalog.find_snapshot(snapshot_id)
        moves = [
            move
            for channel in self._catalog.channels
            for move in self._moves(channel)
            if move.snapshot == snapshot_id
        ]
        return people.snapshot_page(
            base,
            snapshot,
            shown_by=[name for name, head in self._heads().items() if head == snapshot_id],
            moves=sorted(moves, key=lambda move: move.at, reverse=True),
            gated={name for name in self._catalog.channels if _told(self._gates.get(name))},
            marks=[entry for entry in self._marks() if entry.project in snapshot.projects][:MARKED],
            targets=self._seen(snapshot),
        )

    def changes(self, after: str, before: str) -> bytes:
        """What one snapshot has that another has not. Only projects that differ are read.

        Raises:
            NotFoundError: there is no such snapshot.
        """
        new, old = self._catalog.find_snapshot(after), self._catalog.find_snapshot(before)
        names = [
            name
            for name in sorted(new.projects.keys() | old.projects.keys())
            if new.projects.get(name) != old.projects.get(name)
        ]
        found = (changes(name, self._records(old, name), self._records(new, name), cell) for name in names)
        every = [one for one in found if one is not None]
        pairs = [pair for one in every for pair in one.replaced][:COMPARED]
        speeds = {new.sha256: self._speed(old, new) for old, new in pairs}
        return people.changes_page(before, after, every, speeds)

    def _speed(self, old: Record, new: Record) -> Speed | None:
        """The instructions of a wheel beside those of the one that it replaces, where bench counted both."""
        if new.tuned is None:
            return None
        bodies = []
        for record in (new, old):
            evidence = None
            with suppress(DamagedError, MissingObjectError):
                evidence = self._catalog.evidence.find(record.sha256, "bench")
            bodies.append(evidence.body if evidence is not None else None)
        return speed(*bodies)

    def project(
        self, base: str, place: str, snapshot: Snapshot, lens: Lens, project: str, root: str
    ) -> bytes:
        """The page of one project for people; ``root`` is the reference to the root of the index."""
        records = self._records(snapshot, project)
        _, marks = self._catalog.status.shown(project)
        self._promises.look()
        offered, yanked = marks.offered(records), dict(marks.yanked)
        if lens.variants:
            shown = with_variants(offered, lens, self._targets, yanked)
        else:
            shown = view(offered, lens, yanked)
        untils = self._promises.of(project, snapshot).untils(record.filename for record in shown)
        ordered = sorted(shown, key=lambda one: (Version(one.version), one.python_tag), reverse=True)
        rows = [
            people.WheelRow(
                version=one.version,
                python=f"{one.python_tag}-{one.abi_tag}" if one.abi_tag != one.python_tag else one.python_tag,
                target=_target(one),
                backend=one.tuned.backend if one.tuned else "",
                size=people.sized(one.size),
                sha256=one.sha256,
                url=file_url(one, root),
                uploaded_at=one.uploaded_at,
                uploaded_by=one.uploaded_by,
                until=untils.get(one.filename, ""),
                yanked=marks.yank_reason(one.filename),
            )
            for one in ordered
        ]
        newest = ordered[0] if ordered else None
        return people.person_page(
            base,
            place,
            lens,
            project,
            name=newest.name if newest else project,
            summary=newest.summary if newest else "",
            snapshot=snapshot.id,
            wheels=rows,
            quarantine=marks.project,
        )

    def search(self, query: str) -> bytes:
        """The projects in whose names a text occurs, in each channel; ``query`` is that of the URL."""
        wanted = parse_qs(query).get("q", [""])[0].strip()[:_QUERY]
        part = canonicalize_name(wanted) if wanted else ""
        found = [
            people.Hit(name, channel, seen)
            for channel, snapshot in self._shown().items()
            if part
            for name, ref in sorted(snapshot.projects.items())
            if part in name and (seen := self._seeing(ref.offers))
        ]
        found.sort(key=lambda hit: (hit.project != part, not hit.project.startswith(part), hit.project))
        return people.search_page(wanted, found[:HITS], max(0, len(found) - HITS))

    def cpu(self, base: str, query: str) -> bytes:
        """The page that finds the target of a CPU; ``query`` is that of the URL."""
        text = parse_qs(query).get("text", [""])[0][:_MACHINE]
        target, why = self._targets.of_machine(text) if text.strip() else (None, "")
        heads = self._heads()
        live = next((name for name, head in heads.items() if head), next(iter(heads)))
        every = list(self._targets.by_name.values())
        return people.cpu_page(base, live, every, text=text, target=target, why=why)

    def elsewhere(self, project: str) -> list[tuple[str, str]]:
        """Where the root's ``simple/PROJECT/`` might have led: the index of each channel that has it."""
        every = [
            f"{channel}/{name}/simple/{project}/"
            for channel, snapshot in self._shown().items()
            if (ref := snapshot.projects.get(project)) is not None
            for name in self._seeing(ref.offers)
        ]
        return [(f"../../{one}", one) for one in every]

    def _shown(self) -> dict[str, Snapshot]:
        """The snapshot of each channel that shows one; a damaged one is left out."""
        found = {}
        for channel, head in self._heads().items():
            with suppress(DamagedError, MissingObjectError):
                if head is not None:
                    found[channel] = self._catalog.snapshot(head)
        return found

    def _heads(self) -> dict[str, str | None]:
        """The snapshot that each channel shows; a damaged channel shows none."""
        found: dict[str, str | None] = {}
        for channel in self._catalog.channels:
            try:
                move = self._catalog.head(channel)
            except (DamagedError, MissingObjectError):
                move = None
            found[channel] = move.snapshot if move else None
        return found

    def _row(self, snapshot_id: str, heads: Mapping[str, str | None]) -> people.SnapshotRow:
        try:
            snapshot = self._catalog.snapshot(snapshot_id)
        except (DamagedError, MissingObjectError):
            return people.SnapshotRow(snapshot_id, damaged=True)
        return people.SnapshotRow(
            id=snapshot_id,
            created_at=snapshot.created_at,
            projects=len(snapshot.projects),
            files=sum(ref.files for ref in snapshot.projects.values()),
            shown_by=tuple(name for name, head in heads.items() if head == snapshot_id),
        )

    def _records(self, snapshot: Snapshot, project: str) -> Sequence[Record]:
        ref = snapshot.projects.get(project)
        return self._catalog.shard(ref.shard).records if ref is not None else ()

    def _seen(self, snapshot: Snapshot | None) -> list[tuple[Target, int]]:
        """Each target with the number of projects that it sees."""
        refs = list(snapshot.projects.values()) if snapshot else []
        return [
            (target, sum(visible(ref.offers, Lens(target)) for ref in refs))
            for target in self._targets.by_name.values()
        ]

    def _seeing(self, offers: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name, target in self._targets.by_name.items() if visible(offers, Lens(target)))


def _told(gates: Gates | None) -> list[str]:
    """What a snapshot needs, as sentences."""
    if gates is None:
        return []
    found = []
    if gates.sources:
        found.append(f"{' or '.join(gates.sources)} has shown it")
    if gates.required:
        found.append(
            f"it has the {len(gates.required)} required wheels: {', '.join(map(str, gates.required))}"
        )
    if gates.evidence:
        found.append(f"each wheel that was built here has passed {', '.join(gates.evidence)}")
    if gates.approvals:
        found.append(f"{gates.approvals} people other than the one who moves the channel have approved it")
    return found


def _target(record: Record) -> str:
    """What a wheel is for: its target, and the label of a variant."""
    target = record.tuned.target if record.tuned else "every CPU"
    return f"{target}, as {record.label}" if record.label else target
