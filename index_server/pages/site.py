"""Answers all reads outside ``/api/``, as a plain ASGI handler in front of the API's router.

Pages are rendered on the first request and kept by path. A kept page of a channel is valid until the channel moves.
Moves through other servers are followed too (see :mod:`index_server.pages.follow`).

While the store is away, a kept page that was right when the store was last seen is served with its staleness in
``X-Armwheels-Stale`` and ``Age`` (RFC 9111 section 5.1), both in seconds, for ``stale_seconds`` at most. So are
files that are kept on the local disk (:mod:`index_server.pages.filecache`).
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from math import inf
from typing import Any
from urllib.parse import quote
from weakref import WeakValueDictionary

import orjson
from packaging.utils import canonicalize_name

from index_server.catalog.catalog import Catalog
from index_server.configs import RESERVED
from index_server.errors import (
    DamagedError,
    MalformedError,
    NotFoundError,
    StoreAwayError,
    StoreError,
    UnresolvableError,
    as_answer,
)
from index_server.extensions import Client, offer_again
from index_server.model import SESSION, DevelopmentRule, Record, Snapshot
from index_server.names import no_channel
from index_server.pages import people as landing
from index_server.pages.address import Proxies, relative, secure, up
from index_server.pages.answers import (
    UNKEPT,
    Answer,
    Fixed,
    Kept,
    Problem,
    Redirect,
    Text,
    send_failure,
    send_fixed,
    send_page,
)
from index_server.pages.browse import Browser
from index_server.pages.filecache import FileCache, Reader
from index_server.pages.files import Headers, Send, StoredFile, send_bytes, send_file
from index_server.pages.follow import Followed, Follower
from index_server.pages.lock import Locks
from index_server.pages.methods import refuse_method
from index_server.pages.negotiation import (
    header_fields,
)
from index_server.pages.promises import Promises, gone_error
from index_server.pages.signed import Signed
from index_server.pages.simple import Beside, Page, project_page, root_page
from index_server.pages.variants import Variants
from index_server.rules.development import describe, listed_until
from index_server.rules.gates import Gates
from index_server.rules.marks import NONE, ProjectMarks
from index_server.rules.retention import Promise, Terms
from index_server.rules.views import backends, view, visible
from index_server.targets import VARIANTS, Lens, Targets
from index_server.trust.repository import Repository

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
KEPT_BYTES = 256 << 20  # of rendered pages
STALE_SECONDS = 3600.0  # for which kept pages are served while the store is away
_log = logging.getLogger(__name__)
_SITE_PATHS = RESERVED - {"api", "healthz", "livez", "metrics", "openapi.json", "readyz", "upload"}
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.!+-]*\.whl(\.metadata)?\Z")


PageKey = tuple[str, str, ProjectMarks, Promise | None, DevelopmentRule | None, str | None]


class Site:
    """The handler. ``inner`` answers everything that is neither a page nor a file."""

    def __init__(
        self,
        catalog: Catalog,
        targets: Targets,
        inner: App,
        terms: Terms | None = None,
        stale_seconds: float = STALE_SECONDS,
        proxies: Proxies | None = None,
        gates: Mapping[str, Gates] | None = None,
        files: FileCache | None = None,
        repository: Repository | None = None,
        *,
        variants: bool = False,
    ) -> None:
        self._catalog = catalog
        self._files = files
        self._marks_seen = -inf  # when yanks and quarantines were last read for a file
        self._signed = Signed(catalog, repository or Repository(catalog))
        self._promises = Promises(catalog, terms or Terms({}))
        self._browser = Browser(catalog, targets, self._promises, gates or {})
        self._locks = Locks(catalog)
        self._variants = Variants(catalog, targets, on=variants)
        self._targets = targets
        self._inner = inner
        self._proxies = proxies or Proxies()
        self._stale_seconds = stale_seconds
        self._follower = Follower(catalog.store.look_every)
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._weight = 0
        self._recorded_size = lru_cache(maxsize=16384)(self._find_recorded_size)
        # A project that two snapshots or channels share has one page in memory.
        self._shared: WeakValueDictionary[PageKey, Page] = WeakValueDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_inner(scope["path"]):
            await self._inner(scope, receive, send)
            return
        if scope["method"] not in ("GET", "HEAD"):
            headers = header_fields(scope["headers"])
            first = _first(scope["path"])
            known = first in ("", *_SITE_PATHS - {"simple"}, *self._catalog.channels)
            await refuse_method(send, scope["method"], self._proxies.base(scope, headers), known=known)
            return
        begun = False

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._answer(scope, receive, watched)
        except StoreError as error:
            if begun:  # the client sees that the file is cut off, and asks for the rest
                _log.warning("%s breaks off: %s", scope["path"], error)
                return
            await send_failure(send, error, head=scope["method"] == "HEAD")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = header_fields(scope["headers"])
        head = scope["method"] == "HEAD"
        stale: float | None = None
        try:
            answer = await self._current(scope, headers)
        except StoreError as error:
            answer, stale = self._last_known(scope["path"], error)
        if isinstance(answer, Kept):
            if stale is None and answer.base is None and not answer.private:
                offer_again(scope, partial(self._holds, scope["path"], answer))
            await send_page(send, answer, headers, stale, head=head)
        elif isinstance(answer, StoredFile):
            await send_file(scope, receive, send, self._reader(answer), answer, headers, stale, head=head)
        elif isinstance(answer, Redirect):
            query = scope["query_string"].decode("latin-1")
            raw = scope["raw_path"].decode("latin-1")  # what the client resolves the reference against
            location = quote(relative(raw, answer.path), safe="/+") + (f"?{query}" if query else "")
            await send_bytes(send, answer.status, [(b"location", location.encode("latin-1"))], b"", head=head)
        elif isinstance(answer, Problem):
            problem: Headers = [
                (b"content-type", b"application/problem+json"),
                (b"cache-control", b"no-cache"),
            ]
            await send_bytes(
                send, answer.error.status, problem, orjson.dumps(answer.error.problem()), head=head
            )
        elif isinstance(answer, Fixed):
            await send_fixed(send, answer, headers, head=head)
        else:
            typed: Headers = [(b"content-type", answer.media.encode()), *UNKEPT]
            await send_bytes(send, answer.status, typed, answer.body, head=head)

    def _is_inner(self, path: str) -> bool:
        first = _first(path)
        return first in RESERVED and first not in _SITE_PATHS

    async def _current(self, scope: Scope, headers: dict[bytes, str]) -> Answer:
        """The answer as it is now."""
        kept = await self._fresh(scope["path"])
        if kept is not None and (kept.base is None or kept.base == self._proxies.base(scope, headers)):
            return kept
        base = self._proxies.base(scope, headers)
        begun = time.monotonic()
        query = scope["query_string"].decode("latin-1")
        answer = await asyncio.to_thread(self._find, scope["path"], base, query)
        if isinstance(answer, Kept) and not answer.private:
            answer = replace(answer, rendered=begun)
            self._keep(scope["path"], answer)
        return answer

    # Kept pages

    def _last_known(self, path: str, error: StoreError) -> tuple[Kept | StoredFile, float]:
        """While the store is away, the kept page that it last confirmed, and how many seconds ago that was.

        Files that are kept on the disk are sent, too.

        Raises:
            StoreError: ``error``, where there is no such page, or the store failed otherwise.
        """
        if not isinstance(as_answer(error), StoreAwayError):
            raise error
        kept = self._kept.get(path)
        if kept is None:
            file = self._kept_file(path)
            if file is None:
                raise error
            return file, time.monotonic() - self._marks_seen
        journals = list(self._followed(kept))
        age = max(self._follower.age(journal) for journal, _ in journals)
        stale = min(age, time.monotonic() - kept.rendered)
        if stale > self._stale_seconds or any(journal.known_serial != at for journal, at in journals):
            raise error
        return kept, stale

    def _kept_file(self, path: str) -> StoredFile | None:
        """A file on the local disk that was under no quarantine when the store was last read."""
        match path.split("/"):
            case ["", "files", sha256, filename] if _SHA256.match(sha256) and _FILENAME.match(filename):
                pass
            case _:
                return None
        size = self._files.size(sha256, filename) if self._files is not None else None
        if size is None or time.monotonic() - self._marks_seen > self._stale_seconds:
            return None
        wheel = filename.removesuffix(".metadata")
        marks = self._catalog.status.last_read.of(canonicalize_name(wheel.partition("-")[0]))
        if marks.quarantine_reason(wheel) is not None:
            return None
        return _stored(f"{sha256}/{filename}", size, sha256, filename)

    def _reader(self, file: StoredFile) -> Reader:
        store = self._catalog.store
        return store if self._files is None else self._files.reader(store, *file.name, file.size)

    async def _fresh(self, path: str) -> Kept | None:
        """The kept page, if it is right. A network store may be asked."""
        kept = self._kept.get(path)
        if kept is None:
            return None
        serials = [await self._follower.serial(journal) for journal, _ in self._followed(kept)]
        return kept if self._is_right(path, kept, serials) else None

    def _holds(self, path: str, kept: Kept, _: Client) -> bool:
        """Whether a kept page is right by what was read a moment ago. Reads a folder, and no network store."""
        try:
            serials = [self._follower.current(journal) for journal, _ in self._followed(kept)]
        except StoreError:  # told to the next request that is not repeated
            return False
        return self._is_right(path, kept, serials)

    def _is_right(self, path: str, kept: Kept, serials: Sequence[int | None]) -> bool:
        """Whether a kept page is right while its journals have these serials."""
        if self._kept.get(path) is not kept:  # another request has replaced it
            return False
        if any(at != serial for at, (_, serial) in zip(serials, self._followed(kept), strict=True)):
            return False
        if kept.promised is not None and not self._promises.current(kept.promised):
            return False
        self._kept.move_to_end(path)
        return True

    def _followed(self, kept: Kept) -> Iterator[tuple[Followed, int]]:
        """The journals that a page depends on, each with the serial at which the page is right."""
        if kept.channel is not None:
            yield self._catalog.journal(kept.channel), kept.serial
        yield self._catalog.status.journal, kept.marked

    def _keep(self, path: str, fresh: Kept) -> None:
        stale = self._kept.pop(path, None)
        self._weight += fresh.page.weight - (stale.page.weight if stale else 0)
        self._kept[path] = fresh
        while self._weight > KEPT_BYTES and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._weight -= oldest.page.weight

    def _shared_page(self, name: PageKey, render: Callable[[], Page]) -> Page:
        page = self._shared.get(name)
        if page is None:
            page = self._shared[name] = render()
        return page

    # Paths

    def _find(self, path: str, base: str, query: str = "") -> Answer:
        """The answer to a path without a kept page. Reads the store."""
        parts = path.removeprefix("/").split("/")
        slash = parts[-1] == ""
        parts = parts[:-1] if slash else parts
        try:
            match parts:
                case []:
                    return Text(200, self._browser.landing(base))
                case ["files", sha256, filename] if not slash:
                    return self._file(sha256, filename)
                case ["tuf" | "integrity" as kind, *rest] if not slash:
                    return self._signed.find(rest) if kind == "tuf" else self._signed.provenance(rest)
                case ["staging", session, *rest] if SESSION.match(session) and len(rest) < 3:
                    return self._staging(path, session, rest)
                case (
                    ["cpu" | "search" | "snapshots"]
                    | [_, "feed.atom"]
                    | ["simple", *_]
                    | ["snapshots", _]
                    | ["snapshots", _, "changes", _]
                ):
                    return self._for_people(path, parts, base, query)
                case ["snapshots", _, _, *rest] if len(rest) < 3:
                    return self._below_snapshot(path, base, parts, query)
                case [channel] if channel in self._catalog.channels:
                    return self._for_people(path, parts, base, query)
                case [channel, lens, *rest] if channel in self._catalog.channels and len(rest) < 3:
                    move = self._catalog.head(channel)
                    shown = self._catalog.snapshot(move.snapshot) if move else None
                    answer = self._place(path, base, channel, shown, lens, rest)
                    if isinstance(answer, Kept):
                        return replace(answer, channel=channel, serial=move.serial if move else 0)
                    return answer
        except NotFoundError as error:
            return Text(404, landing.missing_page(str(error), up(path)))
        return Text(404, landing.missing_page(self._why_missing(parts), up(path)))

    def _why_missing(self, parts: Sequence[str]) -> str:
        """Name the channels if the path may begin with a channel. A file such as favicon.ico has a dot."""
        if "." in parts[0] or parts[0] in ("", *_SITE_PATHS, *self._catalog.channels):
            return "there is no such page"
        return f"{no_channel(parts[0], self._catalog.channels)}; an index lies at CHANNEL/TARGET/simple/"

    def _for_people(self, path: str, parts: Sequence[str], base: str, query: str) -> Answer:
        """Pages that no installer asks for. Each has a slash at its end; the feed has none."""
        if parts[-1] == "feed.atom":
            if path.endswith("/") or parts[0] not in self._catalog.channels:
                raise NotFoundError("there is no such page")
            return Text(200, self._browser.feed(base, parts[0]), "application/atom+xml; charset=utf-8")
        if not path.endswith("/"):
            return Redirect(f"{path}/", 308)
        match parts:
            case ["cpu"]:
                return Text(200, self._browser.cpu(base, query))
            case ["search"]:
                return Text(200, self._browser.search(query))
            case ["snapshots"]:
                return Text(200, self._browser.snapshots())
            case ["snapshots", snapshot_id]:
                return Text(200, self._browser.snapshot(base, snapshot_id))
            case ["snapshots", after, _, before]:
                return Text(200, self._browser.changes(after, before))
            case ["simple", *rest]:
                return self._rootless(path, rest)
        return Text(200, self._browser.channel(base, parts[0]))

    def _below_snapshot(self, path: str, base: str, parts: Sequence[str], query: str) -> Answer:
        """A path below ``/snapshots/ID/TARGET``."""
        _, snapshot_id, lens, *rest = parts
        if not path.endswith("/"):
            if rest == ["pylock.toml"]:
                return self._lock(base, snapshot_id, lens, query)
            if self._variants.is_json(parts):
                return self._variants.json(snapshot_id, *rest)
        snapshot = self._catalog.find_snapshot(snapshot_id)
        return self._place(path, base, f"snapshots/{snapshot_id}", snapshot, lens, rest)

    def _lock(self, base: str, snapshot_id: str, spelled: str, query: str) -> Answer:
        """A lock file (PEP 751); problems are documents, since programs ask."""
        snapshot, lens = self._catalog.find_snapshot(snapshot_id), self._targets.lens(spelled)
        if lens is None:
            raise NotFoundError(f"there is no target {spelled}; there is {', '.join(self._targets.by_name)}")
        try:
            return Text(200, self._locks.of(base, snapshot, lens, query), "application/toml")
        except (MalformedError, UnresolvableError) as error:
            return Problem(error)

    def _rootless(self, path: str, rest: Sequence[str]) -> Text:
        """There is no index at the root: each channel and target has one of its own."""
        links = self._browser.elsewhere(canonicalize_name(rest[0])) if len(rest) == 1 else []
        reason = "each channel and target has an index of its own, such as /CHANNEL/TARGET/simple/"
        return Text(404, landing.missing_page(reason, up(path), links))

    def _place(
        self, path: str, base: str, place: str, snapshot: Snapshot | None, spelled: str, rest: Sequence[str]
    ) -> Answer:
        """A path below ``/{place}/{target}/``, or below ``/{place}/variants/``."""
        lens = self._variants.lens if spelled == VARIANTS else self._targets.lens(spelled)
        if lens is None:
            known = ", ".join(self._targets.by_name)
            raise NotFoundError(f"there is no target {spelled}; there is {known}")
        if rest and rest[0] != "simple" and len(rest) > 1:
            raise NotFoundError("there is no such page; an index lies at simple/")
        refs = snapshot.projects if snapshot else {}
        if lens.backend and lens.backend not in {b for ref in refs.values() for b in backends(ref.offers)}:
            raise NotFoundError(f"nothing here was built with the backend {lens.backend}")
        person = canonicalize_name(rest[0]) if rest and rest[0] != "simple" else None
        project = canonicalize_name(rest[1]) if len(rest) == 2 else person
        middle = rest[:1] if person is None else ()
        right = "/".join(["", place, lens.slug, *middle, *([project] if project is not None else []), ""])
        if path != right:
            return Redirect(right, 308 if spelled == lens.slug else 307)
        names = sorted(name for name, ref in refs.items() if visible(ref.offers, lens))
        rule = self._catalog.development.get(place)
        if not rest:
            html = landing.target_page(
                base,
                place,
                lens,
                snapshot=snapshot.id if snapshot else None,
                projects=names,
                listing=describe(rule) if rule else "",
            )
            return Text(200, html)
        if project is None:
            marked, _ = self._catalog.status.shown(None)
            root = f"/{snapshot.id}" if snapshot else "/"
            page = self._shared_page((root, lens.slug, NONE, None, None, None), lambda: root_page(names))
            return Kept(page, marked=marked)
        if project not in names:
            raise NotFoundError(_why_not(project, place, lens, known=project in refs))
        if snapshot is None:
            raise NotFoundError(f"{place} shows nothing yet")
        if person is not None:
            return Text(200, self._browser.project(base, place, snapshot, lens, project, up(path)))
        shard = refs[project].shard
        marked, marks = self._catalog.status.shown(project)
        promised = self._promises.look()
        promise = self._promises.of(project, snapshot)
        own = base if self._attested(shard) else None
        page = self._shared_page(
            # Pages with variants name the snapshot. Others are the same in every place.
            (up(path) + shard + snapshot.id * lens.variants, lens.slug, marks, promise, rule, own),
            lambda: self._project_page(project, snapshot, lens, marks, promise, rule, up(path), own),
        )
        return Kept(page, marked=marked, promised=promised, base=own)

    def _attested(self, shard: str) -> bool:
        """Whether a page of these files names provenance objects, and so the address of the index."""
        return any(record.provenance_sha256 is not None for record in self._catalog.shard(shard).records)

    def _project_page(
        self,
        project: str,
        snapshot: Snapshot,
        lens: Lens,
        marks: ProjectMarks,
        promise: Promise,
        rule: DevelopmentRule | None,
        root: str,
        base: str | None,
    ) -> Page:
        """Quarantined files are removed first, so that the next best wheel is shown."""
        records = self._catalog.shard(snapshot.projects[project].shard).records
        offered, yanked = marks.offered(records), dict(marks.yanked)
        beside: Sequence[Beside] = ()
        if lens.variants:
            shown, beside = self._variants.shown(snapshot, offered, lens, yanked, root)
        else:
            shown = view(offered, lens, yanked)
        untils = promise.untils(each.filename for each in shown)
        listed = listed_until(records, rule)
        return project_page(project, shown, marks, untils, listed, root, secure(base), beside)

    def _staging(self, path: str, session: str, rest: Sequence[str]) -> Answer:
        """The index of a session: all its files, for all targets."""
        records = self._catalog.session_records(session)
        if not records or (rest and rest[0] != "simple"):
            raise NotFoundError("there is no such session, or it holds nothing yet")
        project = canonicalize_name(rest[1]) if len(rest) == 2 else None
        right = "/".join(["/staging", session, "simple", *([project] if project is not None else []), ""])
        if path != right:
            return Redirect(right, 308)
        if project is None:
            return Kept(root_page({record.project for record in records}), private=True)
        shown = [record for record in records if record.project == project]
        if not shown:
            raise NotFoundError(f"this session holds no file of {project}")
        _, marks = self._catalog.status.shown(project)
        page = project_page(project, sorted(marks.offered(shown), key=_by_filename), marks, root=up(path))
        return Kept(page, private=True)

    def _file(self, sha256: str, filename: str) -> StoredFile | Text | Problem:
        if not (_SHA256.match(sha256) and _FILENAME.match(filename)):
            raise NotFoundError("there is no such file")
        wheel = filename.removesuffix(".metadata")
        beside = filename.removeprefix(wheel)
        key = self._catalog.stored_key(sha256, wheel) + beside
        size = self._catalog.store.size(key)
        if size is None:  # collected, or restored as a later generation
            gone = self._catalog.tombs.look().gone.get((sha256, wheel))
            if gone is not None:
                return Problem(gone_error(self._catalog, gone))
            key = self._catalog.stored_key(sha256, wheel) + beside
            size = self._catalog.store.size(key)
        if size is None:
            raise NotFoundError("there is no such file")
        project = canonicalize_name(wheel.partition("-")[0])
        begun = time.monotonic()
        _, marks = self._catalog.status.shown(project)
        self._marks_seen = begun
        reason = marks.quarantine_reason(wheel)
        if reason is not None:
            return Text(403, landing.refused_page(f"{wheel} is under quarantine: {reason}"))
        if filename.endswith(".metadata"):
            return _stored(key, size, sha256, filename)
        recorded = self._recorded_size(project, wheel, sha256)
        if recorded not in (None, size):  # caches would keep it for ever
            raise DamagedError(key, f"it has {size} bytes, not {recorded}")
        return _stored(key, size, sha256, filename)

    def _find_recorded_size(self, project: str, wheel: str, sha256: str) -> int | None:
        """The size of a file by its record; None if the record is missing or damaged, which stops no file."""
        try:
            record = self._catalog.find_record(project, wheel)
        except DamagedError as error:
            _log.error("%s", error)
            return None
        return record.size if record is not None and record.sha256 == sha256 else None


def _stored(key: str, size: int, sha256: str, filename: str) -> StoredFile:
    if filename.endswith(".metadata"):
        return StoredFile(key, size, f'"{sha256}-metadata"', "text/plain; charset=utf-8", (sha256, filename))
    return StoredFile(key, size, f'"{sha256}"', "application/octet-stream", (sha256, filename))


def _by_filename(record: Record) -> str:
    return record.filename


def _why_not(project: str, place: str, lens: Lens, *, known: bool) -> str:
    if known:
        return f"{project} is in {place}, but no wheel of it runs on {lens.slug}"
    return f"{project} is not in {place}; it may have been published elsewhere, or not at all"


def _first(path: str) -> str:
    """The first part of a path."""
    return path.split("/", 2)[1] if path.startswith("/") else ""
