"""Closes a channel over its dependencies: others' wheels, taken once, checked, and served as our own.

uv resolves against two indexes: first our own, as the channel shows it to the target but without what was mirrored
before; for names that are not ours, the upstream. A name is ours as soon as any file of it was uploaded here, in
whatever channel or session: from then on no upstream is asked for it, whatever versions it offers. What uv chose
is downloaded, its hash compared with the one that was resolved, and taken in through the same checks as strangers'
uploads. All of it appears by one snapshot and one move. When pages and files are served, no upstream is asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import requests
import uvicorn
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from index_server.access.tokens import MIRROR, Publisher
from index_server.catalog import promotion
from index_server.catalog.catalog import Catalog
from index_server.errors import BadUploadError, ConflictError, MirrorError, NotFoundError
from index_server.intake import upload as intake
from index_server.intake.pool import shared_pool
from index_server.intake.upload import Upload
from index_server.model import Move, SnapshotAnswer, stamp
from index_server.pages.negotiation import JSON
from index_server.pages.simple import project_page
from index_server.pages.site import App, Receive, Scope, Site
from index_server.policy import Policy
from index_server.settings import Settings
from index_server.store.objects import keys
from index_server.upkeep.resolve import GLIBC, Upstream, Wanted, closure

CHUNK = 1 << 20
TIMEOUT = (20, 120)  # seconds to connect, and between two pieces
TRIES = 5  # of the move, each after somebody else moved the channel
DownloadProgress = Callable[[str, int, int], None]  # file name, bytes had, bytes in all


@dataclass(frozen=True)
class Environment:
    """One cell of what is to be closed; it runs on glibc 2.``glibc``."""

    target: str
    python: str
    glibc: int = GLIBC


@dataclass(frozen=True)
class Mirrored:
    """What came of it."""

    closure: tuple[Wanted, ...]
    ours: tuple[str, ...]  # file names that the channel has already, as our own
    downloaded: int  # bytes
    answer: SnapshotAnswer | None  # None: all of it is in the channel already, as our own
    move: Move | None


class Mirror:
    """One run over one channel."""

    def __init__(
        self,
        catalog: Catalog,
        settings: Settings,
        policy: Policy,
        *,
        channel: str,
        upstream: Upstream,
        folder: Path,
        progress: DownloadProgress = lambda *_: None,
    ) -> None:
        self._catalog = catalog
        self._settings = settings
        self._policy = policy
        self._channel = channel
        self._upstream = upstream
        self._folder = folder
        self._progress = progress
        self._downloaded = 0

    def run(
        self, environments: Sequence[Environment], projects: Sequence[str], files: Sequence[Path] = ()
    ) -> Mirrored:
        """Take the closure of ``projects`` and requirement files for each environment, and publish it.

        Raises:
            NotFoundError: there is no such channel or target.
            ResolveError: there is no closed set of wheels.
            MirrorError: a wheel cannot be had, or is not what was resolved.
            BadUploadError: a wheel does not pass the checks.
        """
        self._catalog.require_channel(self._channel)
        wanted: dict[str, Wanted] = {}
        ours: set[str] = set()
        for environment in environments:
            lens = self._settings.targets.lens(environment.target)
            if lens is None:
                raise NotFoundError(f"there is no target {environment.target}")
            with serving(Ours(self._catalog, self._settings, self._channel)) as base:
                index = f"{base}/{self._channel}/{lens.slug}/simple/"
                chosen = closure(
                    projects,
                    files,
                    python=environment.python,
                    ours=index,
                    upstream=self._upstream,
                    glibc=environment.glibc,
                )
            for each in chosen:
                if each.url.startswith(f"{base}/"):
                    ours.add(each.filename)
                elif is_ours(self._catalog, each.project):
                    raise MirrorError(f"{each.project} is ours and was resolved elsewhere; nothing is taken")
                else:
                    wanted[each.filename] = each
        session = secrets.token_urlsafe(24)
        for name in sorted(wanted):
            self._take(wanted[name], session)
        answer, move = self._publish(session, [*wanted, *sorted(ours)]) if wanted else (None, None)
        closed = tuple(wanted[name] for name in sorted(wanted))
        return Mirrored(closed, tuple(sorted(ours)), self._downloaded, answer, move)

    # Bytes

    def _take(self, wanted: Wanted, session: str) -> None:
        """Put a wheel into the session: from here if the same bytes are here, else from upstream."""
        standing = self._catalog.find_record(wanted.project, wanted.filename)
        if standing is not None and standing.sha256 != wanted.sha256:
            raise MirrorError(
                f"{wanted.filename}: upstream has other bytes (sha256 {wanted.sha256}) than were mirrored before "
                f"({standing.sha256}); a name never changes its meaning here"
            )
        collected = self._catalog.tombs.look()
        if standing is not None and (standing.sha256, standing.filename) not in collected.gone:
            self._catalog.adopt(session, wanted.filename, wanted.project)
            self._progress(wanted.filename, standing.size, standing.size)
            return
        part = self._folder / f"{wanted.sha256}.part"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._download(wanted, part)
        with self._catalog.store.scratch() as path:
            received = _received(part, path, wanted)
            if received.digests["sha256_digest"] != wanted.sha256:
                part.unlink()
                raise MirrorError(
                    f"{wanted.filename}: its bytes have the sha256 {received.digests['sha256_digest']}, and the "
                    f"index states {wanted.sha256}; nothing was published, run it again"
                )
            checks = shared_pool(self._settings.targets, self._settings.passport)
            try:
                record, metadata = intake.examine(
                    received,
                    partial(checks.check, mirrored=True),
                    at=wanted.uploaded_at or stamp(self._catalog.now()),
                    by=MIRROR,
                )
            except BadUploadError as error:
                raise BadUploadError(*error.reasons, _way_on(wanted)) from error
            if record.project != wanted.project:
                raise BadUploadError(f"{wanted.filename} was resolved as {wanted.project}")
            self._catalog.record_file(record, metadata, path, session)
        part.unlink()

    def _download(self, wanted: Wanted, part: Path) -> None:
        """Fetch to ``part``, going on where an earlier run was stopped."""
        had = part.stat().st_size if part.exists() else 0
        if wanted.size is not None and had >= wanted.size:
            return  # whole; its hash is compared next
        try:
            headers = {"Range": f"bytes={had}-", "Accept-Encoding": "identity"} if had else {}
            with (
                _session(self._upstream) as client,
                client.get(wanted.url, headers=headers, stream=True, timeout=TIMEOUT) as answer,
            ):
                answer.raise_for_status()
                going_on = answer.status_code == 206
                had = had if going_on else 0
                with part.open("ab" if going_on else "wb") as file:
                    for chunk in answer.iter_content(CHUNK):
                        file.write(chunk)
                        had += len(chunk)
                        self._downloaded += len(chunk)
                        self._progress(wanted.filename, had, wanted.size or had)
        except requests.RequestException as error:
            raise MirrorError(
                f"{wanted.filename} cannot be downloaded: {error}; run it again, it goes on where it stopped"
            ) from error

    # One snapshot, one move

    def _publish(self, session: str, names: Sequence[str]) -> tuple[SnapshotAnswer, Move]:
        publisher = Publisher(MIRROR, hashlib.sha256(session.encode()).hexdigest())
        gates = self._policy.gates.get(self._channel)
        for attempt in range(TRIES):
            head = self._catalog.head(self._channel)
            answer = self._catalog.make_snapshot(session, f"mirror-{attempt}", self._channel)
            self._all_there(answer.id, names)
            try:
                move, _ = self._catalog.move(
                    self._channel,
                    snapshot_id=answer.id,
                    expected_serial=head.serial if head else 0,
                    nonce=f"{session}-{attempt}",
                    by=MIRROR,
                    message=f"closed over {len(names)} wheels",
                    judge=partial(
                        promotion.judge,
                        self._catalog,
                        gates,
                        self._channel,
                        answer.id,
                        by=publisher.name,
                        token=publisher.id,
                    ),
                )
            except ConflictError:
                if attempt + 1 == TRIES:
                    raise
            else:
                return answer, move
        raise AssertionError("the last attempt returns or raises")

    def _all_there(self, snapshot_id: str, names: Sequence[str]) -> None:
        """A environment is closed when all that was resolved stands in one snapshot."""
        snapshot = self._catalog.find_snapshot(snapshot_id)
        held = {record.filename for record in self._catalog.snapshot_records(snapshot)}
        missing = sorted(set(names) - held)
        if missing:
            raise MirrorError(
                f"{self._channel} changed meanwhile and lacks {', '.join(missing)}; run it again"
            )


def is_ours(catalog: Catalog, project: str) -> bool:
    """Whether any file of a project came here otherwise than by mirroring."""
    for key in keys(catalog.store, f"records/{project}/"):
        filename = key.removesuffix(".json").rpartition("/")[2]
        record = catalog.find_record(project, filename)
        if record is not None and record.uploaded_by != MIRROR:
            return True
    return False


class Ours:
    """An index of our own projects as a channel shows them: mirrored ones are not found.

    One that is ours and has nothing to show is an empty page, so that a resolver looks no further.
    """

    def __init__(self, catalog: Catalog, settings: Settings, channel: str) -> None:
        self._catalog = catalog
        self._channel = channel
        self._site: App = Site(catalog, settings.targets, _nothing)

    async def __call__(self, scope: Scope, receive: Receive, send: Callable[[Any], Any]) -> None:
        parts = scope["path"].strip("/").split("/") if scope["type"] == "http" else []
        if len(parts) != 4 or parts[2] != "simple":
            await self._site(scope, receive, send)
            return
        if not await asyncio.to_thread(is_ours, self._catalog, parts[3]):
            await _nothing(scope, receive, send)
            return
        missing = False

        async def watched(message: Mapping[str, Any]) -> None:
            nonlocal missing
            missing = missing or message.get("status") == 404
            if not missing:
                await send(message)

        await self._site(scope, receive, watched)
        if missing:
            empty = project_page(parts[3], []).form(JSON, "identity").body
            await _whole(send, 200, JSON, empty)


async def _nothing(scope: Scope, _: Receive, send: Callable[[Any], Any]) -> None:
    if scope["type"] == "http":
        await _whole(send, 404, "text/plain", b"not ours\n")


async def _whole(send: Callable[[Any], Any], status: int, media: str, body: bytes) -> None:
    headers = [(b"content-type", media.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(app: App) -> Iterator[str]:
    """Serve on a free port of loopback while the context lasts; gives the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app, log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


def _way_on(wanted: Wanted) -> str:
    """What to do about a wheel that cannot be taken."""
    release = f"{wanted.project} {wanted.version}"
    return (
        f"{release} is required by {wanted.via or 'what was asked for'}. Ask for another version "
        f"({wanted.project}!={wanted.version}, in a file given with --requirement), or upload a mended wheel: "
        "for a project that is uploaded here, no other index is asked"
    )


def _received(part: Path, path: Path, wanted: Wanted) -> Upload:
    """Copy a download to where the store takes files from, hashing it on the way."""
    sha256, blake2 = hashlib.sha256(), hashlib.blake2b(digest_size=32)
    with part.open("rb") as source, path.open("wb") as file:
        while chunk := source.read(CHUNK):
            sha256.update(chunk)
            blake2.update(chunk)
            file.write(chunk)
    return Upload(
        path,
        fields={":action": "file_upload", "name": wanted.project, "version": wanted.version},
        filename=wanted.filename,
        size=part.stat().st_size,
        digests={"sha256_digest": sha256.hexdigest(), "blake2_256_digest": blake2.hexdigest()},
    )


def _session(upstream: Upstream) -> requests.Session:
    session = requests.Session()
    retries = Retry(total=5, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=retries))
    if upstream.cert:
        session.verify = upstream.cert
    return session
