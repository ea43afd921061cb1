"""The TUF repository in the store: what is signed now, and how the next state is written.

Documents lie at ``tuf/<role>/<version>.json`` and are never replaced. **Creating the next ``timestamp`` is the
commit**: it names the snapshot document, which names all others, each with its hash. Of two servers that sign at
the same time, one creates it; the other reads again. A server that is killed before that leaves documents that
nothing names; their version numbers are passed over.

The server signs only what continues what it signed before. A journal whose signed entry is gone or has other bytes,
or whose entries do not chain, is refused: the store was changed by somebody else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any, TypeVar

from securesystemslib.exceptions import StorageError
from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from index_server.catalog.catalog import Catalog
from index_server.catalog.journal import Journal, journal_key, serial_of
from index_server.errors import DamagedError, MissingObjectError, NotSignedError, StoreError
from index_server.model import GENESIS, Entry, Move, TrustPolicy, sha256_hex
from index_server.store.objects import keys
from index_server.trust.roles import (
    POLICY,
    STATUS,
    channel_role,
    channel_target,
    entry_target,
    expiry,
    meta_of,
    snapshot_target,
)

_log = logging.getLogger(__name__)
_T = TypeVar("_T", Root, Targets, Snapshot, Timestamp)


def document_key(role: str, version: int) -> str:
    """The key of a version of a role's document."""
    return f"tuf/{role}/{version}.json"


def policy_key(sha256: str) -> str:
    """The key of a policy."""
    return f"tuf/policies/{sha256}.json"


@dataclass(frozen=True)
class State:
    """What is signed: the newest root and targets, and what the newest timestamp names, if there is one."""

    root: Metadata[Root]
    targets: Metadata[Targets]
    timestamp: Metadata[Timestamp] | None = None
    snapshot: Metadata[Snapshot] | None = None
    delegated: Mapping[str, Metadata[Targets]] = field(default_factory=dict)

    @property
    def documents(self) -> Iterator[tuple[str, Signed]]:
        """All documents, with the names of their roles."""
        yield Root.type, self.root.signed
        yield Targets.type, self.targets.signed
        for role, document in (
            *self.delegated.items(),
            ("snapshot", self.snapshot),
            ("timestamp", self.timestamp),
        ):
            if document is not None:
                yield role, document.signed


class Repository:
    """The repository, as seen by one process. Without ``signers``, the online keys, it only serves."""

    def __init__(self, catalog: Catalog, signers: Sequence[Signer] = ()) -> None:
        self._catalog = catalog
        self._store = catalog.store
        self._signers = {signer.public_key.keyid: signer for signer in signers}
        self._newest: dict[str, int] = {}
        self._roots: list[Metadata[Root]] = []
        self._lock = Lock()
        self._refreshed = float("-inf")  # by the monotonic clock

    @property
    def signs(self) -> bool:
        """Whether this process has keys."""
        return bool(self._signers)

    # Reading

    def newest(self, role: str) -> int:
        """The newest version of a role that is in the store; 0 without any."""
        version = self._newest.get(role)
        if version is None:
            version = max((serial_of(key) for key in keys(self._store, f"tuf/{role}/")), default=0)
        while self._store.size(document_key(role, version + 1)) is not None:
            version += 1
        self._newest[role] = max(version, self._newest.get(role, 0))
        return version

    def load(self, role: str, version: int, kind: type[_T]) -> Metadata[_T]:
        """A document, without a look at its signatures.

        Raises:
            DamagedError: it is missing, or no document of this role and version.
        """
        key = document_key(role, version)
        try:
            document: Metadata[_T] = Metadata.from_bytes(self._store.get(key))
        except (DeserializationError, StorageError) as error:
            raise DamagedError(key, str(error)) from error
        except MissingObjectError as error:
            raise DamagedError(key, "it is missing") from error
        if not isinstance(document.signed, kind) or document.signed.version != version:
            raise DamagedError(key, f"it is no {role} of version {version}")
        return document

    def roots(self) -> list[Metadata[Root]]:
        """All root documents, the oldest first. Each is signed by its own keys and those of the one before.

        Raises:
            DamagedError: one is missing, damaged, or not signed so.
        """
        found = self._roots
        for version in range(len(found) + 1, self.newest(Root.type) + 1):
            document = self.load(Root.type, version, Root)
            for root in (*found[-1:], document):
                _verify(root.signed, Root.type, document)
            found = [*found, document]
        self._roots = found
        return found

    def state(self) -> State | None:
        """What is signed now; None before the first root and targets.

        Raises:
            DamagedError: a document is missing, damaged, or was never signed by the keys of its role.
        """
        roots = self.roots()
        version = self.newest(Targets.type)
        if not roots or not version:
            return None
        targets = self.load(Targets.type, version, Targets)
        _verify(roots[-1].signed, Targets.type, targets)
        newest = self.newest(Timestamp.type)
        if newest == 0:
            return State(roots[-1], targets)
        timestamp = self.load(Timestamp.type, newest, Timestamp)
        if not any(_counts(root.signed, Timestamp.type, timestamp) for root in reversed(roots)):
            raise DamagedError(
                document_key(Timestamp.type, newest), "no root ever named a key that signed it"
            )
        snapshot = self._named(Snapshot.type, timestamp.signed.snapshot_meta, Snapshot)
        delegated = {
            role: self._named(role, meta, Targets)
            for role, meta in _metas(snapshot).items()
            if role != Targets.type
        }
        return State(roots[-1], targets, timestamp, snapshot, delegated)

    def policy(self, targets: Targets) -> TrustPolicy:
        """The policy that ``targets`` names.

        Raises:
            DamagedError: it is missing or damaged.
        """
        key = policy_key(targets.targets[POLICY].hashes["sha256"])
        try:
            data = self._store.get(key)
        except MissingObjectError as error:
            raise DamagedError(key, "it is missing") from error
        if policy_key(sha256_hex(data)) != key:
            raise DamagedError(key, "its bytes have changed")
        return TrustPolicy.decode(data, key=key)

    def _named(self, role: str, meta: MetaFile, kind: type[_T]) -> Metadata[_T]:
        """The document that another one names, with the hash that it states."""
        key = document_key(role, meta.version)
        try:
            meta.verify_length_and_hashes(self._store.get(key))
        except MissingObjectError as error:
            raise DamagedError(key, "it is missing") from error
        except RepositoryError as error:
            raise DamagedError(key, str(error)) from error
        return self.load(role, meta.version, kind)

    # Writing

    def accept(
        self, root: Metadata[Root] | None, targets: Metadata[Targets] | None, policy: bytes | None
    ) -> None:
        """Store what people signed: the policy first, then the root, then the targets.

        Whoever calls this has checked the signatures.

        Raises:
            NotSignedError: another document has this version.
        """
        if policy is not None:
            self._store.create(policy_key(sha256_hex(policy)), policy)
        for document in (root, targets):
            if document is None:
                continue
            key, data = document_key(document.signed.type, document.signed.version), document.to_bytes()
            if not self._store.create(key, data) and self._store.get(key) != data:
                raise NotSignedError(
                    f"{key} is in the store already, with other bytes; begin again with `tuf rotate`"
                )

    def refresh(self) -> bool:
        """Sign what has changed, and what has lived for half of its time. Return whether anything was signed.

        Raises:
            NotSignedError: a journal does not continue what was signed, or the keys are none of the roles'.
            DamagedError: a signed document or an entry is missing or damaged.
        """
        with self._lock:
            while True:
                state = self.state()
                if state is None:
                    return False
                done = self._sign(state)
                if done is not None:
                    return done

    def refresh_quietly(self, every: float = 0.0) -> None:
        """:meth:`refresh` beside a request that has succeeded already: a refusal is logged.

        It does nothing if it was done less than ``every`` seconds ago.
        """
        if self.signs and time.monotonic() - self._refreshed >= every:
            self._refreshed = time.monotonic()
            try:
                self.refresh()
            except (NotSignedError, StoreError) as error:
                _log.error("the metadata is not signed: %s", error)

    def _sign(self, state: State) -> bool | None:
        """Sign what is needed. None where another process has signed meanwhile."""
        now = self._catalog.now()
        root, targets = state.root.signed, state.targets.signed
        metas = _metas(state.snapshot)  # a role that is gone keeps its document: TUF lets none disappear
        metas[Targets.type] = meta_of(
            targets.version, self._store.get(document_key(Targets.type, targets.version))
        )
        roles = targets.delegations.roles if targets.delegations else {}
        for name in roles or {}:
            standing = state.delegated.get(name)
            wanted = self._wanted(name, standing.signed if standing else None)
            if (
                standing is None
                or standing.signed.targets != wanted
                or not _current(targets, name, standing, now)
            ):
                fresh = Targets(expires=expiry(name, now), targets=wanted)
                metas[name] = self._write(targets, name, fresh, standing)
        if _metas(state.snapshot) == metas and _current(root, Snapshot.type, state.snapshot, now):
            if state.timestamp is None or _current(root, Timestamp.type, state.timestamp, now):
                return False
            named = state.timestamp.signed.snapshot_meta
        else:
            files = {f"{name}.json": meta for name, meta in metas.items()}
            whole = Snapshot(expires=expiry(Snapshot.type, now), meta=files)
            named = self._write(root, Snapshot.type, whole, state.snapshot)
        version = (state.timestamp.signed.version if state.timestamp else 0) + 1
        timestamp = Timestamp(version=version, expires=expiry(Timestamp.type, now), snapshot_meta=named)
        data = self._signed(root, Timestamp.type, timestamp)
        return True if self._store.create(document_key(Timestamp.type, version), data) else None

    def _wanted(self, role: str, standing: Targets | None) -> dict[str, TargetFile]:
        """The targets of a delegated role: the last entry of its journal, where that has any."""
        if role == STATUS:
            return self._continued(self._catalog.status.journal, f"{STATUS}.json", standing)
        for channel in self._catalog.channels:
            if role == channel_role(channel):
                journal = self._catalog.journal(channel)
                found = self._continued(journal, channel_target(channel), standing)
                moves = [move for move in journal.entries() if move.snapshot_sha256 is None]
                return found | self._older(moves)
        return dict(standing.targets) if standing else {}  # the channel left channels.toml

    def _older(self, moves: Sequence[Move]) -> dict[str, TargetFile]:
        """The snapshots that moves of older servers show, whose hashes no entry has."""
        targets = {}
        for snapshot in {move.snapshot for move in moves}:
            path = snapshot_target(snapshot)
            targets[path] = TargetFile.from_data(path, self._store.get(path), ["sha256"])
        return targets

    def _continued(self, journal: Journal[Any], path: str, standing: Targets | None) -> dict[str, TargetFile]:
        """The last entry of a journal as a target, after a look that it continues the entry that was signed."""
        serial = journal.serial
        signed = standing.targets.get(path) if standing else None
        at = int(signed.custom["serial"]) if signed else 0
        before = signed.hashes["sha256"] if signed else GENESIS
        if serial < at:
            raise NotSignedError(
                f"the journal of {journal.name} ends at {serial}, and entry {at} was signed: entries are lost; "
                "restore them from a backup"
            )
        data = b""
        for number in range(max(at, 1), serial + 1):
            key = journal_key(journal.name, number)
            try:
                data = self._store.get(key)
            except MissingObjectError as error:
                raise DamagedError(key, "it is missing") from error
            if number == at and sha256_hex(data) != before:
                raise NotSignedError(
                    f"{key} has other bytes than those that were signed; restore it from a backup"
                )
            if number > at:
                entry = _Chained.model_validate_json(data)
                if entry.serial != number or entry.previous_hash != before:
                    raise NotSignedError(
                        f"{key} does not continue the entry before it; restore it from a backup"
                    )
            before = sha256_hex(data)
        return {path: entry_target(path, data, serial)} if serial else {}

    def _write(
        self,
        delegator: Root | Targets,
        role: str,
        signed: Targets | Snapshot,
        standing: Metadata[Any] | None,
    ) -> MetaFile:
        """Sign a document and store it under the first free version after the one that counts now."""
        version = standing.signed.version if standing else 0
        while True:
            version += 1
            signed.version = version
            data = self._signed(delegator, role, signed)
            if self._store.create(document_key(role, version), data):
                return meta_of(version, data)

    def _signed(self, delegator: Root | Targets, role: str, signed: Targets | Snapshot | Timestamp) -> bytes:
        """Sign a document with the keys of its role that are here.

        Raises:
            NotSignedError: they do not reach the threshold of the role.
        """
        document: Metadata[Any] = Metadata(signed)
        for keyid in delegator.get_delegated_role(role).keyids:
            if keyid in self._signers:
                try:
                    document.sign(self._signers[keyid], append=True)
                except UnsignedMetadataError as error:
                    raise NotSignedError(f"{role}: {error}") from error
        result = delegator.get_verification_result(role, document.signed_bytes, document.signatures)
        if not result.verified:
            raise NotSignedError(
                f"the role {role} needs {result.threshold} of the keys {', '.join(sorted(result.unsigned))}; "
                "ARMWHEELS_TUF_KEYS does not name them"
            )
        return document.to_bytes()


class _Chained(Entry):
    """What all entries of journals have in common."""

    model_config = Entry.model_config | {"extra": "ignore"}


def _metas(snapshot: Metadata[Snapshot] | None) -> dict[str, MetaFile]:
    """What a snapshot document says of each role."""
    if snapshot is None:
        return {}
    return {filename.removesuffix(".json"): meta for filename, meta in snapshot.signed.meta.items()}


def _current(delegator: Root | Targets, role: str, document: Metadata[Any] | None, now: datetime) -> bool:
    """Whether a document has not lived for half of its time, and is signed by keys that still count."""
    if document is None:
        return False
    half = (expiry(role, now) - now) / 2
    return bool(document.signed.expires - now > half) and _counts(delegator, role, document)


def _counts(delegator: Root | Targets, role: str, document: Metadata[Any]) -> bool:
    return delegator.get_verification_result(role, document.signed_bytes, document.signatures).verified


def _verify(root: Root, role: str, document: Metadata[Any]) -> None:
    try:
        root.verify_delegate(role, document.signed_bytes, document.signatures)
    except RepositoryError as error:
        raise DamagedError(document_key(role, document.signed.version), str(error)) from error
