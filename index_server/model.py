"""What the index stores: frozen models, written once, as JSON with sorted keys.

Times are UTC in the form of PEP 700 (``2026-11-23T05:22:04.123456Z``). Sizes are bytes. Digests are lower-case
hexadecimal sha256 unless the name says otherwise.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Annotated, Literal, Self, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from index_server.errors import DamagedError

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
SESSION = re.compile(r"[A-Za-z0-9_-]{22,64}\Z")
Session = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{22,64}$")]
GENESIS = "0" * 64  # the hash that stands before a channel's first move


class Stored(BaseModel):
    """Base of all that lies in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def encode(self) -> bytes:
        """The bytes as stored; the same model always gives the same bytes, so that hashes may name them."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)

    @classmethod
    def decode(cls, data: bytes, *, key: str) -> Self:
        """Read stored bytes back.

        Raises:
            DamagedError: they are not what was written; ``key`` says which object.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise DamagedError(key, str(error)) from error


StoredT = TypeVar("StoredT", bound=Stored)


class Tuned(Stored):
    """The part of a wheel's passport that decides who sees the wheel."""

    build: str
    recipe: str
    version: str  # upstream's (PEP 440), without our local part
    python: str
    target: str
    backend: str
    default_backend: bool
    wheel_digest: Sha256


class Record(Stored):
    """What the index knows of one file."""

    format: Literal[1] = 1
    project: str  # normalised (PEP 503)
    name: str  # as METADATA spells it
    filename: str  # PEP 427; PEP 691 `filename`
    version: str  # normalised (PEP 440), with the local part; PEP 700 `versions`
    build_tag: str  # "" where there is none
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
    tuned: Tuned | None  # None: no passport, so the file belongs to every target


class SessionFile(Stored):
    """One file held by an upload session."""

    project: str
    filename: str
    sha256: Sha256
    at: str


class Shard(Stored):
    """A project's part of a snapshot; the sha256 of its bytes is its name."""

    format: Literal[1] = 1
    project: str
    records: tuple[Record, ...]  # by file name


class ShardRef(Stored):
    """What a snapshot says of a project, enough to list it without reading its shard."""

    shard: Sha256
    files: int
    offers: tuple[str, ...]  # see views.offers


class SnapshotRequest(Stored):
    """What a snapshot is made from, pinned before it is made: asking again gives the same answer."""

    channel: str
    parent: str | None
    at: str
    files: tuple[SessionFile, ...]


class Snapshot(Stored):
    """An immutable set of records."""

    format: Literal[1] = 1
    id: str  # such as 20261123-1
    parent: str | None
    created_at: str
    request: Sha256  # names session and idempotency key without telling them
    projects: dict[str, ShardRef]


class SnapshotAnswer(Stored):
    """What became of a request for a snapshot."""

    id: str
    created: bool
    parent: str | None
    files: int
    added: tuple[str, ...]
    replaced: tuple[str, ...]


class Entry(Stored):
    """What every entry of a journal says."""

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
    judgement: Sha256 | None = None  # what the gates saw, below judgements/; None where there are none


Mark = Literal["yank", "unyank", "quarantine", "release"]


class StatusEntry(Entry):
    """One entry of the journal of yanks (PEP 592) and quarantines (PEP 792)."""

    kind: Mark
    project: str
    filename: str | None  # None: the whole project, which can be quarantined and released
    reason: str


class Approval(Stored):
    """A second person's word for a snapshot in a channel."""

    channel: str
    snapshot: str
    by: str
    token: str  # its id
    at: str
    message: str


class Judgement(Stored):
    """What the gates of a channel saw when they let a snapshot pass; the sha256 of its bytes is its name."""

    format: Literal[1] = 1
    channel: str
    snapshot: str
    returning: bool  # the channel had shown it before
    approvals: tuple[Approval, ...]
    evidence: dict[str, dict[str, int]]  # sha256 of the file -> kind -> number of the evidence


class Fate(Stored):
    """What became of an upload session, decided once."""

    fate: Literal["asked", "discarded"]
    at: str


class Evidence(Stored):
    """What was found out about a file after it was closed."""

    sha256: Sha256  # of the file
    kind: str
    at: str
    by: str
    body: object


class Token(Stored):
    """An upload token; the object's key is the sha256 of the secret."""

    name: str
    created_at: str
    expires_at: str | None
    scopes: tuple[str, ...] | None = None  # None: see tokens.DEFAULT_SCOPES


class Revocation(Stored):
    """That a token is no longer valid; the object's key is the token's."""

    at: str


class StoreMark(Stored):
    """The object that says that a store is this one and is there."""

    format: Literal[1] = 1
    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    at: str


class FilePointer(Stored):
    """Where a wheel digest was published."""

    project: str
    filename: str


class Hint(Stored):
    """The last serial known of a journal. It may be behind; where it is ahead, entries were lost."""

    serial: int
    sha256: Sha256 | None = None  # of the bytes of that entry; None in hints of older servers


def stamp(moment: datetime) -> str:
    """Spell an aware time in UTC (PEP 700: ``yyyy-mm-ddThh:mm:ss.ffffffZ``)."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def sha256_hex(data: bytes) -> str:
    """The sha256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


File = tuple[str, str]  # sha256 and file name


class Tomb(Stored):
    """One generation of a file, in an entry."""

    project: str
    filename: str
    sha256: Sha256
    generation: int

    @property
    def file(self) -> File:
        """The file whose generation it is."""
        return self.sha256, self.filename


class TombEntry(Entry):
    """One entry: files that go, or files that are back."""

    kind: Literal["collected", "restored"]
    files: tuple[Tomb, ...]


class Gone(Stored):
    """That a file is collected: which generation, since when."""

    tomb: Tomb
    at: str


class Intent(Stored):
    """That somebody is about to point a channel at a snapshot."""

    snapshot: str
    at: str


Kind = Literal["lease", "end", "void"]


class LeasedFile(Stored):
    """A file that a lease names."""

    project: str
    filename: str
    sha256: Sha256


class LeaseEntry(Entry):
    """One entry of the journal of leases: what a name stands for from now on, or that it ended or never was."""

    kind: Kind
    name: str
    snapshots: tuple[str, ...] = ()
    files: tuple[LeasedFile, ...] = ()
    message: str = ""
