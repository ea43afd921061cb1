"""The roles of the TUF repository, and the documents that they sign. Pure.

The root role and the targets role are signed by people, with keys that the server does not have. ``targets`` names
one document, :class:`~index_server.model.TrustPolicy`, and delegates to a role for each channel and to ``status``.
Those, ``snapshot`` and ``timestamp`` are signed by the server whenever a channel moves or a file is yanked.

A channel's role names one target, ``channels/CHANNEL.json``: the last entry of its journal. An entry holds the hash
of the one before and of its snapshot, which names its shards by hash, which hold the hash of each file. So a move
costs the same with ten files as with ten thousand. Entries of older servers lack the hash of the snapshot; the role
names those snapshots as targets too.

Source: the TUF specification, sections 4.3 to 4.6 (formats), 6.2 (consistent snapshots).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from securesystemslib.signer import Key
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    TargetFile,
    Targets,
    Timestamp,
)

STATUS = "status"
"""The role that signs the journal of yanks and quarantines."""

POLICY = "policy.json"
"""The target that says which builders are believed, and what is asked of a wheel."""

LIFETIMES: Mapping[str, timedelta] = {
    "root": timedelta(days=365),
    "targets": timedelta(days=365),
    "snapshot": timedelta(days=30),
    "timestamp": timedelta(days=3),
}
"""How long a document is valid after it was signed; those of delegated roles as long as ``snapshot``."""


def channel_role(channel: str) -> str:
    """The name of a channel's role."""
    return f"channel-{channel}"


def channel_target(channel: str) -> str:
    """The target that is the last entry of a channel's journal."""
    return f"channels/{channel}.json"


def snapshot_target(snapshot: str) -> str:
    """The target that is a snapshot, named only where a journal entry lacks its hash."""
    return f"snapshots/{snapshot}.json"


def expiry(role: str, now: datetime) -> datetime:
    """When a document of a role that is signed now expires."""
    return now.replace(microsecond=0) + LIFETIMES.get(role, LIFETIMES["snapshot"])


def make_root(
    version: int, now: datetime, root_keys: Iterable[Key], threshold: int, targets: Key, online: Iterable[Key]
) -> Root:
    """The root role: ``threshold`` of ``root_keys`` sign it, ``online`` keys sign snapshot and timestamp."""
    root = Root(version=version, expires=expiry("root", now), consistent_snapshot=True)
    for key in root_keys:
        root.add_key(key, Root.type)
    root.roles[Root.type].threshold = threshold
    root.add_key(targets, Targets.type)
    for key in online:
        root.add_key(key, "snapshot")
        root.add_key(key, Timestamp.type)
    return root


def make_targets(
    version: int, now: datetime, channels: Iterable[str], online: Iterable[Key], policy: bytes
) -> Targets:
    """The targets role: the policy, and a delegation for each channel and for yanks."""
    delegated = {channel_role(each): [channel_target(each), "snapshots/*.json"] for each in sorted(channels)}
    delegated[STATUS] = [f"{STATUS}.json"]
    roles = {
        name: DelegatedRole(name, [], threshold=1, terminating=False, paths=paths)
        for name, paths in delegated.items()
    }
    targets = Targets(
        version=version,
        expires=expiry("targets", now),
        targets={POLICY: TargetFile.from_data(POLICY, policy, ["sha256"])},
        delegations=Delegations(keys={}, roles=roles),
    )
    for key in online:
        for name in delegated:
            targets.add_key(key, name)
    return targets


def entry_target(path: str, data: bytes, serial: int) -> TargetFile:
    """A journal's last entry as a target; ``custom`` has its serial."""
    made = TargetFile.from_data(path, data, ["sha256"])
    made.unrecognized_fields["custom"] = {"serial": serial}
    return made


def meta_of(version: int, data: bytes) -> MetaFile:
    """What ``snapshot`` and ``timestamp`` say of a document: its version, length and sha256."""
    return MetaFile.from_data(version, data, ["sha256"])


def missing_signatures(document: Metadata[Root] | Metadata[Targets], *roots: Root) -> list[str]:
    """What a document still needs: one sentence for each role whose threshold its valid signatures do not reach."""
    missing = []
    for number, root in enumerate(roots):
        role = document.signed.type
        result = root.get_verification_result(role, document.signed_bytes, document.signatures)
        if not result.verified:
            whose = (
                f"the {role} role of root {root.version}" if number or len(roots) > 1 else f"the {role} role"
            )
            missing.append(f"{len(result.signed)} of {result.threshold} signatures of {whose}")
    return missing
