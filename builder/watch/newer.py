"""Which versions are newer than a recipe's, asked where its sources come from: pip's index, git, Debian."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from email.parser import Parser
from functools import cmp_to_key
from pathlib import Path
from typing import Any, Literal

from packaging.version import InvalidVersion, Version

from builder.errors import ArmwheelsError
from builder.model.base import Frozen
from builder.model.recipe import Recipe
from builder.model.sources import DebianSource, Follow, GitSource, SdistSource
from builder.recipes.project import find_release
from builder.refresh import PrivateApt, compare_debian
from builder.source import newest_tag, pin_followed
from builder.toolbox.fetch import Mirror, list_pypi

NEWEST_SUITE = "sid"
"""The suite in which a new version of a Debian source package appears first."""

by_dpkg = cmp_to_key(compare_debian)

Kind = Literal["sdist", "git", "debian", "follow"]


class Newer(Frozen):
    """A version that a recipe does not have yet.

    ``pin`` is the sha256 or the commit of the source, ``source`` what changes in its table, ``follow`` the key of
    the branch or tag that moved. ``yanked`` says that the recipe's own version was withdrawn (:pep:`592`).
    """

    recipe: str
    kind: Kind
    old: str
    new: str
    pin: str
    source: dict[str, Any]
    follow: str | None = None
    yanked: bool = False


class Unanswered(Frozen):
    """A source that could not be asked, with the reason."""

    recipe: str
    why: str


def find_newer(recipe: Recipe, sources: SourceIndex) -> Iterator[Newer | Unanswered]:
    """Yield what is newer than the newest version of each kind, and each followed branch that moved."""
    asked: list[Callable[[], Newer | None]] = []
    own = {name: one for name, one in recipe.versions.items() if name not in recipe.followed_versions}
    if own:
        old = max(own, key=Version)
        match own[old].source:
            case SdistSource() as sdist:
                asked.append(lambda: _on_the_index(recipe, old, sdist))
            case GitSource() as git:
                asked.append(lambda: _in_git(recipe, old, git))
            case DebianSource() as debian:
                asked.append(lambda: _in_debian(recipe, old, debian, sources))
    for name, follow in recipe.follows.items():
        asked.append(lambda name=name, follow=follow: _followed(recipe, name, follow))  # type: ignore[misc]
    for ask in asked:
        try:
            found = ask()
        except ArmwheelsError as error:
            yield Unanswered(recipe=recipe.name, why=str(error))
            continue
        if found is not None:
            yield found


def _on_the_index(recipe: Recipe, old: str, sdist: SdistSource) -> Newer | None:
    release = find_release(recipe.project, None)
    if release.sdist is None or release.version <= Version(old):
        return None
    yanked = any(one.yanked for one in list_pypi(recipe.project) if one.filename == sdist.filename)
    return Newer(
        recipe=recipe.name,
        kind="sdist",
        old=old,
        new=str(release.version),
        pin=release.sdist.sha256,
        source={"filename": release.sdist.filename, "sha256": release.sdist.sha256},
        yanked=yanked,
    )


def _in_git(recipe: Recipe, old: str, git: GitSource) -> Newer | None:
    found = newest_tag(git.url)
    if found is None or found[0] <= Version(old):
        return None
    version, tag = found
    pinned = pin_followed(Follow(url=git.url, ref=tag))
    return Newer(
        recipe=recipe.name,
        kind="git",
        old=old,
        new=str(version),
        pin=pinned.commit,
        source={"commit": pinned.commit, "epoch": pinned.epoch},
    )


def _in_debian(recipe: Recipe, old: str, debian: DebianSource, sources: SourceIndex) -> Newer | None:
    package = debian.files[0].path.rsplit("/", 1)[-1].partition("_")[0]
    found = newest_source(sources.about(package), package)
    if found is None or found.version <= Version(old):
        return None
    own = [file for file in debian.files if file.path.rsplit("/", 1)[-1].startswith(f"{package}_")]
    kept = [file.model_dump() for file in debian.files if file not in own]
    return Newer(
        recipe=recipe.name,
        kind="debian",
        old=old,
        new=str(found.version),
        pin=found.files[0]["sha256"],
        source={"files": [*found.files, *kept]},
    )


def _followed(recipe: Recipe, name: str, follow: Follow) -> Newer | None:
    before, now = recipe.followed.get(name), pin_followed(follow)
    if before is not None and before.commit == now.commit:
        return None
    return Newer(
        recipe=recipe.name,
        kind="follow",
        old=before.version if before else "none",
        new=now.version,
        pin=now.commit,
        source={},
        follow=name,
    )


class SourceIndex:
    """Debian's signed indices of source packages, fetched when the first package is asked about."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._apt: PrivateApt | None = None

    def about(self, package: str) -> str:
        """What apt-cache(8) ``showsrc`` says of a package.

        Raises:
            ToolboxError: the mirror does not answer, or has no such package.
        """
        if self._apt is None:
            folder = self._home / "apt" / f"{NEWEST_SUITE}-sources"
            self._apt = PrivateApt(folder, NEWEST_SUITE, Mirror(), kind="deb-src")
            self._apt.update()
        return self._apt.source(package)


class FoundSource(Frozen):
    """A Debian source package: its upstream version, and its tarballs, the original one first."""

    version: Any
    files: tuple[dict[str, str], ...]


def newest_source(told: str, package: str) -> FoundSource | None:
    """The newest source package that apt-cache lists, if its upstream version is one of :pep:`440`."""
    stanzas = [Parser().parsestr(one + "\n") for one in told.strip().split("\n\n") if one.strip()]
    own = [one for one in stanzas if one["Package"] == package]
    if not own:
        return None
    newest = max(own, key=lambda one: by_dpkg(one["Version"]))
    version = upstream_version(newest["Version"])
    files: list[dict[str, str]] = []
    for line in newest["Checksums-Sha256"].strip().splitlines():
        sha256, _, name = line.split()
        if re.search(r"\.(orig|debian)\.tar\.[a-z0-9]+$", name):
            files.append({"path": f"{newest['Directory']}/{name}", "sha256": sha256})
    files.sort(key=lambda file: ".orig." not in file["path"])
    return FoundSource(version=version, files=tuple(files)) if version is not None and files else None


def upstream_version(debian: str) -> Version | None:
    """``1:2.14.1+dfsg-3`` -> 2.14.1 (Debian policy, 5.6.12); ``None`` if that is no version of :pep:`440`. Pure."""
    upstream = debian.rpartition(":")[2]
    upstream = upstream.rpartition("-")[0] or upstream
    try:
        return Version(re.sub(r"[+~.](dfsg|ds|repack|really).*$", "", upstream))
    except InvalidVersion:
        return None
