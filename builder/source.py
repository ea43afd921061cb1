"""From a pinned source to a clean tree with its patches applied.

Kinds: an sdist of PyPI, an archive, a git commit with its submodules, a Debian source package, and a folder. A tree
is made beside its final place and renamed, so it is whole or absent; its name carries the digest of its pins.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

import httpx2
from packaging.version import InvalidVersion, Version
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from builder.errors import SourceError, ToolboxError
from builder.model.recipe import Recipe
from builder.model.sources import (
    ArchiveSource,
    DebianSource,
    FolderSource,
    Follow,
    Followed,
    GitSource,
    Patch,
    SdistSource,
    Taken,
    VersionSource,
)
from builder.settings import ROOT, configs_dir
from builder.toolbox.fetch import Mirror, fetch_debian, fetch_pypi, sha256_of
from builder.whole import create_once

if sys.version_info >= (3, 12):
    import tarfile
else:
    # Debian 12's Python is 3.11.2, older than extraction filters (PEP 706).
    from backports import tarfile

SOURCE_VERSION = 1
"""Raised by hand when the same pins would give another tree; it enters the compile digest."""


def source_inputs(source: VersionSource) -> dict[str, object]:
    """What names a tree: the pins of the source and of its patches, as plain data."""
    unread = {}
    if isinstance(source.source, FolderSource):
        # A folder is its files, wherever it lies.
        unread = {"source": {"path"} if source.source.taken else {"path", "taken"}}
    tree = source.model_dump(mode="json", exclude={**unread, "options": True, "environment": True})
    return {"source_version": SOURCE_VERSION, **tree}


def source_digest(source: VersionSource) -> str:
    """sha256 of :func:`source_inputs`; it names the tree."""
    return hashlib.sha256(json.dumps(source_inputs(source), sort_keys=True).encode()).hexdigest()


def origin(source: VersionSource) -> tuple[str, str]:
    """What the passport says of the source: a name people recognise, and a sha256.

    A git source is pinned by its commit; the sha256 is then that of the commit's name and address.
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
            pins = [_pinned(path, sha256), *(one.sha256 for one in taken)]
            return ", ".join(names), pins[0] if not taken else hashlib.sha256(
                "".join(pins).encode()
            ).hexdigest()


def prepare(project: str, source: VersionSource, home: Path) -> Path:
    """Fetch, check, unpack and patch; returns the folder of the tree, which callers copy and never change.

    Raises:
        SourceError: the source cannot be had, its hash differs, or a patch does not apply.
    """

    def lay_out(tree: Path) -> None:
        patches = _checked_patches(source.patches)
        scratch = tree.parent
        match source.source:
            case SdistSource() as sdist:
                _unpack(_sdist(project, sdist, home), tree, scratch)
            case ArchiveSource() as archive:
                _unpack(_archive(archive, home), tree, scratch)
            case GitSource() as git:
                _clone(git, tree)
            case DebianSource() as debian:
                _debian(debian, tree, scratch, home)
            case FolderSource() as folder:
                _copy_folder(folder, tree)
                for taken in folder.taken:
                    _take(taken, tree, home)
        for patch in patches:
            _apply(patch, tree)

    return create_once(home / "sources" / f"{project}-{source_digest(source)[:12]}", lay_out)


def pin_folders(recipe: Recipe) -> Recipe:
    """The recipe with the sha256 of each folder it is built from, as the folder is now.

    Raises:
        SourceError: there is no such folder, it holds nothing, or it is not what the recipe pins.
    """
    versions = {}
    for version, source in recipe.versions.items():
        if isinstance(source.source, FolderSource):
            path, pinned = source.source.path, source.source.sha256
            found = _folder_sha256(_folder(path))
            if pinned not in (None, found):
                raise SourceError(f"{path}: sha256 of its files is {found}, the recipe pins {pinned}")
            folder = source.source.model_copy(update={"sha256": found})
            source = source.model_copy(update={"source": folder})
        versions[version] = source
    return recipe.model_copy(update={"versions": versions})


_LEFTOVERS = ("__pycache__", "build", "dist", "*.egg-info", ".*")
"""What builds and editors leave in a folder and is no source."""


def _folder(path: str) -> Path:
    folder = ROOT / path
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder")
    return folder


def _folder_sha256(folder: Path) -> str:
    """sha256 over names, programs' mark and bytes of the files, in order of their names.

    Raises:
        SourceError: it holds no file, or a link, which would lead out of what is hashed.
    """
    lines = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if any(fnmatchcase(part, pattern) for part in inside.parts for pattern in _LEFTOVERS):
            continue
        if path.is_symlink():
            raise SourceError(f"{path}: a folder of sources may hold no links")
        if path.is_file():
            program = bool(path.stat().st_mode & 0o100)
            lines.append(f"{inside.as_posix()} {int(program)} {sha256_of(path)}\n")
    if not lines:
        raise SourceError(f"{folder}: holds no sources")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _copy_folder(source: FolderSource, tree: Path) -> None:
    shutil.copytree(_folder(source.path), tree, ignore=shutil.ignore_patterns(*_LEFTOVERS))
    if _folder_sha256(tree) != _pinned(source.path, source.sha256):
        raise SourceError(f"{source.path} was changed after the run had begun; run again")


def _take(taken: Taken, tree: Path, home: Path) -> None:
    archive = _debian_file(taken.path, taken.sha256, home)
    wanted = set(taken.keep)
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
        raise SourceError(f"{archive.name} could not be unpacked: {error}") from error
    if wanted:
        raise SourceError(f"{archive.name} has no {', '.join(sorted(wanted))}")


def _pinned(path: str, sha256: str | None) -> str:
    if sha256 is None:
        raise SourceError(f"{path}: its files were not hashed when the recipe was loaded")
    return sha256


def _sdist(project: str, source: SdistSource, home: Path) -> Path:
    target = home / "downloads" / source.sha256 / source.filename
    if not target.is_file():
        try:
            fetch_pypi(project, source.filename, source.sha256, target)
        except ToolboxError as error:
            raise SourceError(str(error)) from error
    return target


def _archive(source: ArchiveSource, home: Path) -> Path:

    def fetch(file: Path) -> None:
        if "://" in source.url:
            try:
                _download(source.url, file)
            except httpx2.HTTPError as error:
                raise SourceError(f"{source.url} could not be fetched: {error}") from error
        else:
            local = configs_dir() / "recipes" / source.url
            if not local.is_file():
                raise SourceError(f"{local}: no such archive")
            shutil.copyfile(local, file)
        found = sha256_of(file)
        if found != source.sha256:
            raise SourceError(f"{source.url}: sha256 is {found}, the recipe pins {source.sha256}")

    return create_once(home / "downloads" / source.sha256 / source.url.rsplit("/", 1)[-1], fetch)


@retry(
    retry=retry_if_exception_type(httpx2.TransportError),
    stop=stop_after_attempt(5),
    wait=wait_exponential(max=20),
    reraise=True,
)
def _download(url: str, target: Path) -> None:
    with httpx2.stream("GET", url, follow_redirects=True, timeout=60) as response, target.open("wb") as file:
        response.raise_for_status()
        for chunk in response.iter_bytes(1 << 20):
            file.write(chunk)


def _unpack(archive: Path, tree: Path, scratch: Path) -> None:
    """Unpack a tar archive and move its single top folder, or all of it, to ``tree``."""
    into = scratch / f"unpacked-{archive.name}"
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(into, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise SourceError(f"{archive.name} could not be unpacked: {error}") from error
    top = list(into.iterdir())
    tree.parent.mkdir(parents=True, exist_ok=True)
    (top[0] if len(top) == 1 and top[0].is_dir() else into).rename(tree)


def _clone(source: GitSource, tree: Path) -> None:
    """Check out one commit with its submodules, and nothing of the history."""
    tree.mkdir()
    # Submodules of a local repository are themselves local; git refuses those unless told otherwise.
    local = [] if "://" in source.url else ["-c", "protocol.file.allow=always"]
    git = ["git", *local, "-C", str(tree)]
    _run([*git, "init", "--quiet"], tree)
    _run([*git, "fetch", "--quiet", "--depth=1", source.url, source.commit], tree)
    _run([*git, "checkout", "--quiet", "FETCH_HEAD"], tree)
    if source.submodules:
        _run([*git, "submodule", "update", "--quiet", "--init", "--recursive", "--depth=1"], tree)


def where_it_stands(follow: Follow) -> Followed:
    """Ask a followed repository where its branch or tag stands now, and which version that is.

    Raises:
        SourceError: it cannot be reached, has no such branch or tag, or no version can be read there.
    """
    with tempfile.TemporaryDirectory(prefix="armwheels-") as scratch:
        git, folder = ["git", "-C", scratch], Path(scratch)
        _run([*git, "init", "--quiet"], folder)
        wanted = [f"refs/heads/{follow.ref}", f"refs/tags/{follow.ref}", f"refs/tags/{follow.ref}^{{}}"]
        listed = _run([*git, "ls-remote", follow.url, *wanted], folder).splitlines()
        commits = {name: commit for commit, name in (line.split("\t") for line in listed)}
        # The last is the commit that an annotated tag points at (git-ls-remote(1)).
        found = [name for name in wanted if name in commits]
        if not found:
            raise SourceError(f"{follow.url} has no branch and no tag '{follow.ref}'")
        commit = commits[found[-1]]
        _run([*git, "fetch", "--quiet", "--depth=1", "--filter=blob:none", follow.url, commit], folder)
        epoch = int(_run([*git, "log", "-1", "--format=%ct", commit], folder))
        if found[-1] == wanted[0]:
            _run([*git, "remote", "add", "origin", follow.url], folder)
            told = _run([*git, "show", f"{commit}:{follow.version_file}"], folder)
            day = datetime.fromtimestamp(epoch, tz=UTC)
            version = f"{_release(told, f'{follow.version_file} of {follow.url}')}.dev{day:%Y%m%d}"
        else:
            version = _release(follow.ref, f"the tag of {follow.url}")
    return Followed(version=version, commit=commit, epoch=epoch)


def _release(text: str, where: str) -> str:
    """X.Y.Z of a version such as ``v2.6.0`` or ``2.7.0a0``."""
    try:
        return Version(text.strip()).base_version
    except InvalidVersion:
        raise SourceError(f"{where} holds '{text.strip()[:40]}', which is no version (PEP 440)") from None


def _debian_file(path: str, sha256: str, home: Path) -> Path:
    target = home / "downloads" / sha256 / path.rsplit("/", 1)[-1]
    if not target.is_file():
        try:
            fetch_debian(Mirror(), path, sha256, target)
        except ToolboxError as error:
            raise SourceError(str(error)) from error
    return target


def _debian(source: DebianSource, tree: Path, scratch: Path, home: Path) -> None:
    """Lay the tarballs of a Debian source package into one tree and apply the chosen quilt patches."""
    # All are fetched first: a wrong hash is told before minutes of unpacking.
    tarballs = [_debian_file(file.path, file.sha256, home) for file in source.files]
    sdists = [
        _sdist(sdist.project, SdistSource(kind="sdist", filename=sdist.filename, sha256=sdist.sha256), home)
        for sdist in source.sdists
    ]
    for number, (file, target) in enumerate(zip(source.files, tarballs, strict=True)):
        if number == 0:
            _unpack(target, tree, scratch)
        else:
            place = tree / file.into
            if place.is_dir() and file.into != ".":
                shutil.rmtree(place)
            part = scratch / f"part-{number}"
            _unpack(target, part, scratch)
            if file.into == ".":
                part = part if not (part / "debian").is_dir() else part / "debian"
                place = tree / "debian" if part.name == "debian" or (part / "patches").is_dir() else tree
            shutil.copytree(part, place, symlinks=True, dirs_exist_ok=True)
    for sdist, target in zip(source.sdists, sdists, strict=True):
        part = scratch / f"sdist-{sdist.project}"
        _unpack(target, part, scratch)
        shutil.copytree(part, tree / sdist.into, symlinks=True, dirs_exist_ok=True)
    for placed in source.placed:
        if not (tree / placed.folder).is_dir():
            raise SourceError(f"the Debian source has no folder {placed.folder}")
        shutil.copytree(tree / placed.folder, tree / placed.at, symlinks=True, dirs_exist_ok=True)
    for name in source.quilt:
        patch = tree / "debian/patches" / name
        if not patch.is_file():
            raise SourceError(f"the Debian source has no patch {name}")
        _apply(patch, tree)


def _checked_patches(patches: tuple[Patch, ...]) -> list[Path]:
    """The files of a recipe's own patches, looked at before anything is fetched."""
    found = [configs_dir() / "recipes" / patch.file for patch in patches]
    faults = []
    for patch, path in zip(patches, found, strict=True):
        if not path.is_file():
            faults.append(f"{path}: no such patch")
        elif (sha256 := sha256_of(path)) != patch.sha256:
            faults.append(f"{patch.file}: sha256 is {sha256}, the recipe pins {patch.sha256}")
    if faults:
        raise SourceError("\n".join(faults))
    return found


def _apply(patch: Path, tree: Path) -> None:
    # git would look for a repository around the tree and then apply nothing; the ceiling hides it.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    done = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", str(patch)],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SourceError(f"{patch.name} does not apply:\n{done.stderr.strip()}")


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        raise SourceError(f"{' '.join(command[:1] + command[-3:])} failed: {done.stderr.strip()}")
    return done.stdout
