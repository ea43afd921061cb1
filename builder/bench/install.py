"""Fetches the reference wheel from PyPI, and reads facts about wheels and about what is installed."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path

from packaging.tags import Tag, create_compatible_tags_selector
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from builder.audit import open_wheel
from builder.bench.model import Library, WheelFacts
from builder.toolbox.fetch import Listed, fetch_pypi, list_pypi

_LIBRARY = re.compile(r"^lib[^/]*\.so(\.[0-9]+)*$")


def choose(listed: Iterable[Listed], version: str, tags: Sequence[Tag]) -> Listed | None:
    """Return the wheel of exactly this public version with the best of ``tags``, or ``None``. Pure."""
    tagged = []
    for file in listed:
        try:
            _, found, _, its_tags = parse_wheel_filename(file.filename)
        except InvalidWheelFilename:
            continue
        if found == Version(version):
            tagged.append((file, its_tags))
    return next(create_compatible_tags_selector(tags)(tagged), None)


def newest(listed: Iterable[Listed], tags: Sequence[Tag]) -> str | None:
    """Return the newest final version that has a wheel for one of ``tags``, or ``None``. Pure."""
    wanted, versions = set(tags), set()
    for file in listed:
        with suppress(InvalidWheelFilename):
            _, version, _, its_tags = parse_wheel_filename(file.filename)
            if its_tags & wanted and not version.is_prerelease:
                versions.add(version)
    return str(max(versions)) if versions else None


def fetch_reference(
    project: str, version: str, tags: list[Tag], downloads: Path, *, or_newest: bool = False
) -> Path | None:
    """Download the reference wheel from the index that pip is configured with, and verify its sha256.

    Return ``None`` if the index has no wheel of this version for these tags, as for a nightly version. With
    ``or_newest``, the newest final version then takes its place.

    Raises:
        ToolboxError: the index does not answer, or the file does not match its hash.
    """
    listed = list_pypi(project)
    chosen = choose(listed, version, tags)
    if chosen is None and or_newest and (other := newest(listed, tags)):
        chosen = choose(listed, other, tags)
    if chosen is None:
        return None
    path = downloads / chosen.sha256 / chosen.filename
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        fetch_pypi(project, chosen.filename, chosen.sha256, path)
    return path


def facts(path: Path, label: str | None = None) -> WheelFacts:
    """Return the sizes, libraries and target of a wheel.

    Raises:
        AuditError: the file is not a readable wheel.
    """
    wheel = open_wheel(path)
    target = str(wheel.passport["target"]) if wheel.passport else None
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    libraries = [
        Library(name=name, bytes=info.file_size)
        for info in members
        if _LIBRARY.match(name := info.filename.rsplit("/", 1)[-1])
    ]
    return WheelFacts(
        label=label or Version(wheel.version).local or wheel.version,
        filename=path.name,
        sha256=wheel.sha256,
        bytes=wheel.size,
        unpacked_bytes=sum(info.file_size for info in members),
        libraries=tuple(sorted(libraries, key=lambda library: (-library.bytes, library.name))),
        target=target,
    )


def installed(site: Path) -> dict[str, str]:
    """Return the name and version of every distribution in ``site``."""
    found = {canonicalize_name(one.metadata["Name"]): one.version for one in distributions(path=[str(site)])}
    return dict(sorted(found.items()))
