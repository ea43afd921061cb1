"""Debian source packages: several tarballs in one tree, with the patches that a recipe chose."""

from __future__ import annotations

import shutil
from pathlib import Path

from builder.errors import SourceError
from builder.model.sources import DebianSource, SdistSource
from builder.source.archives import debian_file, sdist_file, unpack
from builder.source.patches import apply_patch


def lay_out_debian(source: DebianSource, tree: Path, scratch: Path, home: Path) -> None:
    """Lay the tarballs of a Debian source package into one tree and apply the chosen quilt patches."""
    # All are fetched first: a wrong hash is reported before minutes of unpacking.
    tarballs = [debian_file(file.path, file.sha256, home) for file in source.files]
    sdists = [
        sdist_file(
            sdist.project, SdistSource(kind="sdist", filename=sdist.filename, sha256=sdist.sha256), home
        )
        for sdist in source.sdists
    ]
    for number, (file, target) in enumerate(zip(source.files, tarballs, strict=True)):
        if number == 0:
            unpack(target, tree, scratch)
        else:
            place = tree / file.into
            if place.is_dir() and file.into != ".":
                shutil.rmtree(place)
            part = scratch / f"part-{number}"
            unpack(target, part, scratch)
            if file.into == ".":
                part = part if not (part / "debian").is_dir() else part / "debian"
                place = tree / "debian" if part.name == "debian" or (part / "patches").is_dir() else tree
            shutil.copytree(part, place, symlinks=True, dirs_exist_ok=True)
    for sdist, target in zip(source.sdists, sdists, strict=True):
        part = scratch / f"sdist-{sdist.project}"
        unpack(target, part, scratch)
        shutil.copytree(part, tree / sdist.into, symlinks=True, dirs_exist_ok=True)
    for placed in source.placed:
        if not (tree / placed.folder).is_dir():
            raise SourceError(f"the Debian source has no folder {placed.folder}")
        shutil.copytree(tree / placed.folder, tree / placed.at, symlinks=True, dirs_exist_ok=True)
    for name in source.quilt:
        patch = tree / "debian/patches" / name
        if not patch.is_file():
            raise SourceError(f"the Debian source has no patch {name}")
        apply_patch(patch, tree)
