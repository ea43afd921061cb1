"""Publishes wheels: one upload session, their evidence, one snapshot, one move."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from pathlib import Path

from packaging.version import Version

from builder.errors import PublishError
from builder.index.client import Index, Published
from builder.index.local import index_program
from builder.model.base import Frozen
from builder.model.build import Build
from builder.settings import index_url
from builder.whole import write_text
from builder.workshop import TestedWheel

EVIDENCE = frozenset({"audit", "emulation"})
"""What must lie beside a wheel before it counts as published."""


class Session(Frozen):
    """An upload session kept over kills: the same wheels go on in the same session."""

    name: str
    files: tuple[str, ...]


def published_builds(index: Index, builds: tuple[Build, ...]) -> dict[str, Published]:
    """What the index has of these builds, by wheel digest, with the evidence that it was audited and run.

    A file without its evidence is not taken as published: a run may have been killed between the two, or somebody
    else may have uploaded it. It is built or found here again, and its evidence follows.
    """
    found = {build.wheel_digest: index.find_build(build.wheel_digest) for build in builds}
    return {
        digest: published
        for digest, published in found.items()
        if published is not None and index.evidence_kinds(published.sha256) >= EVIDENCE
    }


def close_channel(matrix: str, builds: tuple[Build, ...], home: Path, *, channel: str) -> str | None:
    """Have the local index take in what the builds' wheels depend on; it prints what it takes.

    An index elsewhere does so where its store is: returned is the command for its operator then.

    Raises:
        PublishError: it could not take in all of it. The wheels are published all the same.
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


def put_evidence(index: Index, wheel: TestedWheel) -> None:
    """Store what was found out about an uploaded wheel; what is there already is no news."""
    index.put_evidence(wheel.sha256, "audit", wheel.audit.model_dump(mode="json"))
    index.put_evidence(wheel.sha256, "emulation", wheel.verify.model_dump(mode="json"))


def upload_session(home: Path, matrix: str, files: tuple[str, ...]) -> Session:
    """The session of this set of files; kept on disk first, so that a killed upload goes on in it."""
    path = home / "sessions" / f"{matrix}.json"
    if path.is_file():
        kept = Session.model_validate_json(path.read_text(encoding="utf-8"))
        if kept.files == files:
            return kept
    fresh = Session(name=secrets.token_urlsafe(24), files=files)
    write_text(path, json.dumps(fresh.model_dump(mode="json")))
    return fresh
