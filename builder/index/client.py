"""Client of the index over HTTP: uploads as twine does, evidence, snapshots, moves and marks."""

from __future__ import annotations

import hashlib
import json
import secrets
import zipfile
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import httpx2
from packaging.metadata import parse_email
from packaging.utils import canonicalize_name, parse_wheel_filename
from pydantic import ConfigDict
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from builder.errors import DiskError, PublishError
from builder.model.base import Frozen
from builder.model.wheel_name import split_label
from builder.whole import create_once, sha256_of

_TIMEOUT = httpx2.Timeout(60.0, write=600.0, read=600.0)


class Answer(Frozen):
    """Base of the index's answers; unknown keys are ignored, so that the index may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ChannelState(Answer):
    """Where a channel stands: serial 0 and no snapshot before its first move."""

    name: str
    serial: int
    snapshot: str | None


class MoveEntry(Answer):
    """One entry of a channel's journal."""

    serial: int
    snapshot: str
    at: str
    by: str
    approvals: tuple[str, ...]
    message: str


class SnapshotAnswer(Answer):
    """The snapshot of a session; ``created`` is false if the session held nothing new."""

    id: str
    created: bool
    files: int
    dropped: tuple[str, ...] = ()


class FileSummary(Answer):
    """A file of a snapshot; ``target`` is ``None`` for a wheel without a passport."""

    project: str
    filename: str
    sha256: str
    target: str | None = None


class SnapshotContent(Answer):
    """A snapshot; ``created_at`` is a moment of RFC 3339."""

    id: str
    created_at: str
    files: tuple[FileSummary, ...]


class Published(Answer):
    """A published wheel."""

    project: str
    filename: str
    sha256: str


class Index:
    """One Armwheels index at ``url``; ``token`` is needed for everything that writes.

    ``transport`` takes the place of the network, in tests.
    """

    def __init__(
        self, url: str, token: str | None = None, *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._token = token
        auth = httpx2.BasicAuth("__token__", token) if token else None
        self._client = httpx2.Client(
            base_url=self.url, auth=auth, timeout=_TIMEOUT, follow_redirects=True, transport=transport
        )

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def find_build(self, wheel_digest: str, project: str) -> Published | None:
        """The published wheel of that digest, or ``None``."""
        path = f"/api/builds/{wheel_digest}"
        answer = self._request("GET", path, params={"project": project}, accept=(200, 404))
        if answer.status_code != 200:
            return None
        found = Published.model_validate(answer.json())
        return (
            found if found.project == canonicalize_name(project) else None
        )  # older servers ignore the project

    def channel(self, name: str) -> ChannelState:
        """Where the channel stands."""
        return ChannelState.model_validate(self._request("GET", f"/api/channels/{_part(name)}").json())

    def moves(self, channel: str) -> tuple[MoveEntry, ...]:
        """The journal of a channel, the oldest entry first."""
        found = self._request("GET", f"/api/channels/{_part(channel)}/moves").json()["moves"]
        return tuple(MoveEntry.model_validate(move) for move in found)

    def snapshot(self, snapshot: str) -> SnapshotContent:
        """A snapshot with all its files."""
        answer = self._request("GET", f"/api/snapshots/{_part(snapshot)}")
        return SnapshotContent.model_validate(answer.json())

    def snapshot_files(self, snapshot: str) -> dict[str, str]:
        """File names of a snapshot, each with its sha256."""
        return {file.filename: file.sha256 for file in self.snapshot(snapshot).files}

    def pages(self, snapshot: str, target: str) -> str:
        """The simple index (:pep:`503`) of a snapshot for a target, with the token in it, for pip and uv."""
        url = httpx2.URL(f"{self.url}/snapshots/{_part(snapshot)}/{_part(target)}/simple/")
        return str(url.copy_with(username="__token__", password=self._token) if self._token else url)

    def upload(self, wheel: Path, session: str) -> None:
        """Upload one wheel into a session by the legacy upload API, as twine sends it; repeating it is no error.

        Raises:
            PublishError: the index refuses the file, with all its reasons.
        """
        for attempt in _attempts():
            with attempt, wheel.open("rb") as content:
                self._once(
                    "POST",
                    "/upload/",
                    params={"session": session},
                    data=upload_fields(wheel),
                    files={"content": (wheel.name, content, "application/octet-stream")},
                )

    def fetch(self, filename: str, sha256: str, downloads: Path) -> Path:
        """A file of the index, downloaded unless it is there.

        Raises:
            PublishError: the index does not answer, or the file does not match its hash.
        """

        def download(path: Path) -> None:
            for attempt in _attempts():
                with attempt, path.open("wb") as file:
                    self._download(f"/files/{sha256}/{quote(filename)}", file)
            if sha256_of(path) != sha256:
                raise PublishError(f"{self.url} sent another file in place of {filename}")

        return create_once(downloads / sha256 / filename, download)

    def _download(self, path: str, file: IO[bytes]) -> None:
        try:
            with self._client.stream("GET", path) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise PublishError(f"GET {path}: {answer.status_code} {_reason(answer)}")
                for chunk in answer.iter_bytes(1 << 20):
                    file.write(chunk)
        except httpx2.TransportError as error:
            raise UnreachableError(f"{self.url} does not answer: {error or type(error).__name__}") from error

    def evidence_kinds(self, sha256: str) -> frozenset[str]:
        """The kinds of evidence stored beside a file."""
        answer = self._request("GET", f"/api/evidence/{sha256}", accept=(200, 404))
        return frozenset(answer.json()["kinds"]) if answer.status_code == 200 else frozenset()

    def evidence(self, sha256: str, kind: str) -> dict[str, Any] | None:
        """The newest evidence of a kind beside a file, or ``None``."""
        answer = self._request("GET", f"/api/evidence/{sha256}/{_part(kind)}", accept=(200, 404))
        body = answer.json() if answer.status_code == 200 else None
        return body if isinstance(body, dict) else None

    def adopt(self, filename: str, session: str) -> None:
        """Take a file the index already has into a session."""
        self._request("PUT", f"/api/sessions/{_part(session)}/files/{_part(filename)}")

    def put_evidence(self, sha256: str, kind: str, evidence: dict[str, Any]) -> None:
        """Store evidence about a file."""
        self._request("PUT", f"/api/evidence/{sha256}/{_part(kind)}", json=evidence)

    def put_report(self, night: str, report: dict[str, Any]) -> None:
        """Store the report of a night; storing it again changes nothing."""
        self._request("PUT", f"/api/nights/{_part(night)}", json=report, accept=(200, 201))

    def nights(self) -> list[str]:
        """The nights that have a report, the newest first; none of an index that keeps no reports."""
        answer = self._request("GET", "/api/nights", accept=(200, 404))
        return [str(night) for night in answer.json()["nights"]] if answer.status_code == 200 else []

    def report(self, night: str) -> dict[str, Any]:
        """The report of a night."""
        found: dict[str, Any] = self._request("GET", f"/api/nights/{_part(night)}").json()
        return found

    def add_log(self, build: str, night: str, part: str, text: str) -> None:
        """Add a part to the log of a build, in one attempt: a log must not hold up a build.

        Raises:
            PublishError: the index does not take it.
        """
        path = f"/api/logs/{_part(build)}/{_part(night)}/{_part(part)}"
        self._once("PUT", path, content=text.encode(), timeout=10, accept=(200, 201))

    def log(self, build: str, night: str | None, after: str) -> tuple[str, str]:
        """The log of a build behind the part ``after``, and the name of its last part.

        Without a ``night`` it is the newest one.
        """
        path = f"/api/logs/{_part(build)}" + (f"/{_part(night)}" if night else "")
        answer = self._request("GET", path, params={"after": after})
        return answer.text, answer.headers.get("x-armwheels-part", "")

    def make_snapshot(self, session: str | None, channel: ChannelState) -> SnapshotAnswer:
        """Make the channel's head and the session into one snapshot; None is the token's own session.

        Repeating it while the channel stands gives the same answer; once somebody moved the channel, the snapshot
        is made anew over the new head, so that nothing of theirs is lost. A token's own session is closed by the
        first request, so that each call without a session publishes later uploads.
        """
        key = f"{session or secrets.token_urlsafe(16)}-{channel.name}-{channel.serial}"
        body = {"session": session, "idempotency_key": key, "channel": channel.name}
        answer = self._request("POST", "/api/snapshots", json=body, accept=(200, 201))
        return SnapshotAnswer.model_validate(answer.json())

    def move(
        self, channel: str, snapshot: str, expected_serial: int, message: str, *, nonce: str | None = None
    ) -> int:
        """Point a channel at a snapshot; returns the serial of the journal entry.

        A caller that may repeat the move, even from another process, gives a ``nonce`` of its own.

        Raises:
            PublishError: somebody else moved the channel in between, or a gate refuses.
        """
        body = {
            "snapshot": snapshot,
            "expected_serial": expected_serial,
            # The same nonce goes with every retry, so that a lost answer is recognised as our own move.
            "nonce": nonce or secrets.token_urlsafe(16),
            "approvals": [],
            "message": message,
        }
        answer = self._request("POST", f"/api/channels/{_part(channel)}/moves", json=body, accept=(200, 201))
        return int(answer.json()["serial"])

    def approve(self, channel: str, snapshot: str, message: str) -> str:
        """Approve a snapshot for a channel; returns the name under which it is written down."""
        body = {"channel": channel, "snapshot": snapshot, "message": message}
        return str(self._request("POST", "/api/approvals", json=body, accept=(200, 201)).json()["by"])

    def mark(self, kind: str, subject: dict[str, str], reason: str) -> int:
        """Yank, quarantine or undo it; returns the serial of the entry. ``subject`` has a filename or a project."""
        body = {"kind": kind, **subject, "reason": reason, "nonce": secrets.token_urlsafe(16)}
        return int(self._request("POST", "/api/status", json=body, accept=(200, 201)).json()["serial"])

    def with_token(self, token: str) -> Index:
        """A client of the same index with another token."""
        return Index(self.url, token)

    def _request(
        self, method: str, path: str, *, accept: tuple[int, ...] = (200,), **options: Any
    ) -> httpx2.Response:
        for attempt in _attempts():
            with attempt:
                return self._once(method, path, accept=accept, **options)
        raise AssertionError("tenacity re-raises the last failure")

    def _once(
        self, method: str, path: str, *, accept: tuple[int, ...] = (200,), **options: Any
    ) -> httpx2.Response:
        try:
            answer = self._client.request(method, path, **options)
        except httpx2.TransportError as error:
            raise UnreachableError(f"{self.url} does not answer: {error or type(error).__name__}") from error
        if answer.status_code in accept:
            return answer
        message = f"{method} {path}: {answer.status_code} {_reason(answer)}"
        if answer.status_code in (401, 403):
            message += " (the token is that of ARMWHEELS_TOKEN)"
        if answer.status_code == 507:  # more attempts would not find more space
            raise DiskError(message)
        if answer.status_code >= 500 or answer.status_code == 429:
            raise UnreachableError(message, wait=_seconds(answer.headers.get("retry-after")))
        raise PublishError(message)


class UnreachableError(PublishError):
    """A temporary failure; the index asks to retry after ``wait`` seconds."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


def _attempts() -> Retrying:
    backoff = wait_exponential_jitter(multiplier=0.2, max=10)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait if isinstance(error, UnreachableError) else 0.0
        return max(asked, backoff(state))

    return Retrying(
        retry=retry_if_exception_type(UnreachableError),
        stop=stop_after_attempt(6),
        wait=wait,
        reraise=True,
    )


def _seconds(retry_after: str | None) -> float:
    """``Retry-After`` in seconds (RFC 9110 section 10.2.3); a date or an hour is not waited for."""
    return min(float(retry_after), 60.0) if retry_after and retry_after.isdigit() else 0.0


def _reason(answer: httpx2.Response) -> str:
    """The readable part of a refusal: a problem document's detail (RFC 9457), else the text."""
    try:
        body = answer.json()
    except json.JSONDecodeError:
        return answer.text.strip()[:2000] or answer.reason_phrase
    if isinstance(body, dict):
        reasons = body.get("reasons") or body.get("errors")
        message = str(body.get("detail") or body.get("title") or body)
        if not isinstance(reasons, list):
            return message
        if len(reasons) == 1 and message == reasons[0]:
            return message
        if message == "; ".join(map(str, reasons)):
            message = str(body.get("title"))
        return message + "".join(f"\n  - {reason}" for reason in reasons)
    return str(body)


def upload_fields(wheel: Path) -> dict[str, str | list[str]]:
    """The form fields of the legacy upload API for one wheel: its digests and its core metadata.

    Raises:
        PublishError: the wheel holds no readable METADATA.
    """
    name, version, _, tags = parse_wheel_filename(split_label(wheel.name)[0])
    sha256, blake2 = hashlib.sha256(), hashlib.blake2b(digest_size=32)
    with wheel.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            blake2.update(chunk)
    with zipfile.ZipFile(wheel) as archive:
        inside = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA") and n.count("/") == 1]
        if len(inside) != 1:
            raise PublishError(f"{wheel.name} holds no single METADATA")
        metadata, _ = parse_email(archive.read(inside[0]))
    fields: dict[str, str | list[str]] = {
        ":action": "file_upload",
        "protocol_version": "1",
        "filetype": "bdist_wheel",
        "pyversion": ".".join(sorted({tag.interpreter for tag in tags})),
        "name": str(metadata.get("name") or name),
        "version": str(metadata.get("version") or version),
        "metadata_version": str(metadata.get("metadata_version") or "2.1"),
        "sha256_digest": sha256.hexdigest(),
        "blake2_256_digest": blake2.hexdigest(),
    }
    for key in ("summary", "license_expression", "requires_python"):
        if value := metadata.get(key):
            fields[key] = str(value)
    for key in ("classifiers", "requires_dist"):
        if isinstance(values := metadata.get(key), list):
            fields[key] = [str(value) for value in values]
    return fields


def _part(name: str) -> str:
    """A name as one part of a path, whatever was typed."""
    return quote(name, safe="")
