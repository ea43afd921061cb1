"""Trees of sources, each in a folder whose name contains the digest of its pins."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from builder.model.sources import (
    ArchiveSource,
    DebianSource,
    FolderSource,
    GitSource,
    SdistSource,
    VersionSource,
)
from builder.source.archives import archive_file, debian_file, extract, sdist_file, unpack
from builder.source.debian import lay_out_debian
from builder.source.folder import copy_folder, pinned_sha256
from builder.source.git import clone
from builder.source.patches import apply_patch, checked_patches
from builder.whole import create_once

SOURCE_VERSION = 1
"""Raise this by hand when the same pins would give another tree. It enters the compile digest."""


def source_inputs(source: VersionSource) -> dict[str, object]:
    """The pins of the source and of its patches, as plain data: all that decides what is in the tree."""
    unread: dict[str, Any] = {"folders": {"__all__": {"path"}}}
    if isinstance(source.source, FolderSource):
        # The files of a folder decide, and not where it is.
        unread["source"] = {"path"} if source.source.taken else {"path", "taken"}
    tree = source.model_dump(mode="json", exclude={**unread, "options": True, "environment": True})
    return {"source_version": SOURCE_VERSION, **tree}


def source_digest(source: VersionSource) -> str:
    """sha256 of :func:`source_inputs`; the name of the tree contains it."""
    return hashlib.sha256(json.dumps(source_inputs(source), sort_keys=True).encode()).hexdigest()


def origin(source: VersionSource) -> tuple[str, str]:
    """What the passport says of the source: a name that people recognise, and a sha256.

    A git source is pinned by its commit; its sha256 is that of the text ``URL@COMMIT``.
    """
    match source.source:
        case SdistSource(filename=filename, sha256=sha256):
            return filename, sha256
        case ArchiveSource(url=url, sha256=sha256):
            return url, sha256
        case GitSource(url=url, commit=commit):
            return f"{url}@{commit}", hashlib.sha256(f"{url}@{commit}".encode()).hexdigest()
        case DebianSource(files=files):
            names = [file.path.rsplit("/", 1)[-1] for file in files]
            return ", ".join(names), hashlib.sha256("".join(f.sha256 for f in files).encode()).hexdigest()
        case FolderSource(path=path, sha256=sha256, taken=taken):
            names = [Path(path).name, *(one.path.rsplit("/", 1)[-1] for one in taken)]
            pins = [pinned_sha256(path, sha256), *(one.sha256 for one in taken)]
            return ", ".join(names), pins[0] if not taken else hashlib.sha256(
                "".join(pins).encode()
            ).hexdigest()


def prepare(project: str, source: VersionSource, home: Path) -> Path:
    """Fetch, check, unpack and patch a source; returns the folder of the tree.

    Callers must copy the tree and never change it.

    Raises:
        SourceError: the source cannot be had, its hash differs, or a patch does not apply.
    """

    def lay_out(tree: Path) -> None:
        patches = checked_patches(source.patches)
        scratch = tree.parent
        match source.source:
            case SdistSource() as sdist:
                unpack(sdist_file(project, sdist, home), tree, scratch)
            case ArchiveSource() as archive:
                unpack(archive_file(archive, home), tree, scratch)
            case GitSource() as git:
                clone(git, tree)
            case DebianSource() as debian:
                lay_out_debian(debian, tree, scratch, home)
            case FolderSource() as folder:
                copy_folder(folder, tree)
                for taken in folder.taken:
                    extract(debian_file(taken.path, taken.sha256, home), taken.keep, tree)
        for part in source.folders:
            copy_folder(part, tree / part.into)
        for patch in patches:
            apply_patch(patch, tree)

    return create_once(tree_folder(project, source, home), lay_out)


def tree_folder(project: str, source: VersionSource, home: Path) -> Path:
    """The folder of :func:`prepare`."""
    return home / "sources" / f"{project}-{source_digest(source)[:12]}"
