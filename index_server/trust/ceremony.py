"""Documents that people sign, in a folder that is carried to the machines with their keys.

The folder holds ``root.json``, ``targets.json`` and ``policy.json``, as far as they are new, and
``previous-root.json`` where there is one: a new root needs the signatures of its own threshold and of the one
before (TUF specification, section 5.3.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from securesystemslib.exceptions import StorageError
from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization import DeserializationError

from index_server.errors import ConfigError, NotSignedError
from index_server.model import Builder, TrustPolicy, stamp
from index_server.trust.repository import Repository, State
from index_server.trust.roles import make_root, make_targets, missing_signatures

_T = TypeVar("_T", Root, Targets)
PREVIOUS = "previous-root.json"


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a new root and new targets are to say. What is None or empty stays as it is."""

    roots: Sequence[Key] = ()
    threshold: int | None = None
    targets: Key | None = None
    online: Sequence[Key] = ()
    builders: Sequence[Key] = ()  # to be believed from now on, besides the others
    ended: Sequence[str] = ()  # key ids of builders that are believed no longer
    required: Sequence[str] | None = None
    channels: Sequence[str] = ()
    renew: bool = False  # also what does not change, so that it lives longer


@dataclass(frozen=True)
class Folder:
    """The folder of a ceremony."""

    path: Path
    root: Metadata[Root] | None = None
    targets: Metadata[Targets] | None = None
    policy: bytes | None = None
    previous: Metadata[Root] | None = None

    def write(self) -> None:
        """Write what there is.

        Raises:
            ConfigError: the folder cannot be written.
        """
        files = {
            "root.json": self.root,
            "targets.json": self.targets,
            PREVIOUS: self.previous,
        }
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for name, document in files.items():
                if document is not None:
                    (self.path / name).write_bytes(document.to_bytes())
            if self.policy is not None:
                (self.path / "policy.json").write_bytes(self.policy)
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be written: {error}") from error

    def named(self) -> Root | None:
        """The root by whose keys the documents are signed: the new one, else the previous one."""
        document = self.root or self.previous
        return document.signed if document else None

    def needed(self) -> list[str]:
        """The signatures that are missing, a sentence for each role."""
        found: list[str] = []
        if self.root is not None:
            before = [self.previous.signed] if self.previous else []
            found += missing_signatures(self.root, self.root.signed, *before)
        root = self.named()
        if self.targets is not None and root is not None:
            found += missing_signatures(self.targets, root)
        return found


def read_folder(path: Path) -> Folder:
    """Read a folder.

    Raises:
        ConfigError: it holds no documents, or one is not valid.
    """
    root, previous = _read(path / "root.json", Root), _read(path / PREVIOUS, Root)
    targets = _read(path / "targets.json", Targets)
    policy = path / "policy.json"
    if root is None and targets is None:
        raise ConfigError(
            f"{path} has neither root.json nor targets.json; `armwheels-index tuf init` writes them"
        )
    return Folder(path, root, targets, policy.read_bytes() if policy.is_file() else None, previous)


def begin(path: Path, now: datetime, wishes: Wishes) -> Folder:
    """The first root and targets, unsigned.

    Raises:
        ConfigError: a key is missing, or the threshold cannot be reached.
    """
    if not (wishes.roots and wishes.targets and wishes.online):
        raise ConfigError("name the keys: --root (several), --targets and --online")
    threshold = wishes.threshold or 1
    root = _root(1, now, wishes.roots, threshold, wishes.targets, wishes.online)
    builders = _builders({}, wishes, now)
    policy = TrustPolicy(
        channels=tuple(sorted(wishes.channels)), builders=builders, required=tuple(wishes.required or ())
    ).encode()
    targets = make_targets(1, now, wishes.channels, wishes.online, policy)
    return Folder(path, Metadata(root), Metadata(targets), policy)


def change(path: Path, now: datetime, wishes: Wishes, repository: Repository, state: State) -> Folder:
    """The next root and targets, unsigned, as far as the wishes change them.

    Raises:
        ConfigError: nothing changes, a builder is unknown, or the threshold cannot be reached.
    """
    root, targets = state.root.signed, state.targets.signed
    named = {role: [root.keys[keyid] for keyid in root.roles[role].keyids] for role in root.roles}
    online = wishes.online or named["timestamp"]
    new_root = None
    if wishes.roots or wishes.threshold or wishes.targets or wishes.online or wishes.renew:
        new_root = _root(
            root.version + 1,
            now,
            wishes.roots or named["root"],
            wishes.threshold or root.roles["root"].threshold,
            wishes.targets or named["targets"][0],
            online,
        )
    standing = repository.policy(targets)
    policy = TrustPolicy(
        channels=tuple(sorted(wishes.channels)) or standing.channels,
        builders=_builders(standing.builders, wishes, now),
        required=standing.required if wishes.required is None else tuple(wishes.required),
    ).encode()
    new_targets = None
    if wishes.targets or wishes.online or wishes.renew or policy != standing.encode():
        channels = TrustPolicy.decode(policy, key="policy.json").channels
        new_targets = make_targets(targets.version + 1, now, channels, online, policy)
    if new_root is None and new_targets is None:
        raise ConfigError("nothing changes; `--renew` signs the same for another year")
    return Folder(
        path,
        Metadata(new_root) if new_root else None,
        Metadata(new_targets) if new_targets else None,
        policy if new_targets else None,
        state.root,
    )


def sign(folder: Folder, signer: Signer) -> list[str]:
    """Sign the documents for which a key counts. Return their names.

    Raises:
        NotSignedError: the key counts for none, or cannot sign.
    """
    keyid, signed = signer.public_key.keyid, []
    root = folder.named()
    for document, roots in (
        (folder.root, (folder.root, folder.previous)),
        (folder.targets, (folder.root or folder.previous,)),
    ):
        if document is None or root is None:
            continue
        role = document.signed.type
        if any(each is not None and keyid in each.signed.roles[role].keyids for each in roots):
            try:
                document.sign(signer, append=True)
            except UnsignedMetadataError as error:
                raise NotSignedError(str(error)) from error
            signed.append(f"{role}.json")
    if not signed:
        raise NotSignedError(f"the key {keyid} is of no role in {folder.path}")
    return signed


def publish(folder: Folder, repository: Repository) -> None:
    """Store what was signed, and sign all else by it.

    Raises:
        NotSignedError: signatures are missing, or the store has other documents of these versions.
        ConfigError: the documents do not follow those in the store.
    """
    roots = repository.roots()
    newest = roots[-1] if roots else None
    checked = Folder(folder.path, folder.root, folder.targets, folder.policy, newest)
    if folder.root is not None:
        standing = newest.signed.version if newest else 0
        if newest is not None and folder.root.signed.version == standing and newest == folder.root:
            checked = Folder(
                folder.path, None, folder.targets, folder.policy, newest
            )  # from a run that was ended
        elif folder.root.signed.version != standing + 1:
            raise ConfigError(
                f"root.json is of version {folder.root.signed.version}, and the store has {standing}"
            )
    if missing := checked.needed():
        raise NotSignedError("; ".join(missing))
    if folder.targets is not None:
        if folder.policy is None:
            raise ConfigError(f"{folder.path / 'policy.json'} is missing")
        folder.targets.signed.targets["policy.json"].verify_length_and_hashes(folder.policy)
    repository.accept(checked.root, folder.targets, folder.policy)
    repository.refresh()


def _root(
    version: int, now: datetime, roots: Sequence[Key], threshold: int, targets: Key, online: Sequence[Key]
) -> Root:
    if threshold > len({key.keyid for key in roots}):
        raise ConfigError(
            f"{threshold} signatures are asked of {len(roots)} root keys; name more keys with --root"
        )
    return make_root(version, now, roots, threshold, targets, online)


def _builders(standing: Mapping[str, Builder], wishes: Wishes, now: datetime) -> dict[str, Builder]:
    unknown = [keyid for keyid in wishes.ended if keyid not in standing]
    if unknown:
        raise ConfigError(
            f"no builder has the key {', '.join(unknown)}; there is {', '.join(standing) or 'none'}"
        )
    ended = {keyid: standing[keyid].model_copy(update={"until": stamp(now)}) for keyid in wishes.ended}
    added = {
        key.keyid: Builder(key=key.to_dict(), since=stamp(now))
        for key in wishes.builders
        if key.keyid not in standing
    }
    return {**standing, **ended, **added}


def _read(path: Path, kind: type[_T]) -> Metadata[_T] | None:
    if not path.is_file():
        return None
    try:
        document: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
    except (DeserializationError, StorageError, OSError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(document.signed, kind):
        raise ConfigError(f"{path} is no document of the role {kind.type}")
    return document
