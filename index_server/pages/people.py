"""HTML pages for people, with install commands to copy. Pure; all values are escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from string import Template

from index_server.targets import Lens, Target

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The Content-Security-Policy of these pages: they load nothing and run nothing."""

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #5b6570; --line: #d9dee4; --paper: #fff;
  --soft: #f4f6f8; --link: #0b5cad; --good: #1a7f37; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --dim: #9aa5b1; --line: #333b44;
  --paper: #14181d; --soft: #1d232a; --link: #7ab8ff; --good: #57c97a; --bad: #ff8a7a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 54rem; padding: 2rem 1.1rem 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { margin: .4rem 0; } a { color: var(--link); } .dim { color: var(--dim); }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem;
  overflow-x: auto; user-select: all; font: .8rem/1.5 ui-monospace, monospace; }
table { width: 100%; border-collapse: collapse; }
td, th { text-align: left; padding: .45rem .6rem .45rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: break-word; } th { font-weight: 600; }
th, td a { white-space: nowrap; }
.wide { overflow-x: auto; } .numbers td { white-space: nowrap; }
.numbers td:not(:first-child), .numbers th:not(:first-child) { text-align: right;
  white-space: nowrap; font-variant-numeric: tabular-nums; }
ul { columns: 13rem; padding-left: 1.1rem; } ul.plain { columns: auto; }
.better { color: var(--good); } .worse { color: var(--bad); font-weight: 600; }
</style>
</head>
<body>
$body
</body>
</html>
""")


@dataclass(frozen=True)
class ChannelRow:
    """A channel on the landing page."""

    name: str
    description: str
    snapshot: str | None
    moved_at: str | None
    projects: int


def landing_page(base: str, channels: Sequence[ChannelRow], targets: Iterable[Target]) -> bytes:
    """The front page; ``base`` is the server's own address without a slash."""
    targets = list(targets)
    default = default_target(targets)
    live = [row for row in channels if row.snapshot] or list(channels)
    body = [
        "<h1>Armwheels</h1>",
        '<p class="dim">Python wheels compiled and proven for each Arm server CPU.</p>',
        "<h2>Install</h2>",
        *_commands(base, live[0].name, Lens(default), "PROJECT"),
        f"<p>Not {escape(default.name)}? Choose your CPU below.</p>",
        *_locking(base, live[0].name, Lens(default), live[0].snapshot, "PROJECT"),
        "<h2>Channels</h2>",
        "<table><tr><th>channel</th><th>snapshot</th><th>moved</th><th>projects</th></tr>",
        *(_channel_row(row) for row in channels),
        "</table>",
        f"<h2>Targets in {escape(live[0].name)}</h2>",
        "<table><tr><th>target</th><th>CPU</th></tr>",
        *(_target_row(live[0].name, target) for target in targets),
        "</table>",
    ]
    return page_of("Armwheels", body)


def target_page(
    base: str, place: str, lens: Lens, *, snapshot: str | None, projects: Sequence[str], listing: str = ""
) -> bytes:
    """The page of one target at ``place``, a channel or ``snapshots/<id>``.

    ``listing`` says which development versions a channel lists, if not all.
    """
    title = f"{place} for {lens.slug}"
    project = projects[0] if projects else "PROJECT"
    links = [f'<li><a href="simple/{escape(name)}/">{escape(name)}</a></li>' for name in projects]
    body = [
        f'<p><a href="{"../" * (place.count("/") + 2)}">Armwheels</a></p>',
        f"<h1>{escape(title)}</h1>",
        f'<p class="dim">{escape(lens.target.description)}</p>',
        f"<p>Snapshot {escape(snapshot)}.</p>" if snapshot else "<p>Nothing is published here yet.</p>",
        "<h2>Install</h2>",
        *_commands(base, place, lens, project),
        *_locking(base, place, lens, snapshot, project),
        "<h2>Projects</h2>",
        *([f'<p class="dim">{escape(listing)} Older ones stay in their snapshots.</p>'] if listing else []),
        f"<ul>{''.join(links)}</ul>" if links else "<p>None.</p>",
    ]
    return page_of(title, body)


def missing_page(reason: str, root: str) -> bytes:
    """The page for 404; ``root`` is the reference to the front page."""
    return page_of(
        "Not found",
        ["<h1>Not found</h1>", f"<p>{escape(reason)}</p>", f'<p><a href="{root}">Start over</a></p>'],
    )


def away_page(reason: str) -> bytes:
    """The page for 503, while the store does not answer."""
    return page_of("Not now", ["<h1>Not now</h1>", f"<p>{escape(reason)}</p>"])


def damaged_page(reason: str) -> bytes:
    """The page for 500, about a damaged object."""
    return page_of("Damaged", ["<h1>Damaged</h1>", f"<p>{escape(reason)}</p>"])


def refused_page(reason: str) -> bytes:
    """The page for 403, about a quarantined file."""
    return page_of("Kept back", ["<h1>Kept back</h1>", f"<p>{escape(reason)}</p>"])


def install_lines(base: str, place: str, lens: Lens, project: str) -> tuple[str, str]:
    """The install commands of pip and uv for a view."""
    url = f"{base}/{place}/{lens.slug}/simple/"
    host = base.partition("://")[2]
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    local = name in ("localhost", "127.0.0.1", "[::1]")
    trust = f"--trusted-host {name} " if base.startswith("http://") and not local else ""
    return (
        f"pip install {trust}--index-url {url} {project}",
        f"uv pip install --default-index {url} {project}",
    )


def default_target(targets: Iterable[Target]) -> Target:
    """The target of the examples."""
    listed = list(targets)
    return next((target for target in listed if target.name == "neoverse-v1"), listed[0])


def _commands(base: str, place: str, lens: Lens, project: str) -> list[str]:
    return [f"<pre>{escape(line)}</pre>" for line in install_lines(base, place, lens, project)]


def _locking(base: str, place: str, lens: Lens, snapshot: str | None, project: str) -> list[str]:
    """Where to lock from, and how to get a rebuild; nothing on the pages of a snapshot."""
    if snapshot is None or place == (fixed := f"snapshots/{snapshot}"):
        return []
    url = f"{base}/{fixed}/{lens.slug}/simple/"
    lock = f"uv pip compile --generate-hashes --default-index {url} requirements.in -o requirements.txt"
    update = f"{install_lines(base, place, lens, project)[0]} --upgrade --force-reinstall --no-deps"
    return [
        "<h2>Lock and update</h2>",
        f"<p>The hashes of {escape(place)} change with each rebuild. Lock against its snapshot, which never "
        "changes, and install the lock file from the same address:</p>",
        f"<pre>{escape(lock)}</pre>",
        "<p>A rebuild has the same version, so <code>--upgrade</code> alone keeps the installed build. "
        "Reinstall to get it:</p>",
        f"<pre>{escape(update)}</pre>",
    ]


def _channel_row(row: ChannelRow) -> str:
    cells = (
        f"<strong>{escape(row.name)}</strong><br><span class=dim>{escape(row.description)}</span>",
        f'<a href="api/snapshots/{escape(row.snapshot)}">{escape(row.snapshot)}</a>'
        if row.snapshot
        else "none yet",
        escape((row.moved_at or "")[:16].replace("T", " ")),
        str(row.projects),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _target_row(channel: str, target: Target) -> str:
    link = f'<a href="{escape(channel)}/{escape(target.name)}/">{escape(target.name)}</a>'
    also = f"<br><span class=dim>also: {escape(', '.join(target.aliases))}</span>" if target.aliases else ""
    return f"<tr><td>{link}</td><td>{escape(target.description)}{also}</td></tr>"


def page_of(title: str, body: Iterable[str]) -> bytes:
    """A page with this title; ``body`` is HTML."""
    return _PAGE.substitute(title=escape(title), body="\n".join(body)).encode()
