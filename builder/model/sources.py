"""Where the source of a version comes from, each kind pinned by hash. Frozen data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from builder.model.base import Frozen, Sha256


class Patch(Frozen):
    """A patch of our own, kept beside the recipe and pinned by hash."""

    file: str
    sha256: Sha256


class SdistSource(Frozen):
    """A source distribution of PyPI."""

    kind: Literal["sdist"]
    filename: str
    sha256: Sha256


class ArchiveSource(Frozen):
    """A tar archive at an address, or a file beside the recipe."""

    kind: Literal["archive"]
    url: str
    sha256: Sha256


class GitSource(Frozen):
    """A commit of a git repository, with its submodules; the commit's hash pins the content."""

    kind: Literal["git"]
    url: str
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    submodules: bool = True


class DebianFile(Frozen):
    """One file of a Debian source package; ``into`` is where an extra original tarball belongs."""

    path: str
    sha256: Sha256
    into: str = "."


class SdistPart(Frozen):
    """A source distribution of PyPI laid into a folder of a larger tree."""

    project: str
    filename: str
    sha256: Sha256
    into: str


class Placed(Frozen):
    """A folder of the tree that is to be found at another place as well, such as an embedded copy's."""

    folder: str
    at: str


class DebianSource(Frozen):
    """A Debian source package: original tarballs, and the patches chosen from its ``debian/patches``.

    What a distribution keeps apart from the package (embedded libraries) is laid back into the tree: tarballs of
    other source packages by ``files``, others by ``sdists``, folders of the packaging itself by ``placed``.
    """

    kind: Literal["debian"]
    files: tuple[DebianFile, ...]
    sdists: tuple[SdistPart, ...] = ()
    placed: tuple[Placed, ...] = ()
    quilt: tuple[str, ...] = ()


class Taken(Frozen):
    """Files of a tarball of Debian's archive: ``keep`` are paths below its top folder, and keep their names."""

    path: str
    sha256: Sha256
    keep: Annotated[tuple[str, ...], Field(min_length=1)]


class FolderSource(Frozen):
    """A folder of the project or, by an absolute path, of this machine: one's own code, where it is written.

    Its files are the pin. ``sha256`` covers them all and is filled in when the recipe is loaded
    (:func:`builder.source.pin_folders`); a recipe that states it holds the folder to it. Where the folder lies
    counts for nothing. ``taken`` lays others' files beside them, which are so never copied into the folder.
    """

    kind: Literal["folder"]
    path: str
    sha256: Sha256 | None = None
    taken: tuple[Taken, ...] = ()


Source = Annotated[
    SdistSource | ArchiveSource | GitSource | DebianSource | FolderSource, Field(discriminator="kind")
]


class VersionSource(Frozen):
    """Where one version of a recipe comes from. ``epoch`` is its SOURCE_DATE_EPOCH, seconds since 1970.

    ``options`` and ``environment`` are what this source alone wants, after those of the recipe.
    """

    source: Source
    patches: tuple[Patch, ...] = ()
    epoch: Annotated[int, Field(ge=315532800)]
    options: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)


class Follow(Frozen):
    """A branch or tag of a git repository; ``armwheels lock --recipe NAME`` pins the commit it stands at.

    A branch's commit becomes the version X.Y.Z.devYYYYMMDD (:pep:`440`): X.Y.Z stands in ``version_file``, the date
    is the commit's own, in UTC. A tag's is the version that the tag names. Matrices name it by its key.
    """

    url: str
    ref: str
    version_file: str = "version.txt"
    patches: tuple[Patch, ...] = ()
    options: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)

    def at(self, pinned: Followed) -> VersionSource:
        """The source as of a pinned commit."""
        return VersionSource(
            source=GitSource(kind="git", url=self.url, commit=pinned.commit),
            epoch=pinned.epoch,
            **self.model_dump(include={"patches", "options", "environment"}),
        )


class Followed(Frozen):
    """Where a followed branch or tag stood when it was pinned; ``epoch`` is the commit's date."""

    version: str
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    epoch: Annotated[int, Field(ge=315532800)]
