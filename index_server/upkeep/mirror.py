"""Mirrors the dependencies of projects into a channel, so that the channel needs no other index.

uv resolves against two indexes: this index, as the channel shows it to the target but without mirrored projects,
and an upstream index for all projects that are not ours. A project is ours if any of its files was uploaded to
this index, in any channel or session. The upstream index is never used for such a project.

The chosen wheels are downloaded, compared with the resolved sha256, and checked (see :mod:`index_server.intake`).
All of them appear in the channel with one snapshot and one move. The server never contacts the upstream index.
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
from index_server.errors import BadUploadError, ConfigError, ConflictError, MirrorError
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
TIMEOUT = (20, 120)  # seconds to connect, and between two chunks
TRIES = 5  # of the move, which fails if the channel was moved meanwhile
DownloadProgress = Callable[[str, int, int], None]  # file name, downloaded bytes, total bytes


@dataclass(frozen=True)
class Environment:
    """A target, a Python such as ``cp311``, and glibc 2.``glibc``, for which dependencies are resolved."""

    target: str
    python: str
    glibc: int = GLIBC


@dataclass(frozen=True)
class Mirrored:
    """The result of a run."""

    closure: tuple[Wanted, ...]
    ours: tuple[str, ...]  # file names of our own wheels, which the channel already has
    downloaded: int  # bytes
    answer: SnapshotAnswer | None  # None: the closure has only our own wheels
    move: Move | None


class Mirror:
    """One run of mirroring into one channel."""

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
        """Resolve ``projects`` and requirement files for each environment, and publish the wheels.

        Raises:
            NotFoundError: there is no such channel.
            ConfigError: there is no such target, or no such Python.
            ResolveError: uv finds no set of wheels.
            MirrorError: a wheel cannot be downloaded, or differs from the resolved one.
            BadUploadError: a wheel does not pass the checks.
        """
        self._catalog.require_channel(self._channel)
        wanted: dict[str, Wanted] = {}
        ours: set[str] = set()
        for environment in environments:
            lens = self._settings.targets.lens(environment.target)
            if lens is None:
                known = ", ".join(self._settings.targets.by_name)
                raise ConfigError(f"there is no target {environment.target}; there is {known}")
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
                    raise MirrorError(
                        f"{each.project} is ours and was resolved from another index; nothing was published"
                    )
                else:
                    wanted[each.filename] = each
        session = secrets.token_urlsafe(24)
        for name in sorted(wanted):
            self._take(wanted[name], session)
        answer, move = self._publish(session, [*wanted, *sorted(ours)]) if wanted else (None, None)
        closed = tuple(wanted[name] for name in sorted(wanted))
        return Mirrored(closed, tuple(sorted(ours)), self._downloaded, answer, move)

    # Downloads

    def _take(self, wanted: Wanted, session: str) -> None:
        """Add a wheel to the session: the stored file if it has the same bytes, else a download."""
        standing = self._catalog.find_record(wanted.project, wanted.filename)
        if standing is not None and standing.sha256 != wanted.sha256:
            raise MirrorError(
                f"{wanted.filename}: upstream has other bytes (sha256 {wanted.sha256}) than the mirrored file "
                f"({standing.sha256}); a file name never refers to other bytes here"
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
                record, metadata, _ = intake.examine(
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
        """Download a wheel to ``part``, after the bytes that an interrupted run left there."""
        had = part.stat().st_size if part.exists() else 0
        if wanted.size is not None and had >= wanted.size:
            return  # complete; the caller compares the hash
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
                f"{wanted.filename} cannot be downloaded: {error}; run the command again to continue the download"
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
        """Check that a snapshot has all resolved wheels.

        Raises:
            MirrorError: it lacks wheels.
        """
        snapshot = self._catalog.find_snapshot(snapshot_id)
        held = {record.filename for record in self._catalog.snapshot_records(snapshot)}
        missing = sorted(set(names) - held)
        if missing:
            raise MirrorError(
                f"{self._channel} changed meanwhile and lacks {', '.join(missing)}; run it again"
            )


def is_ours(catalog: Catalog, project: str) -> bool:
    """Whether any file of a project was uploaded rather than mirrored."""
    for key in keys(catalog.store, f"records/{project}/"):
        filename = key.removesuffix(".json").rpartition("/")[2]
        record = catalog.find_record(project, filename)
        if record is not None and record.uploaded_by != MIRROR:
            return True
    return False


class Ours:
    """An ASGI app that serves a channel's pages of our own projects, and 404 for all others.

    A project of ours without files in the channel has an empty page, so that uv does not use the next index.
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
    """Serve ``app`` on a free port of 127.0.0.1 until the context ends. Yield the base URL."""
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
    """Return advice for a wheel that does not pass the checks."""
    release = f"{wanted.project} {wanted.version}"
    return (
        f"{release} is required by {wanted.via or 'the command line'}. Exclude this version "
        f"({wanted.project}!={wanted.version}, in a file given with --requirement), or upload a corrected wheel: "
        "a project with an uploaded file is taken only from this index"
    )


def _received(part: Path, path: Path, wanted: Wanted) -> Upload:
    """Copy a download to a scratch file of the store, and hash it."""
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
