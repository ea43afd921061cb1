"""What pip's index lists of a project, and its files, fetched into the downloads."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from builder.errors import ConfigError, SourceError
from builder.model.pythons import built_for, version_of
from builder.toolbox.fetch import Listed, fetch_pypi, list_pypi


@dataclass(frozen=True, kw_only=True)
class Release:
    """One version of a project: its source distribution and its wheels."""

    project: str
    version: Version
    sdist: Listed | None
    wheels: tuple[tuple[Listed, frozenset[Tag]], ...]

    @property
    def is_pure(self) -> bool:
        """Whether there are wheels, and none is for a platform."""
        return bool(self.wheels) and all(tag.platform == "any" for _, tags in self.wheels for tag in tags)


@dataclass(frozen=True, kw_only=True)
class WheelFiles:
    """A wheel of the index: its members and its metadata."""

    filename: str
    bytes: int
    members: tuple[str, ...]
    texts: Mapping[str, str]
    metadata: Message

    @property
    def requires(self) -> tuple[str, ...]:
        """What the wheel needs at run time on any platform, without its extras."""
        required = [Requirement(one) for one in self.metadata.get_all("Requires-Dist", [])]
        return tuple(str(one) for one in required if one.marker is None or one.marker.evaluate({"extra": ""}))


def find_release(project: str, version: str | None) -> Release:
    """The release of that version, or the newest final one that has a source distribution.

    Raises:
        ToolboxError: the index does not answer.
        ConfigError: the index does not have the project or the version.
    """
    name = canonicalize_name(project)
    listed = list_pypi(name)
    if not listed:
        raise ConfigError(f"pip's index has no project {name}")
    sdists: dict[Version, Listed] = {}
    wheels: dict[Version, list[tuple[Listed, frozenset[Tag]]]] = {}
    for file in listed:
        try:
            if file.filename.endswith(".whl"):
                _, found, _, tags = parse_wheel_filename(file.filename)
                wheels.setdefault(found, []).append((file, tags))
            else:
                _, found = parse_sdist_filename(file.filename)
                sdists.setdefault(found, file)
        except (InvalidWheelFilename, InvalidSdistFilename):
            continue
    chosen = _chosen(name, version, sdists, {*sdists, *wheels})
    return Release(
        project=name,
        version=chosen,
        sdist=sdists.get(chosen),
        wheels=tuple(wheels.get(chosen, ())),
    )


def _chosen(
    name: str, version: str | None, sdists: Mapping[Version, Listed], known: Collection[Version]
) -> Version:
    if version is None:
        final = [one for one in known if not one.is_prerelease and not _yanked(sdists.get(one))]
        if not final:
            raise ConfigError(f"pip's index has no final version of {name}; name a version")
        return max(final)
    try:
        asked = Version(version)
    except InvalidVersion:
        raise ConfigError(f"'{version}' is not a version (PEP 440)") from None
    if asked not in known:
        newest = max(known) if known else "none"
        raise ConfigError(f"pip's index has no {name} {version}; the newest version is {newest}")
    return asked


def _yanked(sdist: Listed | None) -> bool:
    return sdist is not None and sdist.yanked


def pythons_of(release: Release, metadata: Message, known: Sequence[str]) -> tuple[str, ...]:
    """The Pythons of ``known`` that the project supports, by wheels, classifiers and ``Requires-Python``."""
    allowed = SpecifierSet(metadata.get("Requires-Python") or "")
    classifiers = set(metadata.get_all("Classifier", []))
    silent = not release.wheels and not any(re.search(r":: Python :: 3\.\d", one) for one in classifiers)
    return tuple(
        python
        for python in known
        if version_of(python) in allowed
        and (
            silent
            or f"Programming Language :: Python :: {version_of(python)}" in classifiers
            or any(built_for(python, tags) for _, tags in release.wheels)
        )
    )


def best_wheel(release: Release, pythons: Sequence[str]) -> Listed | None:
    """The wheel that tells most: for aarch64 Linux and the first of ``pythons`` if there is one."""

    def rank(entry: tuple[Listed, frozenset[Tag]]) -> tuple[bool, bool, bool]:
        _, tags = entry
        fits = [python for python in pythons if built_for(python, tags)]
        platforms = " ".join(tag.platform for tag in tags)
        return (
            "manylinux" in platforms and "aarch64" in platforms,
            "manylinux" in platforms,
            bool(fits) and fits[0] == next(iter(pythons), ""),
        )

    compiled = [one for one in release.wheels if any(tag.platform != "any" for tag in one[1])]
    return max(compiled, key=rank)[0] if compiled else None


def fetch(project: str, file: Listed, home: Path) -> Path:
    """The file among the downloads.

    Raises:
        ToolboxError: the index does not have it with this hash.
    """
    path = home / "downloads" / file.sha256 / file.filename
    if not path.is_file():
        fetch_pypi(project, file.filename, file.sha256, path)
    return path


def read_wheel(path: Path) -> WheelFiles:
    """Read the names of a wheel's members, its metadata, and the texts that name its modules and functions.

    Raises:
        SourceError: it is no wheel.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = tuple(archive.namelist())
            texts = {
                name: archive.read(name).decode("utf-8", "replace")
                for name in members
                if name.count("/") <= 1 and name.endswith((".py", ".pyi", "top_level.txt", "METADATA"))
            }
    except (zipfile.BadZipFile, OSError) as error:
        raise SourceError(f"{path.name} could not be read: {error}") from error
    metadata = next((text for name, text in texts.items() if name.endswith(".dist-info/METADATA")), "")
    return WheelFiles(
        filename=path.name,
        bytes=path.stat().st_size,
        members=members,
        texts=texts,
        metadata=Parser().parsestr(metadata, headersonly=True),
    )
