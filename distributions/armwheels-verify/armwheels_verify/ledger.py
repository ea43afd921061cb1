"""What an index signed: its policy, the journals of its channels, its snapshots and the record of each file.

The TUF client (:mod:`tuf.ngclient`) checks signatures, versions and expiry from the pinned root on. It gives the
hash of the last entry of each journal. From there hashes lead on: an entry has that of the one before and of its
snapshot, a snapshot those of its shards, a shard those of its files. Nothing is used before its hash was compared.

The state folder keeps what was seen last, so that an index cannot go back behind it, nor rewrite its history.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater

from armwheels_verify.errors import RefusedError
from armwheels_verify.sources import Fetcher, Source, read

ENTRY = 1 << 16  # bytes of one entry of a journal, at most
SNAPSHOT = 64 << 20  # bytes of a snapshot or shard, at most
ENTRIES = 10_000  # that are asked for at a time
STATUS = "status"
GENESIS = "0" * 64


@dataclass(frozen=True)
class Builder:
    """A key that signs statements, and until when the index took wheels of it."""

    keyid: str
    key: Mapping[str, Any]
    until: str | None


@dataclass(frozen=True)
class Policy:
    """What the operator signed: the channels, the builders, and the statements that a tuned wheel needs."""

    channels: tuple[str, ...]
    builders: Mapping[str, Builder]
    required: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A file as a snapshot records it."""

    channel: str
    snapshot: str
    filename: str
    sha256: str
    uploaded_at: str
    tuned: bool


class Ledger:
    """The signed state of one index."""

    def __init__(
        self, source: Source, root: bytes, state: Path, *, whole: bool = False, as_of: datetime | None = None
    ) -> None:
        """Read and check all that is signed. ``whole`` reads journals from their beginning, for a saved folder.

        ``as_of`` takes the place of the clock.

        Raises:
            RefusedError: a signature, version, hash or date is not as it must be.
        """
        self._source, self._state, self._whole = source, state, whole
        (state / "objects").mkdir(parents=True, exist_ok=True)
        with _refusals():
            self._tuf = Updater(
                str(state),
                f"{Fetcher.BASE}tuf/",
                target_dir=str(state),
                target_base_url=f"{Fetcher.BASE}tuf/targets/",
                fetcher=Fetcher(source),
                bootstrap=root,
            )
            if as_of is not None:
                self._tuf._trusted_set.reference_time = as_of  # tuf has no other way to set its clock
            self._tuf.refresh()
            self.policy = self._policy()
        self.journals = {name: self._journal(name, f"channels/{name}.json") for name in self.policy.channels}
        self.marks = _marks(self._journal(STATUS, f"{STATUS}.json"))

    def find(self, project: str, sha256: str, channels: tuple[str, ...]) -> Found:
        """The record of a file in the newest snapshot that has it.

        Raises:
            RefusedError: no snapshot has it, or what leads to it does not match its hash.
        """
        for found in self.records(project, channels):
            if found.sha256 == sha256:
                return found
        raise RefusedError(
            f"no snapshot of {', '.join(channels)} has a file of {project} with sha256 {sha256[:16]}…"
        )

    def other(self, project: str, filename: str, channels: tuple[str, ...]) -> Found | None:
        """The record of a file name, whatever its hash is."""
        return next((found for found in self.records(project, channels) if found.filename == filename), None)

    def records(self, project: str, channels: tuple[str, ...]) -> Iterator[Found]:
        """The records of a project, from the newest snapshot of each channel to the oldest."""
        seen = set()
        for channel in channels:
            for entry in reversed(self.journals[channel]):
                if entry["snapshot"] in seen:
                    continue
                seen.add(entry["snapshot"])
                shard = self.projects(entry).get(project)
                if shard is not None and shard not in seen:
                    seen.add(shard)
                    yield from self._records(channel, entry["snapshot"], shard)

    def projects(self, entry: Mapping[str, Any]) -> dict[str, str]:
        """The projects of the snapshot that an entry shows, each with the hash of its shard."""
        name = str(entry["snapshot"])
        sha256 = entry.get("snapshot_sha256") or self._older(name)
        document = self._object(f"tuf/snapshots/{name}.json", str(sha256), f"the snapshot {name}")
        return {project: str(ref["shard"]) for project, ref in document["projects"].items()}

    def all(self, channel: str) -> Iterator[tuple[str, Found]]:
        """The records of the snapshot that a channel shows, each with its project."""
        if not self.journals[channel]:
            return
        entry = self.journals[channel][-1]
        for project, shard in sorted(self.projects(entry).items()):
            for found in self._records(channel, str(entry["snapshot"]), shard):
                yield project, found

    def _records(self, channel: str, snapshot: str, shard: str) -> Iterator[Found]:
        document = self._object(f"tuf/shards/{shard}.json", shard, "a part of the snapshot")
        for record in document["records"]:
            yield Found(
                channel,
                snapshot,
                str(record["filename"]),
                str(record["sha256"]),
                str(record["uploaded_at"]),
                record["tuned"] is not None,
            )

    def _older(self, snapshot: str) -> str:
        """The hash of a snapshot whose entry does not have it."""
        with _refusals():
            target = self._tuf.get_targetinfo(f"snapshots/{snapshot}.json")
        if target is None:
            raise RefusedError(f"nothing signed names the snapshot {snapshot}")
        return target.hashes["sha256"]

    def _object(self, path: str, sha256: str, what: str) -> dict[str, Any]:
        """A document that is named by its hash."""
        kept = self._state / "objects" / sha256
        data = kept.read_bytes() if kept.is_file() and not self._whole else b""
        if _sha256(data) != sha256:
            try:
                data = read(self._source, path, SNAPSHOT)
            except FileNotFoundError:
                raise RefusedError(f"{what} is missing ({path})") from None
            has_hash(data, sha256, what)
            kept.write_bytes(data)
        document: dict[str, Any] = json.loads(data)
        return document

    def _policy(self) -> Policy:
        target = self._tuf.get_targetinfo("policy.json")
        if target is None:
            raise RefusedError("nothing signed names a policy")
        document = json.loads(Path(self._tuf.download_target(target)).read_bytes())
        builders = {
            keyid: Builder(keyid, builder["key"], builder["until"])
            for keyid, builder in document["builders"].items()
        }
        return Policy(tuple(document["channels"]), builders, tuple(document["required"]))

    def _journal(self, name: str, path: str) -> list[dict[str, Any]]:
        """All entries of a journal, the oldest first, after a check of each hash."""
        with _refusals():
            target = self._tuf.get_targetinfo(path)
        kept = self._state / f"journal-{name}.ndjson"
        known = kept.read_bytes().splitlines() if kept.is_file() else []
        serial = int(target.custom["serial"]) if target is not None else 0
        lines: list[bytes] = []
        if known and not self._whole:
            try:
                lines = [*known, *self._lines(name, len(known) + 1, serial)]
                entries = _checked(name, lines, target)
            except RefusedError:
                lines = []  # read it from its beginning, which tells why
        if not lines:
            lines = self._lines(name, 1, serial)
            entries = _checked(name, lines, target)
        goes_on(name, known, lines)
        kept.write_bytes(b"".join(line + b"\n" for line in lines))
        return entries

    def _lines(self, name: str, first: int, last: int) -> list[bytes]:
        lines: list[bytes] = []
        for start in range(first, last + 1, ENTRIES):
            stop = min(start + ENTRIES - 1, last)
            try:
                data = read(self._source, f"tuf/journal/{name}/{start}-{stop}", (stop - start + 1) * ENTRY)
            except FileNotFoundError:
                data = b""
            lines += data.splitlines()
        is_complete(name, lines, max(last - first + 1, 0))
        return lines


def has_hash(data: bytes, sha256: str, what: str) -> None:
    """Check the hash of a document to which signed ones lead."""
    if _sha256(data) != sha256:
        raise RefusedError(f"{what} was changed: it does not have the hash that was signed")


def is_complete(name: str, lines: list[bytes], expected: int) -> None:
    """Check that as many entries came as are signed."""
    if len(lines) != expected:
        raise RefusedError(f"the journal {name} is truncated: {len(lines)} of {expected} entries came")


def ends_as_signed(name: str, lines: list[bytes], target: TargetFile | None) -> None:
    """Check that the last entry is the signed one."""
    if target is not None and _sha256(lines[-1] if lines else b"") != target.hashes["sha256"]:
        raise RefusedError(f"the journal {name} was changed: its last entry is not the one that was signed")


def goes_on(name: str, known: list[bytes], lines: list[bytes]) -> None:
    """Check that what was seen before is still there, even where somebody with the server's key left it out."""
    if lines[: len(known)] != known:
        raise RefusedError(
            f"the journal {name} was rewritten: entries that were seen before are gone (rollback)"
        )


def continues(entry: Mapping[str, Any], number: int, before: str) -> bool:
    """Whether an entry has this number and the hash of the one before it."""
    return bool(entry["serial"] == number and entry["previous_hash"] == before)


def _checked(name: str, lines: list[bytes], target: TargetFile | None) -> list[dict[str, Any]]:
    entries = _chained(name, lines)
    ends_as_signed(name, lines, target)
    return entries


def _chained(name: str, lines: list[bytes]) -> list[dict[str, Any]]:
    """The entries, if each has the hash of the one before."""
    before, entries = GENESIS, []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            chained = continues(entry, number, before)
        except (ValueError, KeyError, TypeError):
            chained = False
        if not chained:
            raise RefusedError(
                f"the journal {name} was changed: entry {number} does not follow the one before"
            )
        entries.append(entry)
        before = _sha256(line)
    return entries


def _marks(entries: list[dict[str, Any]]) -> dict[tuple[str, str | None], tuple[str, str]]:
    """The yanks and quarantines that stand: by project and file name, the kind and the reason."""
    marks: dict[tuple[str, str | None, str], str] = {}
    undone = {"unyank": "yank", "release": "quarantine"}
    for entry in entries:
        kind = str(entry["kind"])
        key = (str(entry["project"]), entry["filename"], undone.get(kind, kind))
        if kind in undone:
            marks.pop(key, None)
        else:
            marks[key] = str(entry["reason"])
    found: dict[tuple[str, str | None], tuple[str, str]] = {}
    for (project, filename, kind), reason in sorted(marks.items(), key=lambda mark: mark[0][2], reverse=True):
        found[project, filename] = kind, reason  # of both, the quarantine stays
    return found


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _refusals() -> Iterator[None]:
    """Turns the errors of the TUF client into reasons."""
    try:
        yield
    except (RepositoryError, DownloadError) as error:
        reason = next(text for kind, text in _REASONS.items() if isinstance(error, kind))
        raise RefusedError(f"the signed metadata is refused: {reason}: {error}") from error


_REASONS: Mapping[type[Exception], str] = {
    ExpiredMetadataError: "it has expired, and may be an old state that is shown again (freeze)",
    BadVersionNumberError: "it is older than what was seen before, or than what is signed (rollback)",
    LengthOrHashMismatchError: "it was not signed together with the other documents (mix-and-match)",
    UnsignedMetadataError: "it is not signed by enough keys of its role",
    DownloadLengthMismatchError: "it is longer than it may be (endless data)",
    DownloadError: "it cannot be read",
    RepositoryError: "it is not as TUF demands",
}
