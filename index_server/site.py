"""Answers every read outside ``/api/``: a bare ASGI handler in front of the API's router.

Pages are rendered when first asked for and kept by path. A kept page of a channel is good while the channel's
serial is: one look at the store a request says so, and so this server follows moves made through another.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote
from weakref import WeakValueDictionary

from packaging.utils import canonicalize_name

from index_server import landing, pages
from index_server.catalog import Catalog, file_key
from index_server.errors import NotFoundError, StoreAwayError
from index_server.filesend import Headers, Send, StoredFile, send_bytes, send_file
from index_server.model import SESSION, Record, Snapshot
from index_server.pages import Page
from index_server.settings import RESERVED
from index_server.views import Lens, Targets, backends, view, visible

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

KEPT_BYTES = 256 << 20  # of rendered pages
_SITE_PATHS = RESERVED - {"api", "healthz", "openapi.json", "upload"}
_FOR_PEOPLE: Headers = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
]
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.!+-]*\.whl(\.metadata)?\Z")
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?\Z|\[[0-9A-Fa-f:]+\](:[0-9]+)?\Z")


@dataclass(frozen=True)
class Kept:
    """A page, and for how long it is right: while ``channel`` stands at ``serial``."""

    page: Page
    channel: str | None = None
    serial: int = 0
    private: bool = False  # a session's: neither kept nor found by search engines


@dataclass(frozen=True)
class Redirect:
    """Look elsewhere: 308 for another spelling of the same, 307 for an alias, whose meaning may change."""

    path: str
    status: int


@dataclass(frozen=True)
class Text:
    """A page for people."""

    status: int
    body: bytes


Answer = Kept | Redirect | Text | StoredFile


class Site:
    """The handler; ``inner`` answers all that is not a page or a file."""

    def __init__(self, catalog: Catalog, targets: Targets, inner: App) -> None:
        self._catalog = catalog
        self._targets = targets
        self._inner = inner
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._weight = 0
        # A project unchanged over a move, or shown by two channels, is the same page.
        self._shared: WeakValueDictionary[tuple[str, str], Page] = WeakValueDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or self._is_inner(scope["path"]):
            await self._inner(scope, receive, send)
            return
        try:
            await self._answer(scope, receive, send)
        except StoreAwayError as error:
            wait: Headers = [*_FOR_PEOPLE, (b"retry-after", str(error.retry_after).encode())]
            page = landing.away_page("; ".join(error.reasons))
            await send_bytes(send, error.status, wait, page, head=scope["method"] == "HEAD")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        head = scope["method"] == "HEAD"
        answer: Answer | None = self._fresh(scope["path"])
        if answer is None:
            base = f"{scope['scheme']}://{_host(scope, headers)}"
            answer = await asyncio.to_thread(self._find, scope["path"], base)
            if isinstance(answer, Kept) and not answer.private:
                self._keep(scope["path"], answer)
        if isinstance(answer, Kept):
            await _send_page(send, answer, headers, head=head)
        elif isinstance(answer, StoredFile):
            await send_file(receive, send, self._catalog.store, answer, headers, head=head)
        elif isinstance(answer, Redirect):
            query = scope["query_string"].decode("latin-1")
            location = quote(answer.path, safe="/+") + (f"?{query}" if query else "")
            await send_bytes(send, answer.status, [(b"location", location.encode("latin-1"))], b"", head=head)
        else:
            await send_bytes(send, answer.status, _FOR_PEOPLE, answer.body, head=head)

    def _is_inner(self, path: str) -> bool:
        first = path.split("/", 2)[1] if path.startswith("/") else ""
        return first in RESERVED and first not in _SITE_PATHS

    # What is kept

    def _fresh(self, path: str) -> Kept | None:
        kept = self._kept.get(path)
        if kept is None:
            return None
        if kept.channel is not None:
            move = self._catalog.head(kept.channel)
            if (move.serial if move else 0) != kept.serial:
                return None
        self._kept.move_to_end(path)
        return kept

    def _keep(self, path: str, fresh: Kept) -> None:
        stale = self._kept.pop(path, None)
        self._weight += fresh.page.weight - (stale.page.weight if stale else 0)
        self._kept[path] = fresh
        while self._weight > KEPT_BYTES and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._weight -= oldest.page.weight

    def _shared_page(self, name: tuple[str, str], render: Callable[[], Page]) -> Page:
        page = self._shared.get(name)
        if page is None:
            page = self._shared[name] = render()
        return page

    # What a path means

    def _find(self, path: str, base: str) -> Answer:
        """The answer to a path that is not kept; reads the store."""
        parts = path.removeprefix("/").split("/")
        slash = parts[-1] == ""
        parts = parts[:-1] if slash else parts
        try:
            match parts:
                case []:
                    return self._landing(base)
                case ["files", sha256, filename] if not slash:
                    return self._file(sha256, filename)
                case ["staging", session, *rest] if SESSION.match(session) and len(rest) < 3:
                    return self._staging(path, session, rest)
                case ["snapshots", snapshot_id, lens, *rest] if len(rest) < 3:
                    snapshot = self._catalog.find_snapshot(snapshot_id)
                    return self._place(path, base, f"snapshots/{snapshot_id}", snapshot, lens, rest)
                case [channel] if channel in self._catalog.channels:
                    return Redirect("/", 307)
                case [channel, lens, *rest] if channel in self._catalog.channels and len(rest) < 3:
                    move = self._catalog.head(channel)
                    shown = self._catalog.snapshot(move.snapshot) if move else None
                    answer = self._place(path, base, channel, shown, lens, rest)
                    if isinstance(answer, Kept):
                        return replace(answer, channel=channel, serial=move.serial if move else 0)
                    return answer
        except NotFoundError as error:
            return Text(404, landing.missing_page(str(error)))
        return Text(404, landing.missing_page("there is no such page"))

    def _place(
        self, path: str, base: str, place: str, snapshot: Snapshot | None, spelled: str, rest: Sequence[str]
    ) -> Answer:
        """A path below ``/{place}/{target}/``."""
        lens = self._targets.lens(spelled)
        if lens is None:
            known = ", ".join(self._targets.by_name)
            raise NotFoundError(f"there is no target {spelled}; there is {known}")
        if rest and rest[0] != "simple":
            raise NotFoundError("there is no such page; an index lies at simple/")
        refs = snapshot.projects if snapshot else {}
        if lens.backend and lens.backend not in {b for ref in refs.values() for b in backends(ref.offers)}:
            raise NotFoundError(f"nothing here was built with the backend {lens.backend}")
        project = canonicalize_name(rest[1]) if len(rest) == 2 else None
        right = "/".join(["", place, lens.slug, *rest[:1], *([project] if project is not None else []), ""])
        if path != right:
            return Redirect(right, 308 if spelled == lens.slug else 307)
        names = sorted(name for name, ref in refs.items() if visible(ref.offers, lens))
        if not rest:
            return Text(200, landing.target_page(base, place, lens, snapshot.id if snapshot else None, names))
        if project is None:
            root = f"/{snapshot.id}" if snapshot else "/"
            return Kept(self._shared_page((root, lens.slug), lambda: pages.root_page(names)))
        if project not in names:
            raise NotFoundError(_why_not(project, place, lens, known=project in refs))
        shard = refs[project].shard
        return Kept(self._shared_page((shard, lens.slug), lambda: self._project_page(project, shard, lens)))

    def _project_page(self, project: str, shard: str, lens: Lens) -> Page:
        return pages.project_page(project, view(self._catalog.shard(shard).records, lens))

    def _staging(self, path: str, session: str, rest: Sequence[str]) -> Answer:
        """A session's own index: all its files, for whatever target."""
        records = self._catalog.session_records(session)
        if not records or (rest and rest[0] != "simple"):
            raise NotFoundError("there is no such session, or it holds nothing yet")
        project = canonicalize_name(rest[1]) if len(rest) == 2 else None
        right = "/".join(["/staging", session, "simple", *([project] if project is not None else []), ""])
        if path != right:
            return Redirect(right, 308)
        if project is None:
            return Kept(pages.root_page({record.project for record in records}), private=True)
        shown = [record for record in records if record.project == project]
        if not shown:
            raise NotFoundError(f"this session holds no file of {project}")
        return Kept(pages.project_page(project, sorted(shown, key=_by_filename)), private=True)

    def _file(self, sha256: str, filename: str) -> StoredFile:
        key = file_key(sha256, filename)
        whole = _SHA256.match(sha256) and _FILENAME.match(filename)
        size = self._catalog.store.size(key) if whole else None
        if size is None:
            raise NotFoundError("there is no such file")
        if filename.endswith(".metadata"):
            return StoredFile(key, size, f'"{sha256}-metadata"', "text/plain; charset=utf-8")
        return StoredFile(key, size, f'"{sha256}"', "application/octet-stream")

    def _landing(self, base: str) -> Text:
        rows = []
        for name, description in self._catalog.channels.items():
            move = self._catalog.head(name)
            shown = self._catalog.snapshot(move.snapshot) if move else None
            rows.append(
                landing.ChannelRow(
                    name=name,
                    description=description,
                    snapshot=move.snapshot if move else None,
                    moved_at=move.at if move else None,
                    projects=len(shown.projects) if shown else 0,
                )
            )
        return Text(200, landing.landing_page(base, rows, self._targets.by_name.values()))


def _by_filename(record: Record) -> str:
    return record.filename


def _why_not(project: str, place: str, lens: Lens, *, known: bool) -> str:
    if known:
        return f"{project} is in {place}, but no wheel of it runs on {lens.slug}"
    return f"{project} is not in {place}; it may have been published elsewhere, or not at all"


def _host(scope: Scope, headers: dict[bytes, str]) -> str:
    """The host that the client asked, if it is one."""
    host = headers.get(b"host", "")
    if _HOST.match(host):
        return host
    server = scope.get("server") or ("localhost", 80)
    return f"{server[0]}:{server[1]}"


async def _send_page(send: Send, kept: Kept, headers: dict[bytes, str], *, head: bool) -> None:
    """Negotiate, revalidate, answer (PEP 691: an Accept that nothing matches is 406)."""
    media = pages.negotiate_type(headers.get(b"accept"))
    common: Headers = [
        (b"vary", b"Accept, Accept-Encoding"),
        (b"cache-control", b"no-store" if kept.private else b"no-cache"),
        *([(b"x-robots-tag", b"noindex")] if kept.private else []),
    ]
    if media is None:
        offered = f"this page comes as {pages.JSON}, {pages.HTML} or {pages.TEXT}\n"
        await send_bytes(send, 406, [*common, (b"content-type", b"text/plain")], offered.encode(), head=head)
        return
    form = kept.page.form(media, pages.negotiate_encoding(headers.get(b"accept-encoding")))
    etag = (b"etag", form.etag.encode())
    if pages.etag_matches(headers.get(b"if-none-match", ""), form.etag):
        await send_bytes(send, 304, [*common, etag], None, head=head)
        return
    charset = "" if media == pages.JSON else "; charset=utf-8"
    typed = [*common, etag, (b"content-type", f"{media}{charset}".encode())]
    if form.encoding != "identity":
        typed.append((b"content-encoding", form.encoding.encode()))
    await send_bytes(send, 200, typed, form.body, head=head)
