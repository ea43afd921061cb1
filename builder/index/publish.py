"""Publishes wheels: one upload session, their evidence, one snapshot, one move."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version
from securesystemslib.signer import Signer

from builder.audit.archive import open_wheel
from builder.errors import PublishError
from builder.index.client import Index, Published
from builder.index.local import index_program
from builder.index.statements import PREFIX, Report, is_sealed, provenance, sealed, verdict
from builder.model.base import Frozen
from builder.model.build import Build
from builder.model.channel import EVIDENCE_KINDS
from builder.model.pythons import built_for
from builder.model.wheel_name import local_version
from builder.settings import index_url
from builder.whole import write_text
from builder.workshop import TestedWheel


class Session(Frozen):
    """An upload session, kept on disk so that an interrupted upload continues in the same session."""

    name: str
    files: tuple[str, ...]


def published_builds(index: Index, builds: tuple[Build, ...]) -> dict[str, Published]:
    """The published wheels of these builds, by wheel digest.

    A wheel that lacks evidence of one kind does not count as published: a run may have been killed between the
    upload and the evidence.
    """
    found = {
        build.wheel_digest: index.find_build(build.wheel_digest, build.recipe.project) for build in builds
    }
    return {
        digest: published
        for digest, published in found.items()
        if published is not None and index.evidence_kinds(published.sha256) >= set(EVIDENCE_KINDS)
    }


def previous_wheels(index: Index, snapshot: str | None, folder: Path) -> Callable[[Build], Path | None]:
    """A function that fetches, into ``folder``, the wheel of a snapshot that a build would replace, if any."""
    shown = index.snapshot_files(snapshot) if snapshot else {}

    def previous_of(build: Build) -> Path | None:
        before = published_before(shown, build)
        return index.fetch(*before, folder) if before else None

    return previous_of


def published_before(files: Mapping[str, str], build: Build) -> tuple[str, str] | None:
    """The file, with its sha256, that a channel has for the project, target, backend and Python of a build. Pure.

    Of several, it is the one of the highest version and build tag.
    """
    local = local_version(build.target, None if build.default_backend else build.backend)
    found = []
    for filename, sha256 in files.items():
        try:
            project, version, tag, tags = parse_wheel_filename(filename)
        except InvalidWheelFilename:
            continue
        mine = project == build.recipe.project and version.local == local
        if mine and built_for(build.python, tags):
            found.append((version, tag, filename, sha256))
    return max(found)[2:] if found else None


def close_channel(matrix: str, builds: tuple[Build, ...], home: Path, *, channel: str) -> str | None:
    """Mirror the dependencies of the builds' wheels into a channel of the local index, which prints what it takes.

    For a remote index, return the command that its operator must run.

    Raises:
        PublishError: not all of them could be mirrored. The wheels are published nevertheless.
    """
    projects = sorted({build.recipe.project for build in builds})
    glibc = min((build.recipe.build.glibc for build in builds), key=Version)
    command = ["mirror", *projects, "--matrix", matrix, "--glibc", glibc, "--channel", channel]
    if index_url() is not None:
        return " ".join(["armwheels-index", *command])
    environment = {**os.environ, "ARMWHEELS_HOME": str(home)}
    if subprocess.run([index_program(), *command], env=environment, check=False).returncode:
        raise PublishError(
            "the wheels are published, but not all their dependencies are mirrored; run the same command again"
        )
    return None


def put_evidence(index: Index, wheel: TestedWheel, signer: Signer | None) -> None:
    """Store the reports about an uploaded wheel as evidence, each with a signed statement where there is a key.

    Storing them again changes nothing.
    """
    dumped = {
        "audit": wheel.audit.model_dump(mode="json"),
        "emulation": wheel.verify.model_dump(mode="json"),
        **({"bench": wheel.bench.model_dump(mode="json")} if wheel.bench is not None else {}),
    }
    for kind, body in dumped.items():
        index.put_evidence(wheel.sha256, kind, body)
    if signer is None:
        return
    name = wheel.path.name
    made = {kind: verdict(name, wheel.sha256, Report(kind=kind, body=body)) for kind, body in dumped.items()}
    passport = open_wheel(wheel.path).passport
    if passport is not None:
        made["provenance"] = provenance(name, wheel.sha256, passport)
    for kind, statement in made.items():
        standing = index.evidence(wheel.sha256, f"{PREFIX}{kind}")
        # Some signers never sign the same bytes twice with the same signature.
        if standing is None or not is_sealed(standing, statement, signer.public_key.keyid):
            index.put_evidence(wheel.sha256, f"{PREFIX}{kind}", sealed(statement, signer))


def hand_in(
    index: Index,
    name: str,
    wheel: TestedWheel | None,
    session: str,
    there: Mapping[str, str],
    signer: Signer | None,
) -> None:
    """Take a wheel into a session, with its evidence; one that the snapshot ``there`` has gets its evidence alone.

    Without a ``wheel``, it is a file that the index has already. Repeating this changes nothing.
    """
    if name not in there and wheel is None:
        index.adopt(name, session)
    elif name not in there and wheel is not None:
        index.upload(wheel.path, session)
    if wheel is not None:
        put_evidence(index, wheel, signer)


def upload_session(home: Path, matrix: str, files: tuple[str, ...]) -> Session:
    """The upload session of this set of files; a new one is written to disk before it is used."""
    path = home / "sessions" / f"{matrix}.json"
    if path.is_file():
        kept = Session.model_validate_json(path.read_text(encoding="utf-8"))
        if kept.files == files:
            return kept
    session = Session(name=secrets.token_urlsafe(24), files=files)
    write_text(path, json.dumps(session.model_dump(mode="json")))
    return session
