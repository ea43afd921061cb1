"""HTML pages for people, with install commands to copy. Pure; templates escape all values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from index_server.model import Move, Snapshot, StatusEntry
from index_server.pages.measured import Speed
from index_server.rules.changes import Change, grown
from index_server.targets import Lens, Target

POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"
"""The Content-Security-Policy of these pages: they load nothing and run nothing."""


@dataclass(frozen=True)
class ChannelRow:
    """A channel on the landing page."""

    name: str
    description: str
    snapshot: str | None
    moved_at: str | None
    projects: int


@dataclass(frozen=True)
class News:
    """A move of a channel, ``before`` being the snapshot that it pointed at, and the projects that changed."""

    at: str
    channel: str
    snapshot: str
    before: str | None
    changed: tuple[str, ...]
    """The first of them."""

    count: int
    """How many changed."""


@dataclass(frozen=True)
class SnapshotRow:
    """A snapshot in the list of snapshots. A damaged one has no facts."""

    id: str
    created_at: str = ""
    projects: int = 0
    files: int = 0
    shown_by: tuple[str, ...] = ()
    damaged: bool = False


@dataclass(frozen=True)
class WheelRow:
    """A wheel on the page of its project. ``yanked`` is the reason, which may be empty; None for others."""

    version: str
    python: str
    target: str
    backend: str
    size: str
    sha256: str
    url: str
    uploaded_at: str
    uploaded_by: str
    until: str
    yanked: str | None


@dataclass(frozen=True)
class Hit:
    """A project that a search found in one channel."""

    project: str
    channel: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class _Advice:
    """Where to lock from, and how to get a rebuild."""

    place: str
    lock: str
    update: str


def landing_page(
    base: str, channels: Sequence[ChannelRow], targets: Iterable[Target], news: Sequence[News] = ()
) -> bytes:
    """The front page; ``base`` is the server's own address without a slash."""
    targets = list(targets)
    default = default_target(targets)
    live = [row for row in channels if row.snapshot] or list(channels)
    lens = Lens(default)
    return _page(
        "landing.html.jinja",
        title="Armwheels",
        root="./",
        lines=install_lines(base, live[0].name, lens, "PROJECT"),
        target=default,
        channels=channels,
        news=news,
        live=live[0].name,
        targets=targets,
        advice=_advice(base, live[0].name, lens, live[0].snapshot, "PROJECT"),
    )


def channel_page(
    base: str,
    channel: str,
    description: str,
    *,
    moves: Sequence[Move],
    older: int,
    targets: Sequence[tuple[Target, int]],
    gates: Sequence[str],
    listing: str = "",
) -> bytes:
    """The page of a channel. ``moves`` are its last ones, the newest first, ``older`` counts those before.

    ``targets`` have the number of projects that each sees.
    """
    lens = Lens(default_target(target for target, _ in targets))
    return _page(
        "channel.html.jinja",
        title=f"{channel}: Armwheels",
        root="../",
        channel=channel,
        description=description,
        moves=moves,
        older=older,
        targets=targets,
        gates=gates,
        listing=listing,
        lines=install_lines(base, channel, lens, "PROJECT"),
    )


def feed(base: str, channel: str, moves: Sequence[Move]) -> bytes:
    """The moves of a channel, the newest first, as an Atom feed (RFC 4287)."""
    return _page("feed.atom.jinja", base=base, channel=channel, moves=moves)


def target_page(
    base: str, place: str, lens: Lens, *, snapshot: str | None, projects: Sequence[str], listing: str = ""
) -> bytes:
    """The page of one target at ``place``, a channel or ``snapshots/<id>``.

    ``listing`` says which development versions a channel lists, if not all.
    """
    project = projects[0] if projects else "PROJECT"
    return _page(
        "target.html.jinja",
        title=f"{place} for {lens.slug}",
        root="../" * (place.count("/") + 2),
        place=place,
        lens=lens,
        snapshot=snapshot,
        projects=projects,
        listing=listing,
        lines=install_lines(base, place, lens, project),
        advice=_advice(base, place, lens, snapshot, project),
    )


def person_page(
    base: str,
    place: str,
    lens: Lens,
    project: str,
    *,
    name: str,
    summary: str,
    snapshot: str,
    wheels: Sequence[WheelRow],
    quarantine: str | None,
) -> bytes:
    """The page of one project at ``place``, for people. ``wheels`` are its files, the newest version first."""
    return _page(
        "project.html.jinja",
        title=f"{name}: {place} for {lens.slug}",
        root="../" * (place.count("/") + 3),
        place=place,
        lens=lens,
        project=project,
        name=name,
        summary=summary,
        wheels=wheels,
        quarantine=quarantine,
        url=f"{base}/{place}/{lens.slug}/simple/",
        pinned=f"{base}/snapshots/{snapshot}/{lens.slug}/simple/" if wheels else "",
        lock=f"{base}/snapshots/{snapshot}/{lens.slug}/pylock.toml",
        lines=install_lines(base, place, lens, project),
    )


def snapshots_page(rows: Sequence[SnapshotRow], older: int, marks: Sequence[StatusEntry]) -> bytes:
    """The list of snapshots, the newest first; ``older`` counts those that it leaves out.

    ``marks`` are the yanks and quarantines and their undoing, the newest first.
    """
    return _page(
        "snapshots.html.jinja", title="Snapshots: Armwheels", root="../", rows=rows, older=older, marks=marks
    )


def snapshot_page(
    base: str,
    snapshot: Snapshot,
    *,
    shown_by: Sequence[str],
    moves: Sequence[Move],
    gated: Collection[str],
    marks: Sequence[StatusEntry],
    targets: Sequence[tuple[Target, int]],
) -> bytes:
    """The page of one snapshot; ``targets`` have the number of projects that each sees.

    ``moves`` point channels at it, of which ``gated`` have gates. ``marks`` are yanks and quarantines of its
    projects.
    """
    lens = Lens(default_target(target for target, _ in targets))
    return _page(
        "snapshot.html.jinja",
        title=f"Snapshot {snapshot.id}: Armwheels",
        root="../../",
        snapshot=snapshot,
        files=sum(ref.files for ref in snapshot.projects.values()),
        shown_by=shown_by,
        moves=moves,
        gated=gated,
        marks=marks,
        targets=targets,
        lines=install_lines(base, f"snapshots/{snapshot.id}", lens, "PROJECT"),
    )


def changes_page(
    before: str, after: str, every: Sequence[Change], speeds: Mapping[str, Speed | None]
) -> bytes:
    """What snapshot ``after`` has that ``before`` has not.

    ``speeds`` has what is known of new wheels beside those that they replace, by sha256.
    """
    return _page(
        "changes.html.jinja",
        title=f"{after} since {before}: Armwheels",
        root="../../../../",
        before=before,
        after=after,
        changes=every,
        counts={
            "added": sum(len(one.added) for one in every),
            "replaced": sum(len(one.replaced) for one in every),
            "removed": sum(len(one.removed) for one in every),
        },
        size=f"{_grown(grown(every))} in all." if every else "",
        speeds=speeds,
        sized=sized,
        grown=_grown,
    )


def search_page(query: str, found: Sequence[Hit], more: int) -> bytes:
    """The search for a project, and what it found; ``more`` counts what is left out."""
    return _page(
        "search.html.jinja", title="Search: Armwheels", root="../", query=query, found=found, more=more
    )


def cpu_page(
    base: str, live: str, targets: Sequence[Target], *, text: str, target: Target | None, why: str
) -> bytes:
    """The page that finds the target of a CPU. ``why`` says how it was found, or why it was not."""
    return _page(
        "cpu.html.jinja",
        title="Which target is my CPU? Armwheels",
        root="../",
        live=live,
        targets=targets,
        text=text,
        target=target,
        why=why,
        lines=install_lines(base, live, Lens(target), "PROJECT") if target else (),
    )


def missing_page(reason: str, root: str, links: Sequence[tuple[str, str]] = ()) -> bytes:
    """The page for 404; ``root`` is the reference to the front page, ``links`` are what may have been meant."""
    return _message("Not found", reason, root, links, start=True)


def away_page(reason: str) -> bytes:
    """The page for 503, while the store does not answer."""
    return _message("Not now", reason)


def damaged_page(reason: str) -> bytes:
    """The page for 500, about a damaged object."""
    return _message("Damaged", reason)


def refused_page(reason: str) -> bytes:
    """The page for 403, about a quarantined file."""
    return _message("Kept back", reason)


def page_of(title: str, body: Iterable[str], root: str = "/") -> bytes:
    """A page with this title; ``body`` is HTML, with all values escaped."""
    return _page("base.html.jinja", title=title, root=root, body=Markup("\n".join(body)))  # noqa: S704 - escaped


def install_lines(base: str, place: str, lens: Lens, project: str) -> tuple[str, str]:
    """The install commands of pip and uv for a view."""
    url = f"{base}/{place}/{lens.slug}/simple/"
    host = base.partition("://")[2]
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    local = name in ("localhost", "127.0.0.1", "[::1]")
    trust = f"--trusted-host {name} " if base.startswith("http://") and not local else ""
    preview = "--preview-features wheel-variants " if lens.variants else ""
    return (
        f"pip install {trust}--index-url {url} {project}",
        f"uv pip install {preview}--default-index {url} {project}",
    )


def default_target(targets: Iterable[Target]) -> Target:
    """The target of the examples."""
    listed = list(targets)
    return next((target for target in listed if target.name == "neoverse-v1"), listed[0])


def sized(count: int) -> str:
    """A number of bytes in kB or MB."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _grown(count: int) -> str:
    return f"{sized(count)} more" if count > 0 else f"{sized(-count)} less" if count < 0 else "the same size"


def _advice(base: str, place: str, lens: Lens, snapshot: str | None, project: str) -> _Advice | None:
    """Advice for a channel; none on the pages of a snapshot."""
    if snapshot is None or place == (fixed := f"snapshots/{snapshot}"):
        return None
    url = f"{base}/{fixed}/{lens.slug}/simple/"
    return _Advice(
        place,
        f"uv pip compile --generate-hashes --default-index {url} requirements.in -o requirements.txt",
        f"{install_lines(base, place, lens, project)[0]} --upgrade --force-reinstall --no-deps",
    )


def _message(
    title: str, reason: str, root: str = "/", links: Sequence[tuple[str, str]] = (), *, start: bool = False
) -> bytes:
    return _page("message.html.jinja", title=title, reason=reason, root=root, links=links, start=start)


def _page(template: str, **values: Any) -> bytes:
    return _templates().get_template(template).render(values).encode()


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("index_server.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
