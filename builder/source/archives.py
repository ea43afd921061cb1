"""Tar archives: fetched once, checked against their hash, and unpacked."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from builder.errors import ArmwheelsError, SourceError, ToolboxError, as_disk_error
from builder.folders import beside_recipes, pinned_file
from builder.model.sources import ArchiveSource, SdistSource
from builder.toolbox.fetch import Mirror, download, fetch_debian, fetch_pypi
from builder.whole import create_once, sha256_of

if sys.version_info >= (3, 12):
    import tarfile
else:
    # Debian 12's Python is 3.11.2, older than extraction filters (PEP 706).
    from backports import tarfile


def sdist_file(project: str, source: SdistSource, home: Path) -> Path:
    """A source distribution of PyPI among the downloads, fetched unless it is there."""
    target = home / "downloads" / source.sha256 / source.filename
    if not target.is_file():
        try:
            fetch_pypi(project, source.filename, source.sha256, target)
        except ToolboxError as error:
            raise SourceError(str(error)) from error
    return target


def debian_file(path: str, sha256: str, home: Path) -> Path:
    """A file of the Debian archive among the downloads, fetched unless it is there."""
    target = home / "downloads" / sha256 / path.rsplit("/", 1)[-1]
    if not target.is_file():
        try:
            fetch_debian(Mirror(), path, sha256, target)
        except ToolboxError as error:
            raise SourceError(str(error)) from error
    return target


def archive_file(source: ArchiveSource, home: Path) -> Path:
    """An archive from a URL, or from beside the recipe, among the downloads; fetched unless it is there."""

    def fetch(file: Path) -> None:
        if "://" in source.url:
            try:
                download(source.url, file)
            except ToolboxError as error:
                raise SourceError(str(error)) from error
        else:
            local = pinned_file(source.url, source.sha256)
            if local is None:
                raise SourceError(f"{' nor '.join(map(str, beside_recipes(source.url)))}: no such archive")
            shutil.copyfile(local, file)
        found = sha256_of(file)
        if found != source.sha256:
            raise SourceError(f"{source.url}: sha256 is {found}, the recipe pins {source.sha256}")

    return create_once(home / "downloads" / source.sha256 / source.url.rsplit("/", 1)[-1], fetch)


def unpack(archive: Path, tree: Path, scratch: Path) -> None:
    """Unpack a tar archive and move its single top folder, or all of it, to ``tree``."""
    into = scratch / f"unpacked-{archive.name}"
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(into, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise _unreadable(archive, error) from error
    top = list(into.iterdir())
    tree.parent.mkdir(parents=True, exist_ok=True)
    (top[0] if len(top) == 1 and top[0].is_dir() else into).rename(tree)


def extract(archive: Path, names: Iterable[str], tree: Path) -> None:
    """Add some files of a tar archive to a tree; ``names`` are their paths below the archive's top folder.

    Raises:
        SourceError: the archive lacks one of them, or the tree has it already.
    """
    wanted = set(names)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                inside = member.name.partition("/")[2]
                if inside in wanted and member.isfile():
                    wanted.remove(inside)
                    if (tree / inside).exists():
                        raise SourceError(f"{archive.name} and the folder both have {inside}")
                    tar.extract(member.replace(name=inside), tree, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise _unreadable(archive, error) from error
    if wanted:
        raise SourceError(f"{archive.name} has no {', '.join(sorted(wanted))}")


def _unreadable(archive: Path, error: Exception) -> ArmwheelsError:
    """The error of a failed unpacking: that of the disk, if it accepts no more data, else that of the archive."""
    full = as_disk_error(error) if isinstance(error, OSError) else None
    return full or SourceError(f"{archive.name} could not be unpacked: {error}")
