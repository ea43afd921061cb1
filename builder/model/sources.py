"""Where the source of a version comes from. Each kind is pinned by hash. Frozen data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from builder.model.base import Config, Sha256


class Patch(Config):
    """A patch file beside the recipe."""

    file: str
    """File name in the recipe's folder."""
    sha256: Sha256
    """sha256 of the file."""


class SdistSource(Config):
    """A source distribution from PyPI."""

    kind: Literal["sdist"]
    """Selects this kind of source."""
    filename: str
    """File name as the index lists it."""
    sha256: Sha256
    """sha256 of the file."""


class ArchiveSource(Config):
    """A tar archive from a URL or from a file beside the recipe."""

    kind: Literal["archive"]
    """Selects this kind of source."""
    url: str
    """URL of the archive, or a file name in the recipe's folder."""
    sha256: Sha256
    """sha256 of the archive."""


class GitSource(Config):
    """A commit of a git repository."""

    kind: Literal["git"]
    """Selects this kind of source."""
    url: str
    """URL of the repository."""
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    """Full hash of the commit, which pins the content."""
    submodules: bool = True
    """Whether to check out the submodules too."""


class DebianFile(Config):
    """One file of a Debian source package."""

    path: str
    """Path below the Debian mirror."""
    sha256: Sha256
    """sha256 of the file."""
    into: str = "."
    """Folder of the tree to unpack an additional tarball into."""


class SdistPart(Config):
    """A source distribution from PyPI, unpacked into a folder of a larger tree."""

    project: str
    """Project name on PyPI."""
    filename: str
    """File name as the index lists it."""
    sha256: Sha256
    """sha256 of the file."""
    into: str
    """Folder of the tree to unpack it into."""


class Placed(Config):
    """A folder of the tree that is copied to a second place, such as that of an embedded copy."""

    folder: str
    """Folder of the tree to copy."""
    at: str
    """Where the copy goes."""


class DebianSource(Config):
    """A Debian source package: its original tarballs and selected patches from ``debian/patches``.

    Debian keeps embedded libraries apart from a package. ``files``, ``sdists`` and ``placed`` put them back.
    """

    kind: Literal["debian"]
    """Selects this kind of source."""
    files: tuple[DebianFile, ...]
    """Tarballs of this and of other source packages; the first is the original tarball."""
    sdists: tuple[SdistPart, ...] = ()
    """Source distributions from PyPI to put into the tree."""
    placed: tuple[Placed, ...] = ()
    """Folders of the tree to copy to a second place."""
    quilt: tuple[str, ...] = ()
    """Names of patches in ``debian/patches`` to apply, in this order."""


class Taken(Config):
    """Files from a tarball of the Debian archive."""

    path: str
    """Path of the tarball below the Debian mirror."""
    sha256: Sha256
    """sha256 of the tarball."""
    keep: Annotated[tuple[str, ...], Field(min_length=1)]
    """Files to take, as paths below the tarball's top folder; they keep their names."""


class FolderSource(Config):
    """A folder of this project or, by an absolute path, of this machine."""

    kind: Literal["folder"]
    """Selects this kind of source."""
    path: str
    """The folder; a relative path starts at the project's folder or, in ARMWHEELS_RECIPES, at the recipe's."""
    sha256: Sha256 | None = None
    """sha256 over all files, which the folder must match; without this key it is computed."""
    taken: tuple[Taken, ...] = ()
    """Files of other projects to put beside the folder's own."""


class FolderPart(Config):
    """A folder of this project, copied into a larger tree before the patches."""

    path: str
    """The folder; a relative path starts at the project's folder or, in ARMWHEELS_RECIPES, at the recipe's."""
    into: str
    """Folder of the tree to copy it to."""
    sha256: Sha256 | None = None
    """sha256 over all files, which the folder must match; without this key it is computed."""


Source = Annotated[
    SdistSource | ArchiveSource | GitSource | DebianSource | FolderSource, Field(discriminator="kind")
]


class VersionSource(Config):
    """The source of one version of a recipe."""

    source: Source
    """Where the source comes from; ``kind`` selects one of five tables."""
    folders: Annotated[tuple[FolderPart, ...], Field(exclude_if=lambda folders: not folders)] = ()
    """Folders of this project to put into the tree, before the patches."""
    patches: tuple[Patch, ...] = ()
    """Patches to apply after those of the source, in this order."""
    epoch: Annotated[int, Field(ge=315532800)]
    """SOURCE_DATE_EPOCH of the build, in seconds since 1970-01-01 UTC."""
    options: tuple[str, ...] = ()
    """Build options of this version alone, after those of the recipe."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Environment variables of this version alone; they replace those of the recipe."""


class Follow(Config):
    """A branch or tag of a git repository, pinned by ``armwheels lock --recipe RECIPE``.

    The commit of a branch becomes the version X.Y.Z.devYYYYMMDD (:pep:`440`), with the commit's date in UTC. The
    commit of a tag has the version that the tag names. A matrix refers to it by NAME.
    """

    url: str
    """URL of the repository."""
    ref: str
    """Branch or tag to follow."""
    version_file: str = "version.txt"
    """File of the repository that holds the version X.Y.Z; read for a branch only."""
    patches: tuple[Patch, ...] = ()
    """Patches to apply to each followed commit."""
    options: tuple[str, ...] = ()
    """Build options of followed commits alone, after those of the recipe."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Environment variables of followed commits alone; they replace those of the recipe."""

    def at(self, pinned: Followed) -> VersionSource:
        """The source at a pinned commit."""
        return VersionSource(
            source=GitSource(kind="git", url=self.url, commit=pinned.commit),
            epoch=pinned.epoch,
            patches=self.patches,
            options=self.options,
            environment=self.environment,
        )


class Followed(Config):
    """One entry of ``configs/locks/RECIPE-followed.json``: the pinned commit of a followed branch or tag."""

    version: str
    """Version that the commit stands for."""
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    """Full hash of the commit."""
    epoch: Annotated[int, Field(ge=315532800)]
    """Date of the commit, in seconds since 1970-01-01 UTC."""
