"""The origin and the licence of each library that was copied into a wheel (a graft)."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packageurl import PackageURL

from builder.compile.compilers import compiler_of
from builder.compile.layout import dependency_folder, library_folder
from builder.errors import RepairError
from builder.model.build import Build
from builder.model.libraries import StaticDependency
from builder.source import origin
from builder.toolbox.pins import PinnedFile
from builder.toolbox.toolbox import Toolbox


@dataclass(frozen=True, kw_only=True)
class Graft:
    """The origin of a library that was copied into the wheel; ``texts`` are the files with its licence."""

    library: str
    name: str
    version: str
    sha256: str
    licence: str
    texts: tuple[Path, ...]
    purl: PackageURL


def find_grafts(build: Build, root: Path, toolbox: Toolbox, work: Path) -> dict[str, Graft]:
    """The origin of each file in ``*.libs/``, by its path in the wheel.

    Raises:
        RepairError: the origin of a file is unknown.
    """
    grafts = {}
    for path in sorted(root.glob("*.libs/*")):
        graft = (
            _from_dependency(build, path.name, work)
            or _from_relinked(build, path.name, toolbox)
            or _from_built(build, path.name, toolbox)
            or _from_packages(path.name, build, toolbox)
        )
        inside = path.relative_to(root).as_posix()
        if graft is None:
            raise RepairError(
                f"the origin of the grafted {inside} is unknown: no dependency and no package contains it"
            )
        grafts[inside] = graft
    return grafts


def original_name(grafted: str, candidates: Sequence[str]) -> str | None:
    """The one of ``candidates`` that was copied; auditwheel adds eight digits of a hash before the first dot."""
    base, _, rest = grafted.partition(".")
    plain = f"{re.sub(r'-[0-9a-f]{8}$', '', base)}.{rest}"
    return next((name for name in candidates if name in (grafted, plain)), None)


def _from_dependency(build: Build, name: str, work: Path) -> Graft | None:
    for dependency in build.dependencies:
        folder = dependency_folder(dependency, work)
        libraries = [path.name for path in (folder / dependency.libraries).iterdir()]
        if original := original_name(name, libraries):
            return Graft(
                library=original,
                name=dependency.name,
                version=dependency.version,
                sha256=dependency.sha256,
                licence=dependency.licence,
                texts=tuple(folder / text for text in dependency.licence_files),
                purl=PackageURL(type="pypi", name=dependency.name, version=dependency.version),
            )
    return None


def _from_relinked(build: Build, name: str, toolbox: Toolbox) -> Graft | None:
    for static in build.relinked:
        if original := original_name(name, [static.soname]):
            pinned = package_of(static, toolbox)
            return Graft(
                library=original,
                name=pinned.name,
                version=pinned.version,
                sha256=pinned.sha256,
                licence=static.licence,
                texts=tuple(toolbox.path(static.part) / text for text in static.licence_files),
                purl=_debian_purl(pinned),
            )
    return None


def package_of(static: StaticDependency, toolbox: Toolbox) -> PinnedFile:
    """The pinned package with the static libraries of a relinked library.

    Raises:
        RepairError: its part has no such package.
    """
    for pinned in toolbox.pins.files(static.part):
        if pinned.name == static.package:
            return pinned
    raise RepairError(f"part {static.part} has no package {static.package}, which the recipe names")


def _from_built(build: Build, name: str, toolbox: Toolbox) -> Graft | None:
    for library in build.built:
        folder = library_folder(library, build, toolbox)
        if original := original_name(name, [path.name for path in (folder / "usr/lib").iterdir()]):
            return Graft(
                library=original,
                name=library.name,
                version=library.version,
                sha256=origin(library.source)[1],
                licence=library.licence,
                texts=tuple(sorted((folder / "licences").iterdir())),
                purl=PackageURL(type="generic", name=library.name, version=library.version),
            )
    return None


def _debian_purl(pinned: PinnedFile) -> PackageURL:
    return PackageURL(
        type="deb",
        namespace="debian",
        name=pinned.name,
        version=pinned.version,
        qualifiers={"arch": "arm64"},
    )


def _from_packages(name: str, build: Build, toolbox: Toolbox) -> Graft | None:
    """The Debian package with a library of this name, from the parts that a build links with."""
    parts = [*build.recipe.build.libraries, *compiler_of(build, toolbox).library_parts]
    for part in parts:
        for pinned, package in zip(toolbox.pins.files(part), toolbox.fetch(part), strict=True):
            listing = subprocess.run(
                ["dpkg-deb", "--contents", str(package)], capture_output=True, text=True, check=True
            )
            names = [line.split(" -> ")[0].rsplit("/", 1)[-1] for line in listing.stdout.splitlines()]
            if original := original_name(name, names):
                return Graft(
                    library=original,
                    name=pinned.name,
                    version=pinned.version,
                    sha256=pinned.sha256,
                    licence="LicenseRef-Debian-copyright",
                    texts=_copyright(part, pinned.name, toolbox),
                    purl=_debian_purl(pinned),
                )
    return None


def _copyright(part: str, package: str, toolbox: Toolbox) -> tuple[Path, ...]:
    """The copyright file of a package, if it has one.

    The folder of a package may be a link to that of another package (Debian policy, 12.3). For GCC's libraries that
    package is in a part of its own.
    """
    folder = toolbox.path(part) / "usr/share/doc" / package
    folders = [folder]
    if folder.is_symlink():
        folders.append(toolbox.ensure("sysroot-licences") / "usr/share/doc" / folder.readlink().name)
    texts = (folder / "copyright" for folder in folders)
    return tuple(text for text in texts if text.is_file())[:1]
