"""Models of the stored objects: frozen, written once, as JSON with sorted keys.

Times are UTC in the form of PEP 700 (``2026-11-23T05:22:04.123456Z``). Sizes are bytes. Digests are lower-case
hexadecimal sha256 unless the name says otherwise.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Annotated, Literal, Self, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from index_server.errors import DamagedError

SHA256_PATTERN = r"^[0-9a-f]{64}$"
SESSION_PATTERN = r"^[A-Za-z0-9_-]{22,64}$"
Sha256 = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]
SESSION = re.compile(r"[A-Za-z0-9_-]{22,64}\Z")
Session = Annotated[str, StringConstraints(pattern=SESSION_PATTERN)]
GENESIS = "0" * 64  # previous_hash of the first entry of a journal


class Stored(BaseModel):
    """Base of all stored models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def encode(self) -> bytes:
        """The bytes to store. Equal models give equal bytes, so that a hash can name them."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)

    @classmethod
    def decode(cls, data: bytes, *, key: str) -> Self:
        """Parse stored bytes; ``key`` names the object in messages.

        Raises:
            DamagedError: the bytes are not valid.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise DamagedError(key, str(error)) from error


StoredT = TypeVar("StoredT", bound=Stored)


class Tuned(Stored):
    """The part of a wheel's passport that decides which views show the wheel."""

    build: str
    recipe: str
    version: str  # the upstream version (PEP 440), without the local part
    python: str
    target: str
    backend: str
    default_backend: bool
    wheel_digest: Sha256


class Record(Stored):
    """The index's record of one file."""

    format: Literal[1] = 1
    project: str  # normalised (PEP 503)
    name: str  # as METADATA spells it
    filename: str  # PEP 427; PEP 691 `filename`
    version: str  # normalised (PEP 440), with the local part; PEP 700 `versions`
    build_tag: str  # "" without one
    python_tag: str  # PEP 425
    abi_tag: str
    platform_tag: str
    size: int  # PEP 700 `size`
    sha256: Sha256  # PEP 691 `hashes`
    blake2_256: str
    metadata_sha256: Sha256  # PEP 714 `core-metadata`
    requires_python: str | None  # PEP 503 and 691
    summary: str
    uploaded_at: str  # PEP 700 `upload-time`
    uploaded_by: str
    tuned: Tuned | None  # None without a passport: the file is for every target
    provenance_sha256: Sha256 | None = None  # of the provenance object (PEP 740), its key below attestations/

    @property
    def label(self) -> str:
        """The label of a wheel variant (PEP 825), which the file name has after the platform tag; else ``""``."""
        return self.filename.removesuffix(".whl").rpartition(f"-{self.platform_tag}")[2].removeprefix("-")


class SessionFile(Stored):
    """One file of an upload session."""

    project: str
    filename: str
    sha256: Sha256
    at: str


class Shard(Stored):
    """A project's part of a snapshot. Its key is the sha256 of its bytes."""

    format: Literal[1] = 1
    project: str
    records: tuple[Record, ...]  # by file name


class ShardRef(Stored):
    """A snapshot's entry for one project; enough to list the project without reading its shard."""

    shard: Sha256
    files: int
    offers: tuple[str, ...]  # see views.offers


class DevelopmentRule(Stored):
    """Which development versions of a project a channel lists (see :mod:`index_server.rules.development`)."""

    versions: int | None = None  # the newest ones
    days: int | None = None  # since the upload of the newest file of a version


class SnapshotRequest(Stored):
    """The inputs of a snapshot, written before the snapshot, so that a repeated request gives the same one."""

    channel: str
    parent: str | None
    at: str
    files: tuple[SessionFile, ...]
    development: DevelopmentRule | None = None


class Snapshot(Stored):
    """An immutable set of records."""

    format: Literal[1] = 1
    id: str  # such as 20261123-1
    parent: str | None
    created_at: str
    request: Sha256  # of session and idempotency key, which stay secret
    projects: dict[str, ShardRef]


class SnapshotAnswer(Stored):
    """The answer to a request for a snapshot."""

    id: str
    created: bool
    parent: str | None
    files: int
    added: tuple[str, ...]
    replaced: tuple[str, ...]
    dropped: tuple[str, ...] = ()  # by the channel's rule for development versions


class Entry(Stored):
    """Base of all journal entries."""

    format: Literal[1] = 1
    serial: int
    previous_hash: Sha256  # of the bytes of the entry before, or GENESIS
    nonce: str
    at: str
    by: str


EntryT = TypeVar("EntryT", bound=Entry)


class Move(Entry):
    """One entry of a channel's journal."""

    kind: Literal["move"] = "move"
    channel: str
    snapshot: str
    approvals: tuple[str, ...]  # names of the tokens that approved
    message: str
    judgement: Sha256 | None = None  # key below judgements/; None without gates
    snapshot_sha256: Sha256 | None = None  # of the snapshot's bytes; None in entries of older servers


Mark = Literal["yank", "unyank", "quarantine", "release"]


class StatusEntry(Entry):
    """One entry of the journal of yanks (PEP 592) and quarantines (PEP 792)."""

    kind: Mark
    project: str
    filename: str | None  # None: the whole project, which can be quarantined and released
    reason: str


class Approval(Stored):
    """A second person's approval of a snapshot for a channel."""

    channel: str
    snapshot: str
    by: str
    token: str  # its id
    at: str
    message: str


class Judgement(Stored):
    """The facts by which a channel's gates accepted a snapshot. Its key is the sha256 of its bytes."""

    format: Literal[1] = 1
    channel: str
    snapshot: str
    returning: bool  # whether the channel has shown it before
    approvals: tuple[Approval, ...]
    evidence: dict[str, dict[str, int]]  # sha256 of the file -> kind -> number of the evidence


class Fate(Stored):
    """The end of an upload session, decided once."""

    fate: Literal["asked", "discarded"]
    at: str


class Evidence(Stored):
    """A report about a file, such as an audit or a test run."""

    sha256: Sha256  # of the file
    kind: str
    at: str
    by: str
    body: object


class Token(Stored):
    """A token. Its key is the sha256 of the secret."""

    name: str
    created_at: str
    expires_at: str | None
    scopes: tuple[str, ...] | None = None  # None: see tokens.DEFAULT_SCOPES


class Revocation(Stored):
    """The revocation of a token, under the token's key."""

    at: str


class StoreMark(Stored):
    """The object that says that a store is this one and is there."""

    format: Literal[1] = 1
    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    at: str


class FilePointer(Stored):
    """The file of a project that was published for a wheel digest.

    Older servers wrote it to ``builds/{wheel digest}.json``.
    """

    project: str
    filename: str


class Hint(Stored):
    """The last serial known of a journal. It may be behind; where it is ahead, entries were lost."""

    serial: Annotated[int, Field(ge=1)]
    sha256: Sha256 | None = None  # of the bytes of that entry; None in hints of older servers


def stamp(moment: datetime) -> str:
    """Format an aware time in UTC (PEP 700: ``yyyy-mm-ddThh:mm:ss.ffffffZ``)."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def sha256_hex(data: bytes) -> str:
    """The sha256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


File = tuple[str, str]  # sha256 and file name


class Tomb(Stored):
    """One generation of a file, in an entry of the journal of collected files."""

    project: str
    filename: str
    sha256: Sha256
    generation: int

    @property
    def file(self) -> File:
        """The sha256 and the name of the file."""
        return self.sha256, self.filename


class TombEntry(Entry):
    """One entry of the journal of collected files: files collected, or files restored."""

    kind: Literal["collected", "restored"]
    files: tuple[Tomb, ...]


class Gone(Stored):
    """The state of a collected file: its generation, and when it was collected."""

    tomb: Tomb
    at: str


class Intent(Stored):
    """The announcement of a move to a snapshot."""

    snapshot: str
    at: str


Kind = Literal["lease", "end", "void"]


class LeasedFile(Stored):
    """A file named by a lease."""

    project: str
    filename: str
    sha256: Sha256


class LeaseEntry(Entry):
    """One entry of the journal of leases: a new lease, its end, or its annulment."""

    kind: Kind
    name: str
    snapshots: tuple[str, ...] = ()
    files: tuple[LeasedFile, ...] = ()
    message: str = ""


class Builder(Stored):
    """A key that signs statements about wheels, and the time in which the index took wheels of it."""

    key: dict[str, object]  # as TUF writes public keys
    since: str
    until: str | None = None


class TrustPolicy(Stored):
    """The signed document that says which builders are believed, and which statements a tuned wheel needs."""

    format: Literal[1] = 1
    channels: tuple[str, ...]
    builders: dict[str, Builder] = {}  # by key id
    required: tuple[str, ...] = ()  # kinds of statements
